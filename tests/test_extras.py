import pytest

from engram_transformers.errors import MissingExtraError
from engram_transformers.extras import is_installed, require_package


def test_a_missing_package_says_what_to_install():
    with pytest.raises(MissingExtraError, match=r'pip install "engram-transformers\[demo\]"') as e:
        require_package("no_such_package_anywhere", "demo", "The plot")
    assert (e.value.package, e.value.extra) == ("no_such_package_anywhere", "demo")
    assert isinstance(e.value, ImportError)


def test_a_package_that_is_there_is_let_pass():
    require_package("torch", "demo", "Everything")


def test_what_is_installed_is_known_without_importing_it():
    assert is_installed("torch")
    assert not is_installed("no_such_package_anywhere")

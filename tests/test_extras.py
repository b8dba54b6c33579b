import pytest

from engram_transformers.errors import MissingExtraError
from engram_transformers.extras import require_package


def test_a_missing_package_says_what_to_install():
    with pytest.raises(MissingExtraError, match=r'pip install "engram-transformers\[demo\]"') as e:
        require_package("no_such_package_anywhere", "demo", "The plot")
    assert (e.value.package, e.value.extra) == ("no_such_package_anywhere", "demo")
    assert isinstance(e.value, ImportError)


def test_a_package_that_is_there_is_let_pass():
    require_package("torch", "demo", "Everything")

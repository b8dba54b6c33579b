import argparse

import pytest

from engram_transformers import extras
from engram_transformers.errors import MissingExtraError
from engram_transformers.output_option import require_picture, require_writable


@pytest.fixture
def parser():
    return argparse.ArgumentParser()


@pytest.mark.parametrize(
    ("name", "message"),
    [(".", "is a folder"), ("none/rows.png", "there is no folder"), ("rows.doc", "must end in")],
)
def test_a_picture_that_cannot_be_is_wrong_usage(parser, tmp_path, name, message, capsys):
    with pytest.raises(SystemExit) as caught:
        require_picture(parser, "--plot", tmp_path / name)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_a_picture_needs_matplotlib(parser, tmp_path, monkeypatch):
    require_picture(parser, "--plot", tmp_path / "rows.SVG")
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="The plot needs matplotlib"):
        require_picture(parser, "--plot", tmp_path / "rows.png")


def test_any_other_file_may_have_any_ending(parser, tmp_path):
    require_writable(parser, "--json", tmp_path / "figures")
    assert list(tmp_path.iterdir()) == []

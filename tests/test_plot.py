import builtins

import pytest
from matplotlib.image import imread

from engram_transformers import extras
from engram_transformers.errors import MissingExtraError
from engram_transformers.facts import Fact
from engram_transformers.plot import plot_traces
from engram_transformers.trace import Firing, TracedToken

FACT = Fact("My locker code is", "4471")
PLAIN = [TracedToken(text, None) for text in ("It", " costs", " $", "5", "\n", "\x00", "\ufffd")]
FIRED = [
    TracedToken(" is", Firing("ilse", FACT, 0, 4, 1.0, 0.7)),
    TracedToken(" $4_{x", Firing("ilse", FACT, 1, 5, 0.5, 1.6)),
    TracedToken(" unheard-of-long-token", Firing("ilse", None, 0, 3, 0.2, 0.1)),
]


@pytest.mark.parametrize("ending", [".png", ".PNG", ".svg", ".pdf"])
def test_a_picture_is_written_in_the_format_that_its_name_says(ending, tmp_path):
    path = tmp_path / f"rows{ending}"
    plot_traces([("plain $x", PLAIN), ("fired", PLAIN + FIRED)], path, title="Where $ rows fire")
    start = path.read_bytes()[:100]
    expected = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[ending.lower()]
    assert start.startswith(expected)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_row_that_fires_is_drawn(tmp_path):
    plot_traces([("x", PLAIN)], tmp_path / "a.png", title="x")
    plot_traces([("x", PLAIN[:-1] + FIRED[:1])], tmp_path / "b.png", title="x")

    def blue(path):
        picture = imread(path)
        return int(((picture[..., 2] > 0.6) & (picture[..., 0] < 0.1)).sum())

    assert blue(tmp_path / "a.png") == 0
    assert blue(tmp_path / "b.png") > 1000


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "rows.png"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engram_transformers.staging.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        plot_traces([("x", PLAIN)], path, title="x")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.png"]


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"The plot needs matplotlib: pip install"):
        plot_traces([("x", PLAIN)], tmp_path / "rows.png", title="x")


def test_importing_the_module_does_not_import_matplotlib(monkeypatch):
    import importlib
    import sys

    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise AssertionError("matplotlib was imported")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    importlib.reload(sys.modules["engram_transformers.plot"])

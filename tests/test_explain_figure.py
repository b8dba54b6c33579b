import io
import warnings

import numpy as np
import pytest
from explanations import CHAT, change, explanation, fired, firing, found, sequence
from matplotlib.figure import Figure
from matplotlib.image import imread

from engram_transformers import extras
from engram_transformers.errors import MissingExtraError
from engram_transformers.explain_figure import explanation_figure, save_figure

BLUE = (0, 0x72, 0xB2)
"""Of the first fact that fires."""


def pixels(figure, colour):
    """Count the pixels of a colour."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=100)
    data.seek(0)
    picture = (imread(data)[..., :3] * 255).round().astype(int)
    return int((np.abs(picture - np.array(colour)).max(axis=-1) <= 2).sum())


def texts(figure):
    """Return all that is written in a picture."""
    axes = [text for ax in figure.axes for text in (*ax.texts, *ax.get_xticklabels())]
    layers = [text for ax in figure.axes for text in ax.get_yticklabels()]
    return [text.get_text() for text in (*figure.texts, *axes, *layers)]


def test_tokens_stand_below_and_layers_beside_the_cells():
    figure = explanation(fired()).plot()
    (axes,) = figure.axes
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == ["My", "locker", "code", "is", "44"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["layer 1", "layer 3"]


def test_a_bar_stands_where_a_row_was_read_and_is_as_high_as_what_it_adds():
    bare = pixels(explanation(sequence("a", "b", "c")).plot(), BLUE)
    low = fired(firings=(firing(3, added=1.0), firing(4, added=4.0)))
    high = fired(firings=(firing(3, added=4.0), firing(4, added=4.0)))
    assert bare == 0
    assert 0 < pixels(explanation(low).plot(), BLUE) < pixels(explanation(high).plot(), BLUE)


def test_a_cell_is_filled_in_the_row_of_its_layer():
    def filled(layer):
        (axes,) = explanation(fired(firings=(firing(3, layer=layer),))).plot().axes
        (bar,) = (
            p
            for p in axes.patches
            if round(p.get_facecolor()[2] * 255) == 0xB2 and p.get_alpha() == 1
        )
        return bar.get_x() + bar.get_width() / 2, int(bar.get_y())

    assert filled(1) == (3, 0)
    assert filled(3) == (3, 1)


def test_order_gate_shadows_and_next_tokens_are_written():
    shadowed = firing(3, gate=0.25, shadowed=(found(place=1),))
    written = texts(explanation(fired(firings=(shadowed, firing(4, order=9)))).plot())
    assert {"4+", "9", ".25", "1.00", "→ 44  90.0 %", "ilse: My locker code is → 4471"} <= set(
        written
    )
    assert any("the gate" in text for text in written)
    assert "1.00" not in texts(explanation(fired()).plot())  # where every gate is 1
    assert any("Every gate is 1" in text for text in texts(explanation(fired()).plot()))


def test_a_next_token_that_stays_the_most_likely_is_not_written():
    written = texts(explanation(fired(changes=(change(3, " is", " 44", " 44"),))).plot())
    assert not any("→ 44 " in text for text in written)


def test_a_bar_of_a_wording_that_is_not_whole_is_hatched():
    def hatches(**changes):
        (axes,) = explanation(fired(firings=(firing(3, **changes),))).plot().axes
        return [patch.get_hatch() for patch in axes.patches if patch.get_hatch()]

    assert hatches() == []
    assert len(hatches(agreeing=3)) == 1


def test_every_fact_has_a_colour_and_a_name():
    other = firing(4, fact=CHAT, prompt=CHAT.prompt)
    figure = explanation(fired(firings=(firing(3), other))).plot()
    assert pixels(figure, BLUE) > 0
    assert pixels(figure, (0xD5, 0x5E, 0)) > 0
    assert "ilse: user: Where do I $live_{x? → Oslo" in texts(figure)


def test_more_facts_than_can_be_named_are_counted():
    many = [firing(3, owner=f"user-{number}") for number in range(30)]
    written = texts(explanation(fired(firings=tuple(many))).plot())
    assert sum("→ 4471" in text for text in written) < 30
    assert any(text.startswith("And 18 more facts.") for text in written)


@pytest.mark.parametrize(("tokens", "lines"), [(5, 1), (40, 1), (80, 2), (81, 3), (300, 8)])
def test_a_long_text_is_broken_into_lines_that_hold_all_tokens(tokens, lines):
    words = [f"w{number}" for number in range(tokens)]
    one = sequence(*words, firings=(firing(tokens - 1),))
    figure = one.plot()
    assert len(figure.axes) == lines
    shown = [label.get_text() for axes in figure.axes for label in axes.get_xticklabels()]
    assert shown == words
    assert figure.get_size_inches()[0] < 15
    assert pixels(figure, BLUE) > 0


def test_nothing_reaches_out_of_the_picture():
    long = sequence(
        *["an-unheard-of-token"] * 40,
        firings=(firing(39, owner="A very long owner " * 9),),
        changes=(change(39, "x", "y", "an-unheard-of-token"),),
    )
    for shown in (explanation(long, fired()), explanation(fired(layers=tuple(range(12))))):
        figure = shown.plot(title="x" * 40)
        figure.canvas.draw()
        box = figure.bbox
        for text in figure.findobj(lambda artist: hasattr(artist, "get_text")):
            if text.get_text():
                extent = text.get_window_extent()
                assert box.x0 <= extent.x0 <= extent.x1 <= box.x1 + 1, text.get_text()
                assert box.y0 - 1 <= extent.y0 <= extent.y1 <= box.y1 + 1, text.get_text()


def test_where_nothing_fires_the_picture_says_so():
    assert "No row fires." in texts(explanation(sequence("a")).plot())
    assert "Sequence 1: no row fires" in texts(explanation(fired(), sequence("a")).plot())


def test_the_title_is_the_models_name_or_what_is_given():
    assert "Rows read in some/model" in texts(explanation(fired()).plot())
    assert "Mine" in texts(explanation(fired()).plot(title="Mine"))


def test_any_text_can_be_drawn_without_a_warning():
    odd = ("$x_{", "\n", "\x00", "\ufffd", "漢字", "🙂", "a" * 99, " ")
    one = sequence(
        *odd,
        owners=("$ {",),
        changes=(change(0, "$", "a", "漢$_"),),
        firings=(firing(0, owner="$_{ 漢"), firing(1, fact=CHAT, prompt=CHAT.prompt)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = explanation(one).plot(title="$\\frac")
        figure.savefig(io.BytesIO(), format="png")
    assert "⏎" in texts(figure)


def test_pyplot_is_not_needed_and_knows_nothing_of_the_figure():
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    assert isinstance(explanation(fired()).plot(), Figure)
    assert pyplot.get_fignums() == before


def test_notebooks_show_the_picture():
    assert explanation(fired())._repr_png_().startswith(b"\x89PNG")
    assert fired()._repr_png_().startswith(b"\x89PNG")


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="The plot needs matplotlib: pip install"):
        explanation(fired()).plot()
    assert explanation(fired())._repr_png_() is None  # a notebook then shows text


@pytest.mark.parametrize("ending", [".png", ".PNG", ".svg", ".pdf"])
def test_a_picture_is_written_in_the_format_that_its_name_says(ending, tmp_path):
    path = tmp_path / f"rows{ending}"
    save_figure(explanation_figure([("plain $x", sequence("a")), ("fired", fired())]), path)
    expected = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[ending.lower()]
    assert path.read_bytes().startswith(expected)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "rows.png"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engram_transformers.staging.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        save_figure(explanation(fired()).plot(), path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.png"]

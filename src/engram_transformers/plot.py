"""A picture of where rows fire, token by token."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engram_transformers.extras import require_package
from engram_transformers.facts import Fact
from engram_transformers.staging import write_files
from engram_transformers.trace import TracedToken

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE_FORMATS = (".pdf", ".png", ".svg")
"""Endings of files that `plot_traces` can write."""

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's palette, which colour-blind people can tell apart."""
_UNKNOWN = "#777777"
_INK = "#222222"
_QUIET = "#8a8a8a"
_INCHES_PER_TOKEN = 0.27
_LONGEST_TOKEN = 14


def plot_traces(
    traces: Sequence[tuple[str, Sequence[TracedToken]]], path: str | Path, *, title: str
) -> None:
    """Draw traced texts below each other and save the picture.

    A bar is what a row adds at a token, relative to the hidden state there; a dot is how far its
    gate opened; the colour is the fact.

    Args:
        traces: (heading, tokens) of each text.
        path: Where to, with the ending of the format (.png, .svg, .pdf). Replaced in one step.
        title: Above all.

    Raises:
        MissingExtraError: If matplotlib is not installed.
        OSError: If the file can't be written; what was there before is then still there.
    """
    require_package("matplotlib", "demo", "The plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    target = Path(path)
    longest = max(len(tokens) for _, tokens in traces)
    width = max(8.0, 1.6 + _INCHES_PER_TOKEN * longest)
    figure = Figure(figsize=(width, 0.6 + 2.3 * len(traces)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, color=_INK, parse_math=False)
    rows: Any = figure.subplots(len(traces), 1, squeeze=False)[:, 0]
    strengths = [t.firing.strength for _, tokens in traces for t in tokens if t.firing is not None]
    for axes, (heading, tokens) in zip(rows, traces, strict=True):
        _draw(axes, heading, tokens, longest, max([1.0, *strengths]))
    data = io.BytesIO()
    figure.savefig(data, format=target.suffix.lower().removeprefix("."), dpi=160)
    write_files(target.parent, {target.name: data.getvalue()})


def _draw(
    axes: Axes, heading: str, tokens: Sequence[TracedToken], longest: int, highest: float
) -> None:
    colours = _colours(tokens)
    for position, token in enumerate(tokens):
        if token.firing is not None:
            colour = colours[token.firing.fact]
            axes.bar(position, token.firing.strength, width=0.8, color=colour, zorder=2)
            axes.plot(position, token.firing.gate, "o", ms=4.5, mfc="white", mec=_INK, zorder=3)
    axes.set_title(heading, loc="left", fontsize=10, color=_INK, parse_math=False)
    axes.set_xlim(-0.6, longest - 0.4)
    axes.set_ylim(0, highest * 1.3)
    axes.set_ylabel("added / hidden", fontsize=8, color=_INK)
    axes.set_xticks(range(len(tokens)))
    labels = axes.set_xticklabels(
        [_shown(token.text) for token in tokens],
        rotation=60,
        ha="right",
        rotation_mode="anchor",
        fontsize=8,
        parse_math=False,
    )
    for label, token in zip(labels, tokens, strict=True):
        if token.firing is None:
            label.set_color(_QUIET)
        else:
            label.set_color(colours[token.firing.fact])
            label.set_fontweight("bold")
    axes.tick_params(axis="x", length=0, pad=2)
    axes.tick_params(axis="y", labelsize=8, colors=_QUIET)
    axes.grid(axis="y", color="#e6e6e6", zorder=0)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#bbbbbb")
    _legend(axes, colours)


def _legend(axes: Axes, colours: dict[Fact | None, str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if not colours:
        axes.text(0.5, 0.5, "no row fires", transform=axes.transAxes, ha="center", color=_QUIET)
        return
    handles: list[Any] = [Patch(color=c, label=_name(fact)) for fact, c in colours.items()]
    handles.append(Line2D([], [], ls="", marker="o", ms=4.5, mfc="white", mec=_INK, label="gate"))
    legend = axes.legend(
        handles=handles, loc="upper left", ncols=3, fontsize=8, frameon=False, borderaxespad=0.1
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _colours(tokens: Sequence[TracedToken]) -> dict[Fact | None, str]:
    """Give each fact that fires a colour, in the order of firing."""
    facts = dict.fromkeys(t.firing.fact for t in tokens if t.firing is not None)
    colours: dict[Fact | None, str] = {}
    for fact in facts:
        colours[fact] = _UNKNOWN if fact is None else _COLOURS[len(colours) % len(_COLOURS)]
    return colours


def _name(fact: Fact | None) -> str:
    if fact is None:
        return "a fact without text"
    prompt = fact.prompt if isinstance(fact.prompt, str) else fact.prompt[-1][1]
    return _printable(f"{prompt} → {fact.answer}")


def _shown(token: str) -> str:
    text = _printable(token.replace("\n", "⏎")).strip() or "␣"
    return text if len(text) <= _LONGEST_TOKEN else f"{text[: _LONGEST_TOKEN - 1]}…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "·" for c in text)

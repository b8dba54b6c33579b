"""An explanation as a picture: tokens × layers."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engram_transformers.explain_style import Style, said, short
from engram_transformers.explain_text import Part, shown
from engram_transformers.explanation import Change, Firing, SequenceExplanation
from engram_transformers.extras import is_installed, require_package
from engram_transformers.staging import write_files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_FORMATS = (".pdf", ".png", ".svg")
"""Endings of files that `save_figure` can write."""

_INK, _QUIET, _EMPTY = "#222222", "#8a8a8a", "#f3f3f3"
_TOKENS_PER_LINE = 40
_FEWEST_COLUMNS = 20
_BAR = 0.55
"""How much of a cell's height its bar may take; numbers stand above it."""

# Inches.
_COLUMN, _LAYER = 0.31, 0.5
_LEFT, _RIGHT, _MARGIN = 0.8, 0.85, 0.12
_TITLE, _HEADING, _LEGEND_LINE, _KEY_LINE = 0.4, 0.27, 0.19, 0.17
_SLANTED = 0.047
"""Height of one character of a label that is written at 45 degrees."""
_KEY_CHARACTERS_PER_INCH = 16


@dataclass(frozen=True)
class _Line:
    """The tokens of a sequence that stand side by side.

    Attributes:
        heading: Above them; empty for nothing.
        sequence: All of the sequence.
        start: The first of them.
        stop: Behind the last of them.
        firings: Those at these tokens.
        said: Behind which of these tokens something else is now the most likely to come next.
    """

    heading: str
    sequence: SequenceExplanation
    start: int
    stop: int
    firings: list[Firing]
    said: list[Change]

    @property
    def above(self) -> float:
        """Inches above the cells."""
        longest = max((len(said(change)) for change in self.said), default=-2)
        return 0.1 + _SLANTED * (longest + 2) + _HEADING * bool(self.heading)

    @property
    def cells(self) -> float:
        """Inches that the cells are high."""
        return _LAYER * len(self.sequence.layers)

    @property
    def below(self) -> float:
        """Inches below the cells."""
        longest = max(len(short(t)) for t in self.sequence.tokens[self.start : self.stop])
        return 0.2 + _SLANTED * longest


def explanation_figure(parts: Sequence[Part], *, title: str | None = None) -> Figure:
    """Draw explanations below each other; see `Explanation.plot`.

    Args:
        parts: Sequences with their headings.
        title: Above all; None for nothing.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    require_package("matplotlib", "demo", "The plot")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = [line for heading, sequence in parts for line in _lines(heading, sequence)]
    style = Style([firing for line in lines for firing in line.firings])
    columns = max(_FEWEST_COLUMNS, *(line.stop - line.start for line in lines))
    width = _LEFT + _COLUMN * columns + _RIGHT
    key = textwrap.wrap(style.key, int(width * _KEY_CHARACTERS_PER_INCH))
    top = _MARGIN + (_TITLE if title is not None else 0.0)
    legend = _LEGEND_LINE * len(style.named) + _KEY_LINE * len(key) + 2.5 * _MARGIN
    height = top + sum(line.above + line.cells + line.below for line in lines) + legend
    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    if title is not None:
        _write(figure, _MARGIN, _MARGIN + 0.2, style.text(title), size=12)
    for line in lines:
        top += line.above
        box = (_LEFT, height - top - line.cells, _COLUMN * columns, line.cells)
        axes = figure.add_axes(
            (box[0] / width, box[1] / height, box[2] / width, box[3] / height), label=line.heading
        )
        _draw(axes, line, columns, style)
        if line.heading:
            _write(figure, _MARGIN, top - line.above + 0.2, style.text(line.heading), size=10)
        top += line.cells + line.below
    _add_legend(figure, style, key, top + _MARGIN)
    return figure


def explanation_png(parts: Sequence[Part], *, title: str | None = None) -> bytes | None:
    """Return the picture's file for a notebook, None where there is no matplotlib."""
    if not is_installed("matplotlib"):
        return None
    return _rendered(explanation_figure(parts, title=title), "png")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a picture to a file.

    Args:
        figure: What `plot` returned.
        path: With the ending of the format, one of `PICTURE_FORMATS`. Replaced in one step.

    Raises:
        OSError: If the file can't be written; what was there before is then still there.
    """
    target = Path(path)
    data = _rendered(figure, target.suffix.lower().removeprefix("."))
    write_files(target.parent, {target.name: data})


def _rendered(figure: Figure, kind: str) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format=kind, dpi=160)
    return data.getvalue()


def _lines(heading: str | None, sequence: SequenceExplanation) -> Iterator[_Line]:
    """Cut a long sequence into lines of about the same length."""
    count = len(sequence.tokens)
    lines = max(1, -(-count // _TOKENS_PER_LINE))
    each = -(-count // lines)
    none = "" if sequence.firings else ": no row fires"
    first = "" if heading is None else f"{shown(heading)}{none}"
    changed = [c for c in sequence.changes if c.before[0].token_id != c.after[0].token_id]
    for start in range(0, count, each):
        stop = min(start + each, count)
        yield _Line(
            "" if start else first,
            sequence,
            start,
            stop,
            [firing for firing in sequence.firings if start <= firing.position < stop],
            [change for change in changed if start <= change.position < stop],
        )


def _draw(axes: Axes, line: _Line, columns: int, style: Style) -> None:
    layers = line.sequence.layers
    filled: set[tuple[int, int]] = set()
    for firing in line.firings:
        column, row = firing.position - line.start, layers.index(firing.layer)
        _draw_cell(axes, firing, column, row, style)
        filled.add((column, row))
    for column in range(line.stop - line.start):
        for row in range(len(layers)):
            if (column, row) not in filled:
                _box(axes, column, row, 1.0, _EMPTY)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(0, len(layers))
    axes.set_yticks(
        [number + 0.5 for number in range(len(layers))],
        [f"layer {layer}" for layer in layers],
        fontsize=8,
        color=_QUIET,
    )
    colour_at = {firing.position: style.colour(firing) for firing in line.firings}
    _label_tokens(axes, line, style, colour_at)
    _label_said(axes, line, style, colour_at)
    axes.tick_params(axis="both", length=0, pad=3)
    axes.patch.set_visible(False)
    for side in axes.spines.values():
        side.set_visible(False)


def _draw_cell(axes: Axes, firing: Firing, column: int, row: int, style: Style) -> None:
    colour = style.colour(firing)
    _box(axes, column, row, 1.0, colour, alpha=0.16)
    hatch = "////" if firing.is_whole is False else None
    _box(axes, column, row, _BAR * firing.relative / style.highest, colour, hatch=hatch)
    order = f"{firing.order}{'+' if firing.shadowed else ''}"
    axes.text(column, row + 0.92, order, ha="center", va="top", fontsize=8, weight="bold")
    if style.gates_vary:
        gate = f"{firing.gate:.2f}".removeprefix("0")
        axes.text(column, row + 0.68, gate, ha="center", va="top", fontsize=5.5, color=_INK)


def _box(
    axes: Axes,
    column: int,
    bottom: float,
    height: float,
    colour: str,
    *,
    alpha: float = 1.0,
    hatch: str | None = None,
) -> None:
    from matplotlib.patches import Rectangle

    gap = 0.04
    corner, size = (column - 0.5 + gap, bottom + gap), max(height - 2 * gap, 0.06)
    box = Rectangle(corner, 1 - 2 * gap, size, facecolor=colour, lw=0, alpha=alpha, hatch=hatch)
    box.set_edgecolor("white" if hatch else "none")
    axes.add_patch(box)


def _label_tokens(axes: Axes, line: _Line, style: Style, colour_at: Mapping[int, str]) -> None:
    """Write the tokens below the cells."""
    labels = [style.text(short(t)) for t in line.sequence.tokens[line.start : line.stop]]
    axes.set_xticks(
        range(len(labels)),
        labels,
        rotation=45,
        ha="right",
        rotation_mode="anchor",
        fontsize=8,
        parse_math=False,
    )
    for position, label in enumerate(axes.get_xticklabels(), line.start):
        label.set_color(colour_at.get(position, _QUIET))
        label.set_fontweight("bold" if position in colour_at else "normal")


def _label_said(axes: Axes, line: _Line, style: Style, colour_at: Mapping[int, str]) -> None:
    """Write above the cells what is now the most likely to come next."""
    for change in line.said:
        axes.text(
            change.position - line.start,
            len(line.sequence.layers) + 0.1,
            style.text(said(change)),
            rotation=45,
            rotation_mode="anchor",
            va="bottom",
            fontsize=7,
            color=colour_at.get(change.position, _QUIET),
            parse_math=False,
        )


def _add_legend(figure: Figure, style: Style, key: Sequence[str], top: float) -> None:
    """Name the facts and say how to read the picture, from so many inches below the top on."""
    from matplotlib.patches import Rectangle

    width, height = figure.get_size_inches()
    for name in style.named:
        top += _LEGEND_LINE
        corner = (_MARGIN / width, 1 - (top + 0.015) / height)
        figure.add_artist(
            Rectangle(corner, 0.22 / width, 0.11 / height, facecolor=style.colours[name])
        )
        label = style.text(style.labels[name])
        _write(figure, _MARGIN + 0.32, top, label, size=8)
    top += _MARGIN / 2
    for text in key:
        top += _KEY_LINE
        _write(figure, _MARGIN, top, style.text(text), size=7.5, colour=_QUIET)


def _write(
    figure: Figure, left: float, top: float, text: str, *, size: float, colour: str = _INK
) -> None:
    """Write a line, so many inches from the left and from the top."""
    width, height = figure.get_size_inches()
    figure.text(left / width, 1 - top / height, text, fontsize=size, color=colour, parse_math=False)

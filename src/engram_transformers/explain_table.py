"""An explanation as tables for `rich`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engram_transformers.explain_text import (
    COLUMNS,
    TEXTS,
    Part,
    by_fact,
    column_widths,
    firing_cells,
    notes,
    percent,
    shown_token,
    summary,
)
from engram_transformers.explanation import Change, Firing, NextToken, SequenceExplanation
from engram_transformers.extras import require_package

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_COLOURS = ("blue", "dark_orange", "green", "magenta", "yellow", "cyan")


def explanation_table(parts: Sequence[Part]) -> RenderableType:
    """Make tables of explanations: one for each fact that fired, and one of next tokens.

    Args:
        parts: Sequences with their headings.

    Raises:
        MissingExtraError: If rich is not installed.
    """
    require_package("rich", "demo", "The table")
    from rich.console import Group
    from rich.text import Text

    made: list[RenderableType] = []
    for heading, sequence in parts:
        if heading is not None:
            made.append(Text(f"\n{heading}" if made else heading, style="bold underline"))
        made.append(Text(summary(sequence)))
        widths = column_widths(sequence)
        for number, (title, firings) in enumerate(by_fact(sequence)):
            style = _COLOURS[number % len(_COLOURS)]
            made += [Text(f"\n{title}", style=f"bold {style}"), _firings(firings, style, widths)]
            made += [Text(f"  {note}", style="yellow") for note in notes(firings)]
        if sequence.changes:
            made += [Text(), _changes(sequence)]
    return Group(*made)


def _firings(firings: Sequence[Firing], style: str, widths: Sequence[int]) -> Table:
    from rich.text import Text

    grid = _grid()
    for name, width in zip(COLUMNS, widths, strict=True):
        justify = "left" if name in TEXTS else "right"
        grid.add_column(name, justify=justify, no_wrap=True, min_width=width)
    for firing in firings:
        cells = zip(COLUMNS, firing_cells(firing), strict=True)
        styles = {"token": f"bold {style}", "says": style, "row": "dim"}
        if firing.is_whole is False:
            styles["agrees"] = "yellow"
        grid.add_row(*(Text(cell, style=styles.get(name, "")) for name, cell in cells))
    return grid


def _changes(sequence: SequenceExplanation) -> Table:
    """Return a table of the most likely next tokens, each change a block of lines."""
    from rich.text import Text

    grid = _grid()
    grid.add_column("next after", no_wrap=True)
    grid.add_column("without", no_wrap=True)
    grid.add_column("", justify="right", no_wrap=True)
    grid.add_column("with tables", no_wrap=True)
    grid.add_column("", justify="right", no_wrap=True)
    grid.add_column("was", justify="right", no_wrap=True)
    grid.add_column("rank was", justify="right", no_wrap=True)
    for number, change in enumerate(sequence.changes):
        if number:
            grid.add_row()
        for place, (old, new) in enumerate(zip(change.before, change.after, strict=True)):
            where = f"{change.position:>3} {shown_token(change.token)}" if place == 0 else ""
            grid.add_row(
                Text(where, style="bold"),
                Text(shown_token(old.token)),
                Text(percent(old.probability_before)),
                Text(shown_token(new.token), style="bold" if place == 0 else ""),
                Text(percent(new.probability_after), style=_style(change, new)),
                Text(percent(new.probability_before), style="dim"),
                Text(f"{new.rank_before:,}", style="dim"),
            )
    return grid


def _style(change: Change, token: NextToken) -> str:
    if token not in change.before:
        return "bold green"
    return "green" if token.probability_after > token.probability_before else "red"


def _grid() -> Table:
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")

"""An explanation as plain text, and how its parts are put into words everywhere."""

from __future__ import annotations

from collections.abc import Sequence

from engram_transformers.explanation import Change, Firing, FoundRow, NextToken, SequenceExplanation
from engram_transformers.facts import Prompt

Part = tuple[str | None, SequenceExplanation]
"""A sequence with a heading, None for none."""

COLUMNS = (
    "at", "token", "says", "layer", "row", "order", "agrees", "gate", "added", "/ hidden"
)  # fmt: skip
"""What `firing_cells` returns."""
TEXTS = frozenset({"token", "says"})
"""The columns that are aligned on the left."""
_LONGEST_TOKEN = 24


def explanation_text(parts: Sequence[Part]) -> str:
    """Put explanations into plain text.

    Args:
        parts: Sequences with their headings.
    """
    blocks: list[str] = []
    for heading, sequence in parts:
        blocks.append(summary(sequence) if heading is None else f"{heading}: {summary(sequence)}")
        widths = column_widths(sequence)
        for title, firings in by_fact(sequence):
            rows = [COLUMNS, *map(firing_cells, firings)]
            lines = [title, *(_aligned(row, widths) for row in rows)]
            blocks.append("\n".join([*lines, *(f"  {note}" for note in notes(firings))]))
        if sequence.changes:
            lines = [line for change in sequence.changes for line in _change_lines(change)]
            blocks.append(
                "\n".join(["The most likely next tokens, without tables and with", *lines])
            )
    return "\n\n".join(blocks)


def summary(sequence: SequenceExplanation) -> str:
    """Say in a sentence or two how much was read of whom."""
    tables = ", ".join(shown(owner) for owner in sequence.owners) or "none"
    read = f"Tables, the strongest first: {tables}." if sequence.owners[1:] else f"Table: {tables}."
    count = len(sequence.tokens)
    if not sequence.firings:
        same = "" if sequence.changed else ", and all logits are those of the bare model"
        return f"No row fires at any of {count} tokens{same}. {read}"
    fired = len({firing.position for firing in sequence.firings})
    return (
        f"Rows fire at {fired} of {count} tokens, and the logits change at {len(sequence.changed)}."
        f" {read}"
    )


def by_fact(sequence: SequenceExplanation) -> list[tuple[str, list[Firing]]]:
    """Group firings by owner, fact and wording, each group with its title."""
    groups: dict[object, list[Firing]] = {}
    for firing in sequence.firings:
        groups.setdefault((firing.owner, firing.fact, firing.prompt), []).append(firing)
    return [(f"{shown(f[0].owner)}: {fact_label(f[0])}", f) for f in groups.values()]


def firing_cells(firing: Firing) -> tuple[str, ...]:
    """Return the cells of a firing, one for each of `COLUMNS`."""
    return (
        str(firing.position),
        shown_token(firing.token),
        "?" if firing.target is None else shown_token(firing.target),
        str(firing.layer),
        str(firing.row),
        str(firing.order),
        "?" if firing.agreeing is None else f"{firing.agreeing} of {firing.length}",
        f"{firing.gate:.2f}",
        _norm(firing.added),
        f"{firing.relative:.2f}",
    )


def column_widths(sequence: SequenceExplanation) -> list[int]:
    """Return how wide each of `COLUMNS` is."""
    rows = [COLUMNS, *map(firing_cells, sequence.firings)]
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def notes(firings: Sequence[Firing]) -> list[str]:
    """Say what else is to be known of the firings of one wording."""
    partly = next((firing for firing in firings if firing.is_whole is False), None)
    found: list[str] = []
    if partly is not None:
        found.append(
            f"At {partly.position} only the end of the wording stands in the text:"
            f" {partly.agreeing} of {partly.length} tokens."
        )
    for firing in firings:
        for fact in firing.shared_with:
            same = f"{_shown_prompt(fact.prompt)} → {shown(fact.answer)}"
            found.append(f"At {firing.position} the address is also that of {same}.")
        for other in firing.shadowed:
            why = "shorter address" if other.place == firing.place else "weaker table"
            found.append(
                f"At {firing.position} shadowed ({why}): row {other.row} of {shown(other.owner)},"
                f" order {other.order}: {fact_label(other)}"
            )
    return found


def fact_label(found: FoundRow) -> str:
    """Name a row's fact by the wording that fired."""
    if found.fact is None or found.prompt is None:
        return "a fact whose text is not in the table"
    return f"{_shown_prompt(found.prompt)} → {shown(found.fact.answer)}"


def shown_token(text: str) -> str:
    """Return a token in quotes, so that its spaces are seen."""
    text = shown(text, fold=False)
    return f"“{text if len(text) <= _LONGEST_TOKEN else f'{text[: _LONGEST_TOKEN - 1]}…'}”"


def shown(text: str, *, fold: bool = True) -> str:
    """Return a text in one line of printable characters."""
    text = " ".join(text.split()) if fold else text.replace("\n", "⏎")
    return "".join(c if c.isprintable() else "·" for c in text)


def percent(probability: float) -> str:
    """Return a probability in such a way that neither 0 nor 1 is claimed where it is not so."""
    if 0 < probability < 0.001:
        return "<0.1 %"
    if 0.999 < probability < 1:
        return ">99.9 %"
    return f"{100 * probability:.1f} %"


def _shown_prompt(prompt: Prompt) -> str:
    """Return a text, and of a chat the last message."""
    if isinstance(prompt, str):
        return shown(prompt)
    role, content = prompt[-1]
    return shown(f"{role}: {content}")


def _change_lines(change: Change) -> list[str]:
    def listed(tokens: Sequence[NextToken], shares: Sequence[float]) -> str:
        pairs = zip(tokens, shares, strict=True)
        return "  ".join(f"{shown_token(t.token)} {percent(share)}" for t, share in pairs)

    return [
        f"  after {change.position} {shown_token(change.token)}",
        f"    without  {listed(change.before, [t.probability_before for t in change.before])}",
        f"    with     {listed(change.after, [t.probability_after for t in change.after])}",
    ]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    columns = zip(COLUMNS, cells, widths, strict=True)
    aligned = (c.ljust(w) if name in TEXTS else c.rjust(w) for name, c, w in columns)
    return f"  {'  '.join(aligned)}".rstrip()


def _norm(value: float) -> str:
    return f"{value:.2f}" if value >= 0.01 or not value else f"{value:.1e}"

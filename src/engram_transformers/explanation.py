"""What `explain` found: which row of whom was read where, and what it changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from engram_transformers.banks.activity import BankActivity
from engram_transformers.facts import Fact, Prompt

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType


@dataclass(frozen=True, kw_only=True)
class FoundRow:
    """A row that a table has for a position.

    Attributes:
        owner: Whose table it is.
        place: The table's place in what the sequence reads: 0 is the strongest.
        row: The row's number in `table.rows.values`. Several facts may share a row.
        address: As in `table.rows.addresses`. It says which fact is meant, also for a shared row.
        order: How many tokens the address covers, up to and including this one.
        fact: The fact whose address it is; None if the table was saved without its texts. This and
            what follows is about the one that agrees with the text furthest, should there be two.
        prompt: Which of the fact's wordings it is.
        part: Which token of the answer the row calls for, from 0; None without a fact.
        parts: How many tokens the answer has, with its stop.
        target: The token that the row calls for.
        agreeing: How many tokens of wording and answer, counted back from here, stand in the text
            one by one. At least `order`.
        length: How many tokens wording and answer have up to here.
        shared_with: Other facts of the table that have the same address.
    """

    owner: str
    place: int
    row: int
    address: int
    order: int
    fact: Fact | None
    prompt: Prompt | None
    part: int | None
    parts: int | None
    target: str | None
    agreeing: int | None
    length: int | None
    shared_with: tuple[Fact, ...]

    @property
    def is_whole(self) -> bool | None:
        """Whether the whole wording stands in the text, not only its end; None without a fact."""
        return None if self.fact is None else self.agreeing == self.length


@dataclass(frozen=True, kw_only=True)
class Firing(FoundRow):
    """A row that a memory read.

    Attributes:
        position: The token at which it was read; padding is not counted.
        token: That token.
        layer: The decoder block whose memory read it.
        gate: How far the memory let it in, 0 to 1.
        added: Norm of what was added to the hidden state.
        hidden: Norm of the hidden state before.
        shadowed: Other rows that were found at this position, but not read: of the same table with
            shorter addresses, and of weaker tables. The one that would have been read next comes
            first.
    """

    position: int
    token: str
    layer: int
    gate: float
    added: float
    hidden: float
    shadowed: tuple[FoundRow, ...]

    @property
    def relative(self) -> float:
        """What was added, relative to the hidden state."""
        return self.added / self.hidden if self.hidden else 0.0


@dataclass(frozen=True)
class NextToken:
    """A token that may come next.

    Attributes:
        token_id: Its id.
        token: Its text.
        probability_before: Without the tables, 0 to 1.
        probability_after: With them.
        logit_before: Without the tables.
        logit_after: With them.
        rank_before: Its place without the tables: 1 is the most likely.
        rank_after: Its place with them.
    """

    token_id: int
    token: str
    probability_before: float
    probability_after: float
    logit_before: float
    logit_after: float
    rank_before: int
    rank_after: int


@dataclass(frozen=True)
class Change:
    """What may come next behind a position, with the tables and without.

    Attributes:
        position: The token behind which it comes; padding is not counted.
        token: That token.
        before: The most likely tokens without the tables, the most likely first.
        after: The most likely tokens with them.
    """

    position: int
    token: str
    before: tuple[NextToken, ...]
    after: tuple[NextToken, ...]


@dataclass(frozen=True)
class SequenceExplanation:
    """What tables did in one sequence.

    Attributes:
        token_ids: The sequence, without padding: positions count these.
        tokens: The same, each decoded by itself.
        layers: The decoder blocks with memories.
        owners: Whose tables the sequence reads, the strongest first.
        firings: The rows that were read, by position and layer.
        changes: What may come next: at every position at which a row was read and at the last one,
            where the logits are not those of the bare model, bit for bit.
        changed: All positions where they are not: rows also act on what follows.
        banks: What the model's banks did at each token, by layer, with the tables active; empty if
            it has none, or they are switched off.
    """

    token_ids: tuple[int, ...]
    tokens: tuple[str, ...]
    layers: tuple[int, ...]
    owners: tuple[str, ...]
    firings: tuple[Firing, ...]
    changes: tuple[Change, ...]
    changed: tuple[int, ...]
    banks: tuple[BankActivity, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; addresses are 16 hexadecimal digits."""
        return _as_json(self)

    def plot(self, *, title: str | None = None) -> Figure:
        """Draw tokens × layers; see `Explanation.plot`."""
        from engram_transformers.explain_figure import explanation_figure

        return explanation_figure([(None, self)], title=title)

    def table(self) -> RenderableType:
        """Return tables for `rich`; see `Explanation.table`."""
        from engram_transformers.explain_table import explanation_table

        return explanation_table([(None, self)])

    def __str__(self) -> str:
        from engram_transformers.explain_text import explanation_text

        return explanation_text([(None, self)])

    def __rich__(self) -> RenderableType:
        """Let `rich.print` show the tables."""
        return self.table()

    def _repr_png_(self) -> bytes | None:
        from engram_transformers.explain_figure import explanation_png

        return explanation_png([(None, self)])


@dataclass(frozen=True)
class Explanation:
    """What `explain` found.

    It prints as text, in notebooks it shows itself as a picture, and `rich.print` makes tables.

    Attributes:
        model: The model's name, for people.
        sequences: One entry per sequence that was given.
    """

    model: str
    sequences: tuple[SequenceExplanation, ...]

    @property
    def firings(self) -> tuple[Firing, ...]:
        """The rows that were read, of all sequences."""
        return tuple(firing for sequence in self.sequences for firing in sequence.firings)

    @property
    def changes(self) -> tuple[Change, ...]:
        """What may come next, of all sequences."""
        return tuple(change for sequence in self.sequences for change in sequence.changes)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; addresses are 16 hexadecimal digits."""
        return _as_json(self)

    def plot(self, *, title: str | None = None) -> Figure:
        """Draw tokens × layers.

        A cell is one token at one memory. It is filled where a row was read there, in the colour of
        the row's fact and as high as what the row adds, relative to the hidden state. The number in
        it is the address's order; a line is the gate. Above stands what the model now most likely
        says next, where that has changed.

        Args:
            title: Above all; None for the model's name.

        Returns:
            A matplotlib figure, made without pyplot: `figure.savefig("rows.png")`.

        Raises:
            MissingExtraError: If matplotlib is not installed.
        """
        from engram_transformers.explain_figure import explanation_figure

        return explanation_figure(self._parts(), title=self._title() if title is None else title)

    def table(self) -> RenderableType:
        """Return tables for `rich`, which `rich.print(explanation)` shows as well.

        Raises:
            MissingExtraError: If rich is not installed.
        """
        from engram_transformers.explain_table import explanation_table

        return explanation_table(self._parts())

    def __str__(self) -> str:
        from engram_transformers.explain_text import explanation_text

        return explanation_text(self._parts())

    def __rich__(self) -> RenderableType:
        """Let `rich.print` show the tables."""
        return self.table()

    def __len__(self) -> int:
        return len(self.sequences)

    def __iter__(self) -> Iterator[SequenceExplanation]:
        return iter(self.sequences)

    def __getitem__(self, number: int) -> SequenceExplanation:
        return self.sequences[number]

    def _repr_png_(self) -> bytes | None:
        from engram_transformers.explain_figure import explanation_png

        return explanation_png(self._parts(), title=self._title())

    def _title(self) -> str:
        return f"Rows read in {self.model}"

    def _parts(self) -> list[tuple[str | None, SequenceExplanation]]:
        """Return the sequences with headings, if there are several."""
        if len(self.sequences) == 1:
            return [(None, self.sequences[0])]
        return [(f"Sequence {number}", each) for number, each in enumerate(self.sequences)]


def _as_json(explanation: Explanation | SequenceExplanation) -> dict[str, Any]:
    fields = asdict(explanation)
    for sequence in fields.get("sequences", [fields]):
        for firing in sequence["firings"]:
            firing["relative"] = firing["added"] / firing["hidden"] if firing["hidden"] else 0.0
            for found in (firing, *firing["shadowed"]):
                # As `engram-transformers show --rows` prints them; JSON's numbers may be too short.
                found["address"] = f"{found['address'] % (1 << 64):016x}"
    return fields

"""What one call of writing to a table of buckets tries, keeps and leaves out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engram_transformers.attempt import Outcome
from engram_transformers.buckets.hashed_rows import hashed_rows_of
from engram_transformers.buckets.optimise import BucketEffort, BucketOptimiser, Replaced
from engram_transformers.buckets.places import Place, places_of, rows_of_entries
from engram_transformers.evaluation import ask, is_recalled
from engram_transformers.facts import Fact
from engram_transformers.index import Rows
from engram_transformers.ledger import Entry
from engram_transformers.plan import Item
from engram_transformers.sequences import Encoder, Wording, wordings
from engram_transformers.write_options import WriteOptions
from engram_transformers.writer import Writer, Written

if TYPE_CHECKING:
    from engram_transformers.table import UserTable


class BucketWriter(Writer):
    """What is tried, kept and left out in one call.

    Rows of facts that are kept are never moved by later ones: two facts whose last tokens are the
    same read the same rows, and the second one is left out where its answer is another.

    Attributes:
        asking: Seconds spent asking so far.
    """

    def __init__(self, table: UserTable, options: WriteOptions, encoder: Encoder) -> None:
        super().__init__(table, options, encoder)
        self.memory = hashed_rows_of(self.attachment)[table.layer]
        self.asking = 0.0
        self._places: dict[int, Place] = {}
        rows = table.rows
        values = rows.values[rows.row_index]
        self._had: dict[int, Tensor] = dict(zip(rows.addresses.tolist(), values, strict=True))
        self._found: dict[int, Tensor] = {}
        self._won: list[Item] = []

    def take_in(self, facts: Sequence[Fact]) -> None:
        """Tokenise facts and find what they replace, and which rows they read."""
        for fact in dict.fromkeys(facts):
            self._add(fact)
        self.waiting = list(self.pending)
        items = [*self._old, *self.pending]
        device = self.attachment.device
        found = places_of(self.memory, [item.wordings for item in items], device)
        self._places = {id(item): place for item, place in zip(items, found, strict=True)}

    def attempt_again(
        self, number: int, effort: BucketEffort, least_margin: float, bar: Any
    ) -> None:
        """Find rows for what is not answered yet, ask, and keep what is answered.

        Args:
            number: Which try this is. From the second on, facts are not tried for whose tokens no
                row is free, and of those that want different tokens of the same rows only the
                first is.
            effort: How hard to try.
            least_margin: By how many logits each token of an answer must lead to be kept.
            bar: The progress bar.
        """
        trying = self._worth_another_try() if number else list(self.waiting)
        if not trying:
            return
        fixed = self._table_rows(self._won, beside=trying)
        wanted = {row for item in trying for row in self._places[id(item)].written}
        numbers = sorted(wanted - fixed.keys())
        if numbers:
            optimiser = BucketOptimiser(
                self.attachment,
                self.memory,
                [wording for item in trying for wording in item.wordings],
                self._contexts(trying),
                self._as_replaced(fixed),
                torch.tensor(numbers, dtype=torch.int64),
                self.table.dtype,
            )

            def show(step: int) -> None:
                bar.set_postfix_str(f"step {step}", refresh=True)

            values, steps = optimiser.solve(effort, show)
            self.steps += steps
            self._found.update(zip(numbers, values, strict=True))
        self._settle(trying, least_margin)

    def written(self, seconds: float, evaluation_seconds: float) -> Written:
        """Describe the outcome; see `Writer.finish`."""
        won = {id(item) for item in self._won}
        gone = {id(old) for item in self._won for old in self.replaced[id(item)]}
        order = self.memory.layout.max_order
        kept = [item for item in self._old if id(item) not in gone]
        new = [item for item in self.pending if id(item) in won]
        entries = [item.entry for item in kept]
        for item in new:
            orders = tuple((order,) * len(line.targets) for line in item.wordings)
            entries.append(dataclasses.replace(item.entry, orders=orders))
        failed = [item for item in self.pending if id(item) not in won]
        report = self._report(new, failed, seconds, evaluation_seconds)
        return Written(self._as_rows(self._table_rows(self._won)), tuple(entries), report)

    def _items(self, entries: Sequence[Entry]) -> list[Item]:
        """Return the facts that the table holds."""
        rows_of_entries(self.table, entries)  # raises if they come to other tokens now
        canonical = self.attachment.canonical_list
        encoder = self.encoder
        encoder.preload(((entry.fact, entry.stop) for entry in entries), canonical)
        return [
            Item(e, wordings(encoder, e.fact, e.stop, 1 << 62, canonical), None) for e in entries
        ]

    def _settle(self, trying: Sequence[Item], least_margin: float) -> None:
        """Keep those facts that are answered with none but the kept ones' rows in place."""
        winners = list(trying)
        before = self._table_rows(self._won)
        while winners:
            gone = {id(old) for item in [*self._won, *winners] for old in self.replaced[id(item)]}
            kept = [item for item in self._old if id(item) not in gone] + self._won
            now = self._table_rows([*self._won, *winners])
            moved = {r for r in now.keys() | before.keys() if not _same(now.get(r), before.get(r))}
            touched = [item for item in kept if self._places[id(item)].read & moved]
            losers = self._losers(winners, touched, now, least_margin)
            if not losers:
                break
            winners = [item for item in winners if id(item) not in losers]
        self._won += winners
        done = {id(item) for item in winners}
        self.waiting = [item for item in self.waiting if id(item) not in done]

    def _losers(
        self,
        winners: Sequence[Item],
        touched: Sequence[Item],
        rows: dict[int, Tensor],
        least_margin: float,
    ) -> set[int]:
        """Ask facts, and say which of the new ones can't be kept, by their `id`."""
        lines = [(item, line) for item in (*winners, *touched) for line in item.wordings]
        started = time.perf_counter()
        reading = self.table.reading(self._as_rows(rows))
        said = ask(self.attachment.model, reading, [line for _, line in lines])
        self.asking += time.perf_counter() - started
        new = {id(item) for item in winners}
        losers: set[int] = set()
        harmed: list[Item] = []
        for (item, line), answer in zip(lines, said, strict=True):
            recalled = is_recalled(line, answer)
            if id(item) not in new:
                harmed += [] if recalled else [item]
            elif not recalled or answer.margin < least_margin:
                losers.add(id(item))
                reason = "its answer is not won with margin." if recalled else self._why(item)
                instead = () if recalled else answer.tokens
                self.outcomes[id(item)] = Outcome(item, reason, instead)
        if harmed and not losers:
            read = {row for item in harmed for row in self._places[id(item)].read}
            blamed = [i for i in winners if self._places[id(i)].written & read] or list(winners)
            reason = f"it would change the answer to {harmed[0].entry.fact.prompt!r}."
            self.outcomes.update({id(item): Outcome(item, reason, ()) for item in blamed})
            losers = {id(item) for item in blamed}
        return losers

    def _why(self, item: Item) -> str:
        """Say why a fact is not answered."""
        own = self._places[id(item)].written
        others = [i for i in (*self._old, *self.pending) if i is not item]
        shared = [i for i in others if own & self._places[id(i)].written]
        if not shared:
            return "the model gives another answer."
        return (
            "the model gives another answer; it reads rows that"
            f" {shared[0].entry.fact.prompt!r} reads too, as their last tokens are hashed alike."
        )

    def _worth_another_try(self) -> list[Item]:
        """Return what is waiting, without facts that others of the table leave no room for."""
        fixed = self._table_rows(self._won, beside=self.waiting).keys()
        wanted: dict[tuple[int, ...], int] = {}
        chosen: list[Item] = []
        for item in self.waiting:
            asked = [
                (rows, token)
                for line, places in zip(
                    item.wordings, self._places[id(item)].at_targets, strict=True
                )
                for rows, token in zip(places, line.targets, strict=True)
            ]
            is_free = all(not fixed >= set(rows) for rows, _ in asked)
            if is_free and all(wanted.get(rows, token) == token for rows, token in asked):
                wanted.update(asked)
                chosen.append(item)
        return chosen

    def _table_rows(self, won: Sequence[Item], beside: Sequence[Item] = ()) -> dict[int, Tensor]:
        """Return the rows of the facts that the table holds once some have won.

        Args:
            won: New facts.
            beside: New facts whose rows are not wanted, nor those of what they replace.
        """
        gone = {id(old) for item in (*won, *beside) for old in self.replaced[id(item)]}
        kept = [item for item in self._old if id(item) not in gone]
        rows = {r: self._had[r] for item in kept for r in sorted(self._places[id(item)].written)}
        for item in won:
            for row in self._places[id(item)].written:
                rows.setdefault(row, self._found[row] if row in self._found else self._had[row])
        return rows

    def _as_rows(self, rows: dict[int, Tensor]) -> Rows:
        numbers, values = self._as_replaced(rows)
        orders = (self.memory.layout.max_order,) if rows else ()
        return Rows(numbers, torch.arange(len(numbers)), values, orders)

    def _as_replaced(self, rows: dict[int, Tensor]) -> Replaced:
        numbers = sorted(rows)
        width = self.memory.layout.width
        values = torch.stack([rows[n] for n in numbers]) if numbers else torch.zeros(0, width)
        return Replaced(torch.tensor(numbers, dtype=torch.int64), values)

    def _contexts(self, items: Sequence[Item]) -> list[list[int]]:
        first: Wording = items[0].wordings[0]
        prefix = first.prompt_ids[: first.start]
        return [[*prefix, *self.encoder(text)] for text in self.options.context_texts]


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and torch.equal(one, other)

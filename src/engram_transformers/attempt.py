"""One try at writing: find rows at planned addresses, ask every fact, say what came of each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engram_transformers.evaluation import Said, is_recalled, left_padded
from engram_transformers.index import Rows
from engram_transformers.plan import Item, Plan, find_rows, make_plan
from engram_transformers.sequences import AUTO_STOP, Wording, is_wide
from engram_transformers.token_rows import TokenRows

if TYPE_CHECKING:
    from engram_transformers.table import UserTable
    from engram_transformers.write_options import WriteOptions

_SEQUENCES_PER_BATCH = 256
_JOINING = tuple("-_/@&%$€£#+=\\�")


@dataclass(frozen=True)
class Outcome:
    """What came of one fact.

    Attributes:
        item: The fact with its rows.
        reason: Why it can't be kept, None if it can.
        said: What the model said instead.
        goes_on: Whether the answer is right, but its stop was none: "4471" became "4471.50".
    """

    item: Item
    reason: str | None
    said: tuple[int, ...]
    goes_on: bool = False


class Attempt:
    """Find rows for some facts beside others that are there already.

    First `find_directly` or `stepwise.find_by_steps`; then whoever asks, asks `questions` with
    `table` and gives the answers to `outcomes`.

    Attributes:
        values: (rows, row_dim) float32: the old rows and, once found, the new ones behind them.
        options: How facts are written.
    """

    def __init__(
        self,
        table: UserTable,
        others: Sequence[Item],
        items: Sequence[Item],
        values: Tensor,
        options: WriteOptions,
    ) -> None:
        self.attachment = table.attachment
        self.others = others
        self.items = items
        self.values = values
        self.old_rows = values.shape[0]
        self.options = options
        self.plan = self._make_plan()
        self._table = table
        self._unsolved: frozenset[int] = frozenset()

    def find_directly(self, token_rows: TokenRows) -> None:
        """Take rows in closed form."""
        rows = token_rows.rows(self.plan.targets, self._table.dtype)
        self.values = torch.cat([self.values, rows])

    def take_rows(self, values: Tensor, needed: Sequence[bool], unsolved: frozenset[int]) -> None:
        """Take rows that were optimised.

        Args:
            values: (new rows, row_dim) float32.
            needed: Which of them are: the model needs no row where it answers by itself.
            unsolved: Facts that are not answered with margin.
        """
        self.values = torch.cat([self.values, values])
        self._unsolved = unsolved
        if not all(needed):
            self.plan = self._make_plan(needed)

    @cached_property
    def table(self) -> UserTable:
        """The table as it would be with these rows, to be read."""
        return self._table.reading(self.plan.compact_rows(self.values))

    @cached_property
    def questions(self) -> list[Wording]:
        """Every new fact in its wordings, and every old one in which a new row is found."""
        return [w for _, w in self.lines] + [w for _, w, _ in self._touched]

    @cached_property
    def lines(self) -> list[tuple[int, Wording]]:
        """Every new fact's number and wordings."""
        return [(n, w) for n, item in enumerate(self.items) for w in item.wordings]

    def outcomes(self, said: Sequence[Said], least_margin: float) -> list[Outcome]:
        """Say what came of each fact.

        Args:
            said: The answers to `questions`.
            least_margin: By how many logits each token of an answer must lead.

        Returns:
            One outcome per fact.
        """
        wrong: dict[int, Said] = {}
        going_on: dict[int, Said] = {}
        narrow: set[int] = set(self._unsolved) if least_margin > 0 else set()
        for (number, wording), answer in zip(self.lines, said, strict=False):
            if not is_recalled(wording, answer):
                wrong.setdefault(number, answer)
                continue
            if answer.margin < least_margin:
                narrow.add(number)
            if least_margin > 0 and self._goes_on(number, wording, answer.then):
                going_on.setdefault(number, answer)
        harmed: dict[int, Item] = {}
        answers = said[len(self.lines) :]
        for (number, wording, by), answer in zip(self._touched, answers, strict=True):
            if not is_recalled(wording, answer):
                harmed.update(dict.fromkeys(by, self.others[number]))
        outcomes: list[Outcome] = []
        row_ids = self.plan.row_ids[len(self.others) :]
        for n, item in enumerate(self.items):
            reason = None
            if n in wrong:
                reason = "the model gives another answer."
            elif n in harmed:
                reason = f"it would change the answer to {harmed[n].entry.fact.prompt!r}."
            elif n in narrow:
                reason = "its answer is not won with margin."
            elif n in going_on:
                reason = "its answer goes on behind its end."
            found = dataclasses.replace(item, row_ids=tuple(row_ids[n]))
            said_instead = wrong[n].tokens if n in wrong else ()
            outcomes.append(Outcome(found, reason, said_instead, n in going_on))
        return outcomes

    def _goes_on(self, number: int, wording: Wording, then: int) -> bool:
        """Say whether a token continues what the stop was to end, as "50" does in "4471.50"."""
        entry = self.items[number].entry
        if entry.stop != AUTO_STOP or is_wide(entry.fact.answer[-1]):  # no spaces there
            return False
        tokenizer: Any = self.attachment.tokenizer
        if then in tokenizer.all_special_ids:
            return False
        # Alone, some tokenizers would drop the space that begins a token.
        before = tokenizer.decode(wording.targets[-1:])
        added = tokenizer.decode([*wording.targets[-1:], then])[len(before) :]
        return added[:1].isalnum() or added[:1] in _JOINING

    def _make_plan(self, needed: Sequence[bool] | None = None) -> Plan:
        items = [*self.others, *self.items]
        return make_plan(self.attachment, items, self.old_rows, needed)

    @cached_property
    def _touched(self) -> list[tuple[int, Wording, set[int]]]:
        """Return each wording of an old fact in which new rows are found, and of which facts."""
        lines = [(n, w) for n, item in enumerate(self.others) for w in item.wordings]
        empty = torch.zeros(0, self.attachment.config.row_dim)
        rows = self.plan.rows(empty)
        # Facts may share rows, so count by address.
        numbered = dataclasses.replace(rows, row_index=torch.arange(rows.addresses.numel()))
        first_new = len(self.others)
        item_of = [self.plan.item_of[a] - first_new for a in rows.addresses.tolist()]
        is_new = torch.tensor([item >= 0 for item in item_of], dtype=torch.bool)
        orders = self.plan.row_orders_from(first_new)
        new = Rows(rows.addresses[is_new], numbered.row_index[is_new], empty, orders)
        touched: list[tuple[int, Wording, set[int]]] = []
        for start in range(0, len(lines), _SEQUENCES_PER_BATCH):
            # Few have any of the new addresses; which of all their addresses wins matters there.
            part = lines[start : start + _SEQUENCES_PER_BATCH]
            part = [part[n] for n, places in enumerate(self._find(new, part)) if max(places) >= 0]
            for (number, wording), places in zip(part, self._find(numbered, part), strict=True):
                found = {item_of[place] for place in places if place >= 0 and item_of[place] >= 0}
                if found:
                    touched.append((number, wording, found))
        return touched

    def _find(self, rows: Rows, lines: Sequence[tuple[int, Wording]]) -> list[list[int]]:
        """Find the row at each position of wordings."""
        if not lines:
            return []
        sequences = [wording.prompt_ids + wording.targets[:-1] for _, wording in lines]
        ids, mask = left_padded(sequences, torch.device("cpu"))
        return find_rows(self.attachment, rows, ids, mask).tolist()

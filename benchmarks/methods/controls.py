"""Controls: tables that should not work, to show that it is the right row that answers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmarks.methods import KnownFact
from benchmarks.methods.fitting import fit, in_tokens
from benchmarks.methods.memory import Memory
from benchmarks.setting import Setting
from engram_transformers.index import Rows


class OneRow(Memory):
    """All addresses lead to one row, fitted anew to say as much as one row can."""

    def __init__(self, setting: Setting, steps: int = 60) -> None:
        super().__init__(setting, "one row for all addresses")
        self.most_steps = steps

    def write(self, facts: Sequence[KnownFact]) -> None:
        super().write(facts)
        rows = self.table.rows
        one = Rows(rows.addresses, torch.zeros_like(rows.row_index), rows.values[:1], rows.orders)
        sequences = in_tokens(self.tokenizer, facts)
        self.table = fit(self.model, self.table, one, sequences, self.most_steps).table


class Shuffled(Memory):
    """The rows of the table, dealt out anew among its addresses."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting, "shuffled addresses")
        self._generator = torch.Generator().manual_seed(setting.seed)

    def write(self, facts: Sequence[KnownFact]) -> None:
        super().write(facts)
        rows = self.table.rows
        order = torch.randperm(rows.row_index.numel(), generator=self._generator)
        self.table = self.table.reading(
            Rows(rows.addresses, rows.row_index[order], rows.values, rows.orders)
        )


class AnotherUser(Memory):
    """A table that holds another user's facts, and none of these."""

    def __init__(self, setting: Setting, others: Sequence[KnownFact]) -> None:
        super().__init__(setting, "another user's table", owner="somebody else")
        self.others = others

    def write(self, facts: Sequence[KnownFact]) -> None:
        super().write(self.others)

"""The library's rows, addressed as "User as Engram" does: by the last three tokens.

Facts whose triggers end alike share a row then, and it can say one thing only. The rows are fitted
by the loop of `fitting`, which is also run with this library's own addresses: what differs between
the two is the address and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from benchmarks.methods import KnownFact
from benchmarks.methods.fitting import Tokens, fit, in_tokens
from benchmarks.methods.memory import Memory
from benchmarks.setting import Setting
from engram_transformers.attachment import require_attachment
from engram_transformers.index import Rows

ORDER = 3
"""The paper reads suffixes of two and three tokens; the longest match wins here, so it is three."""


class PaperAddressing(Memory):
    """Every position that is to say an answer token has the address of its last three tokens.

    Attributes:
        seconds: Time that fitting took.
        steps: Taken.
        shared: How many addresses are to say different tokens for different facts.
    """

    def __init__(self, setting: Setting, steps: int = 60, name: str = "suffix trigrams") -> None:
        super().__init__(setting, name)
        self.most_steps = steps
        self.seconds = 0.0
        self.steps = 0
        self.shared = 0

    def write(self, facts: Sequence[KnownFact]) -> None:
        started = time.perf_counter()
        sequences = in_tokens(self.tokenizer, facts)
        fitted = fit(self.model, self.table, self.addressed(sequences), sequences, self.most_steps)
        self.table, self.steps = fitted.table, fitted.steps
        self.seconds = time.perf_counter() - started

    def addressed(self, sequences: Sequence[Tokens]) -> Rows:
        """Return addresses and empty rows."""
        attachment = require_attachment(self.model)
        canonical = attachment.canonical_list
        said: dict[int, set[int]] = {}
        orders: set[int] = set()
        for ids, prefix, answer in sequences:
            for place in range(len(ids) - answer, len(ids)):  # of the token that is to be said
                suffix = ids[max(prefix, place - ORDER) : place]
                orders.add(len(suffix))
                address = attachment.hasher.address([canonical[i] for i in suffix])
                said.setdefault(address, set()).add(ids[place])
        self.shared = sum(len(tokens) > 1 for tokens in said.values())
        addresses = torch.tensor(sorted(said), dtype=torch.int64)
        empty = torch.zeros(len(said), attachment.config.row_dim)
        return Rows(addresses, torch.arange(len(said)), empty, tuple(sorted(orders)))


class OwnAddressing(Memory):
    """This library's addresses, with rows fitted by the same loop: the control of the above."""

    def __init__(self, setting: Setting, steps: int = 60, name: str = "own addresses") -> None:
        super().__init__(setting, f"{name}, same loop")
        self.most_steps = steps
        self.steps = 0

    def write(self, facts: Sequence[KnownFact]) -> None:
        super().write(facts)
        sequences = in_tokens(self.tokenizer, facts)
        rows = self.table.rows
        count = rows.addresses.numel()  # each gets a row, as above, whatever the table shares
        empty = torch.zeros(count, rows.values.shape[1])
        apart = Rows(rows.addresses, torch.arange(count), empty, rows.orders)
        fitted = fit(self.model, self.table, apart, sequences, self.most_steps)
        self.table, self.steps = fitted.table, fitted.steps

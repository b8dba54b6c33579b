"""What is remembered of the tokens in one cache: their ids, and what banks were given at them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from engram_transformers.banks.inputs import GrownInputs, RollingInputs
from engram_transformers.coded_ids import Uncoded, joined

# Small tensors, kept until somebody reads; then they are joined.
_MOST_UNCODED = 64


class Ledger:
    """The coded ids of the tokens in one cache.

    Calls in which nothing is read leave what they were given here as it is: coding it can wait, and
    costs a step of decoding more than it has to spare.

    Args:
        ids: (batch, tokens) int64; for caches that can't be rolled back the last `max_order - 1`
            only, padded on the left.
        rows_per_sample: How many batch rows each sample of the tables was seen to be expanded to.
        inputs: What the convolutions of banks were given; None for nothing yet.

    Attributes:
        length: How many tokens there are.
    """

    def __init__(
        self,
        ids: Tensor,
        rows_per_sample: int = 1,
        inputs: GrownInputs | RollingInputs | None = None,
    ) -> None:
        self.rows_per_sample = rows_per_sample
        self.inputs = GrownInputs() if inputs is None else inputs
        self._ids = ids
        self._uncoded: list[Uncoded] = []
        self.length = ids.shape[1]

    @property
    def ids(self) -> Tensor:
        """(batch, tokens) int64, all of them coded."""
        if self._uncoded:
            uncoded, self._uncoded = self._uncoded, []
            self._ids = torch.cat([self._ids, *(part.coded() for part in joined(uncoded))], dim=1)
        return self._ids

    @ids.setter
    def ids(self, ids: Tensor) -> None:
        self._ids, self._uncoded, self.length = ids, [], ids.shape[1]

    @property
    def batch(self) -> int:
        """How many sequences there are."""
        return self._ids.shape[0]

    def cut(self, length: int) -> None:
        """Forget the tokens behind so many."""
        self.ids = self.ids[:, :length]
        self.inputs.cut(length)

    def moved(self, move: Callable[[Tensor], Tensor], rows_per_sample: int = 1) -> Ledger:
        """Return the ledger after an operation on the batch."""
        return Ledger(move(self.ids), rows_per_sample, self.inputs.moved(move))

    def add(self, part: Uncoded) -> None:
        """Put new tokens behind the others."""
        self._uncoded.append(part)
        self.length += part.given.shape[1]
        if len(self._uncoded) >= _MOST_UNCODED:
            self.ids  # noqa: B018 (codes them)

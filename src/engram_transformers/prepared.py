"""What reading some tables at one layer needs, made once and kept while it is of use."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engram_transformers.hashing import SuffixHasher
from engram_transformers.index import RowIndex, Rows, suffixes
from engram_transformers.stepping import StepReader

_KEPT = 16


@dataclass(frozen=True)
class Prepared:
    """Rows of some owners, ready to be found.

    Attributes:
        rows: Each owner's; the position is the owner's number.
        index: For any number of positions.
        stepper: For a few positions; None where there is none to be had.
        premixed: (vocab,) int64, on the index's device.
        hasher: The configuration's.
    """

    rows: tuple[Rows, ...]
    index: RowIndex
    stepper: StepReader | None
    premixed: Tensor
    hasher: SuffixHasher
    _ranks: dict[int, Tensor] = field(default_factory=dict)

    @classmethod
    def build(
        cls, rows: Sequence[Rows], device: torch.device, hasher: SuffixHasher, premixed: Tensor
    ) -> Prepared:
        """Merge and sort; see `RowIndex.build`."""
        with torch.inference_mode(False):  # it may be read again with gradients
            index = RowIndex.build(rows, device)
            filled = index.keys.numel() > 0
            stepper = StepReader.build(index, hasher, premixed) if filled else None
        return cls(tuple(rows), index, stepper, premixed, hasher)

    def read(
        self, window: Tensor, last: int, owners: Tensor, *, is_shared: bool
    ) -> tuple[Tensor, Tensor]:
        """Read the last positions of each sequence.

        Args:
            window: (batch, length) int64, coded ids.
            last: How many positions are wanted.
            owners: (batch, depth) int64, each sample's owners, strongest first; -1 for nobody.
            is_shared: Whether every sample reads every owner.

        Returns:
            (batch, last, row_dim) float32 rows, and (batch, last) bool: where one was found.
        """
        if self.index.keys.numel() == 0:  # erased since somebody looked whether there are rows
            values = self.index.values
            found = torch.zeros(len(window), last, dtype=torch.bool, device=values.device)
            return values.new_zeros(*found.shape, values.shape[1]), found
        if self.stepper is not None and self.stepper.suits(len(window), last):
            depth = owners.shape[1]
            alone = is_shared and len(self.rows) == 1
            return self.stepper.read(window, last, None if alone else owners, self._ranks_of(depth))
        rows = self.find(window, last, owners)
        return self.index.values[rows.clamp_min(0)], rows >= 0

    def find(self, window: Tensor, last: int, owners: Tensor) -> Tensor:
        """Return the row of each of the last positions, (batch, last) int64, -1 for none."""
        addresses, valid = suffixes(window, self.premixed, self.hasher, self.index.orders, last)
        return self.index.find(addresses, valid, owners)

    def _ranks_of(self, depth: int) -> Tensor:
        found = self._ranks.get(depth)
        if found is None:
            if self.stepper is None:
                raise RuntimeError("There is no reader of steps.")
            with torch.inference_mode(False):
                found = self._ranks[depth] = self.stepper.ranks(depth)
        return found


class PreparedTables:
    """The last few `Prepared`, found again by the rows themselves."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Prepared] = OrderedDict()
        self._lock = threading.Lock()

    def of(
        self, rows: Sequence[Rows], device: torch.device, hasher: SuffixHasher, premixed: Tensor
    ) -> Prepared:
        """Return what belongs to some rows, made if it is not there."""
        # Rows are immutable, and those kept can't give their ids to others.
        key = (device, *map(id, rows))
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        made = Prepared.build(rows, device, hasher, premixed)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made

    def __getstate__(self) -> dict[str, object]:
        """Copies and pickles start with nothing."""
        return {}

    def __setstate__(self, state: dict[str, object]) -> None:
        self._kept, self._lock = OrderedDict(), threading.Lock()

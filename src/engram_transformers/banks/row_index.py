"""Where the numbers of a row are kept: from row to slot, for the rows ever asked for."""

from __future__ import annotations

import torch
from torch import Tensor


class RowIndex:
    """Number rows in the order in which they first appear.

    Sorted runs, each at least twice as long as the next: the logarithmic method (Bentley and Saxe
    1980, "Decomposable searching problems I"). With n rows there are at most log2(n) + 1 runs, so a
    lookup is that many binary searches, and a row is sorted again at most log2(n) times. Memory is
    16 bytes for each row known, however many rows the table has. Sorting and searching are the same
    on every device, so slots do not depend on it.

    Args:
        device: Where rows will be looked up.

    Example:
        >>> index = RowIndex(torch.device("cpu"))
        >>> index.slots(torch.tensor([3, 900])), index.slots(torch.tensor([7, 900]))
        (tensor([0, 1]), tensor([2, 1]))
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._runs: list[tuple[Tensor, Tensor]] = []  # rows (ascending) and slots, int64

    def __len__(self) -> int:
        return sum(len(rows) for rows, _ in self._runs)

    @property
    def nbytes(self) -> int:
        """Bytes of all runs."""
        return sum(rows.nbytes + slots.nbytes for rows, slots in self._runs)

    def slots(self, rows: Tensor) -> Tensor:
        """Return where rows are, and give those that are new the next slots.

        Waits for the device, as it must know how many rows are new.

        Args:
            rows: (count,) int64, ascending, each once.

        Returns:
            (count,) int64.
        """
        slots = torch.full_like(rows, -1)
        for known, kept in self._runs:
            places = torch.searchsorted(known, rows).clamp_(max=len(known) - 1)
            slots = torch.where(known[places] == rows, kept[places], slots)
        new = (slots < 0).nonzero().squeeze(1)
        if len(new):
            first = len(self)
            slots[new] = torch.arange(first, first + len(new), device=self.device)
            self._add(rows[new], slots[new])
        return slots

    def sorted(self) -> tuple[Tensor, Tensor]:
        """Return all rows, ascending, and their slots; both (len(self),) int64."""
        empty = torch.empty(0, dtype=torch.int64, device=self.device)
        return _merged([*self._runs, (empty, empty)])

    def to(self, device: torch.device) -> None:
        """Move to another device."""
        self._runs = [(rows.to(device), slots.to(device)) for rows, slots in self._runs]
        self.device = device

    def _add(self, rows: Tensor, slots: Tensor) -> None:
        merging = [(rows, slots)]
        length = len(rows)
        while self._runs and len(self._runs[-1][0]) < 2 * length:
            merging.append(self._runs.pop())
            length += len(merging[-1][0])
        self._runs.append(_merged(merging))


def _merged(runs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(runs) == 1:
        return runs[0]
    rows, order = torch.cat([rows for rows, _ in runs]).sort()
    return rows, torch.cat([slots for _, slots in runs])[order]

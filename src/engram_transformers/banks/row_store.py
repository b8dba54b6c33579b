"""What an optimiser remembers of a table's rows: only of those that it ever changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engram_transformers.banks.row_index import RowIndex

_GROWTH = 1.5
_ROWS, _SHAPE = "rows", "table_shape"


@dataclass(frozen=True)
class RowEntry:
    """Describe numbers that are kept for each row.

    Attributes:
        width: How many.
        dtype: Their dtype.
        start: What they are for a row that was never asked for.
    """

    width: int
    dtype: torch.dtype
    start: float = 0.0


class RowStore:
    """Numbers for some rows of a table, in as much memory as these rows need.

    Room grows by half when it is full, so it is at most 1.5 times what is used; growing keeps the
    old and the new room for a moment.

    Args:
        table_shape: Rows and width of the table.
        entries: What is kept for each row.
        device: The table's.
    """

    def __init__(
        self,
        table_shape: Sequence[int],
        entries: Mapping[str, RowEntry],
        device: torch.device,
    ) -> None:
        self.table_shape = tuple(table_shape)
        self.entries = dict(entries)
        self._index = RowIndex(device)
        self._values = {name: _room(entry, 0, device) for name, entry in entries.items()}

    def __len__(self) -> int:
        return len(self._index)

    @property
    def nbytes(self) -> int:
        """Bytes of everything kept, room for growth included."""
        return self._index.nbytes + sum(values.nbytes for values in self._values.values())

    @property
    def rows(self) -> Tensor:
        """The rows known, (len(self),) int64, ascending."""
        return self._index.sorted()[0]

    def slots(self, rows: Tensor) -> Tensor:
        """Return where the numbers of rows are, after making room for new rows.

        Args:
            rows: (count,) int64, ascending, each once.

        Returns:
            (count,) int64, for `read` and `write`.
        """
        slots = self._index.slots(rows)
        for name, entry in self.entries.items():
            self._values[name] = _with_room(self._values[name], entry, len(self))
        return slots

    def read(self, name: str, slots: Tensor) -> Tensor:
        """Return a copy of (count, width) numbers.

        Args:
            name: One of the entries.
            slots: (count,) int64.
        """
        return self._values[name].index_select(0, slots)

    def write(self, name: str, slots: Tensor, values: Tensor) -> None:
        """Replace numbers.

        Args:
            name: One of the entries.
            slots: (count,) int64, each once.
            values: (count, width), of the entry's dtype.
        """
        self._values[name].index_copy_(0, slots, values)

    def to(self, device: torch.device) -> None:
        """Move to another device."""
        self._index.to(device)
        self._values = {name: values.to(device) for name, values in self._values.items()}

    def packed(self) -> dict[str, Tensor]:
        """Return copies of everything as tensors, in the order of rows, without room for growth.

        Returns:
            `rows` (touched,) int64 ascending, `table_shape` (2,) int64 and each entry,
            (touched, width). Two stores that know the same of the same rows give the same bytes.
        """
        rows, slots = self._index.sorted()
        shape = torch.tensor(self.table_shape, dtype=torch.int64)
        kept = {name: self.read(name, slots) for name in self.entries}
        return {_ROWS: rows, _SHAPE: shape, **kept}

    def unpack(self, packed: Mapping[str, Tensor]) -> None:
        """Take over what `packed` returned, copied, in a store that knows no row yet.

        Args:
            packed: Without `problems`.
        """
        device = self._index.device
        slots = self.slots(packed[_ROWS].to(device))
        for name in self.entries:
            self.write(name, slots, packed[name].to(device))

    def problems(self, packed: Mapping[str, Any]) -> list[str]:
        """Say what keeps a packed store from being taken over; nothing if all fits.

        Args:
            packed: As `packed` returns it, perhaps of another table or optimiser.
        """
        expected = {_ROWS, _SHAPE, *self.entries}
        if set(packed) != expected:
            return [f"it holds {_listed(packed)}, but this optimiser keeps {_listed(expected)}"]
        not_tensors = [name for name in sorted(expected) if not isinstance(packed[name], Tensor)]
        if not_tensors:
            return [f"{_listed(not_tensors)} must be tensors"]
        shape, rows = tuple(packed[_SHAPE].flatten().tolist()), packed[_ROWS]
        if shape != self.table_shape:
            return [f"it is of a table of shape {shape}, not {self.table_shape}"]
        if rows.dtype != torch.int64 or rows.ndim != 1 or not _ascending(rows, shape[0]):
            return [f"`rows` must be int64, ascending, each once, in 0 to {shape[0] - 1}"]
        found: list[str] = []
        for name, entry in self.entries.items():
            saved, fitting = packed[name], (len(rows), entry.width)
            if saved.shape != fitting or saved.dtype != entry.dtype:
                seen = f"{tuple(saved.shape)} {saved.dtype}"
                found.append(f"`{name}` is {seen}, but must be {fitting} {entry.dtype}")
        return found


def _ascending(rows: Tensor, count: int) -> bool:
    if not len(rows):
        return True
    return bool((rows[1:] > rows[:-1]).all() and rows[0] >= 0 and rows[-1] < count)


def _room(entry: RowEntry, count: int, device: torch.device) -> Tensor:
    return torch.full((count, entry.width), entry.start, dtype=entry.dtype, device=device)


def _with_room(values: Tensor, entry: RowEntry, count: int) -> Tensor:
    if count <= len(values):
        return values
    grown = _room(entry, max(count, int(len(values) * _GROWTH)), values.device)
    grown[: len(values)] = values
    return grown


def _listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in sorted(map(str, names))) or "nothing"

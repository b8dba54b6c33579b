"""Finding the replaced rows of several tables: one sorted index, and one search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engram_transformers.index import Rows


@dataclass(frozen=True)
class BucketIndex:
    """The replacements of several owners at one layer.

    A bucket's number and its owner's are one key: nothing is hashed, so no owner is mistaken for
    another.

    Attributes:
        keys: (entries,) int64, sorted: the owner's number times `rows`, plus the row's.
        values: (entries, width) float32.
        rows: How many rows the memory has.
    """

    keys: Tensor
    values: Tensor
    rows: int

    @classmethod
    def build(cls, tables: Sequence[Rows | None], rows: int, device: torch.device) -> BucketIndex:
        """Merge tables.

        Args:
            tables: Some of which have rows; the position is the owner's number. None for one that
                has none at this layer.
            rows: How many rows the memory has.
            device: Where to search.
        """
        given = [(n, table) for n, table in enumerate(tables) if table is not None]
        keys = torch.cat([table.addresses + n * rows for n, table in given])
        values = torch.cat([table.values[table.row_index] for _, table in given])
        return cls(keys.to(device), values.to(device), rows)  # sorted, as each table is

    def find(self, numbers: Tensor, owners: Tensor) -> tuple[Tensor, Tensor]:
        """Find the replacement of each row that is read: the strongest owner's.

        Args:
            numbers: (batch, seq, heads) int64, the rows.
            owners: (batch, depth) int64, each sample's owners, strongest first; -1 for nobody.

        Returns:
            (batch, seq, heads, width) float32, and (batch, seq, heads) bool: where there is one.
        """
        if not self.keys.numel():  # erased since somebody looked whether there are rows
            found = torch.zeros_like(numbers, dtype=torch.bool)
            return self.values.new_zeros(*numbers.shape, self.values.shape[1]), found
        owners = owners[:, None, None, :]  # (batch, 1, 1, depth)
        wanted = owners * self.rows + numbers.unsqueeze(-1)  # (batch, seq, heads, depth)
        wanted = wanted.contiguous()  # searchsorted would, and warn
        places = torch.searchsorted(self.keys, wanted).clamp_max(self.keys.numel() - 1)
        hit = self.keys[places] == wanted  # nobody's keys, of owner -1, are negative: not there
        # argmax does not promise the first of equals on every device, so rank them.
        depth = hit.shape[-1]
        rank = torch.arange(depth, 0, -1, device=hit.device)
        best = torch.where(hit, rank, 0).amax(-1, keepdim=True)  # 0 where there is none
        chosen = places.gather(-1, (depth - best).clamp_max(depth - 1)).squeeze(-1)
        return self.values[chosen], best.squeeze(-1) > 0

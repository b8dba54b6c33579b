"""Finding the rows of many owners at once: one sorted index, one vectorised search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import xxhash
from torch import Tensor

from engram_transformers.coded_ids import PADDING
from engram_transformers.hashing import SuffixHasher


@dataclass(frozen=True)
class Rows:
    """The rows of one table at one layer. Immutable.

    Attributes:
        addresses: (addresses,) int64, sorted, distinct.
        row_index: (addresses,) int64 into `values`; several addresses may share a row.
        values: (rows, row_dim) float32, as they are after a round trip through their storage dtype.
        orders: The distinct orders of the addresses, ascending.
    """

    addresses: Tensor
    row_index: Tensor
    values: Tensor
    orders: tuple[int, ...]


@dataclass(frozen=True)
class RowIndex:
    """The rows of several owners, found by owner and address.

    An entry is searched by its address XOR a number of its owner, and counts as found only if its
    address and its owner are both the ones asked for: an owner is never trusted to a hash.

    Attributes:
        keys: (entries,) int64, sorted.
        addresses: (entries,) int64, in the order of `keys`.
        owners: (entries,) int64, position of the owner in the list the index was built from.
        row_index: (entries,) int64 into `values`.
        values: (rows, row_dim) float32.
        owner_keys: (owners + 1,) int64; the last one stands for nobody.
        orders: (orders,) int64, descending, so that the longest match comes first.
    """

    keys: Tensor
    addresses: Tensor
    owners: Tensor
    row_index: Tensor
    values: Tensor
    owner_keys: Tensor
    orders: Tensor

    @classmethod
    def build(cls, tables: Sequence[Rows], device: torch.device) -> RowIndex:
        """Merge tables.

        Args:
            tables: At least one; the position is the owner's number.
            device: Where to search.

        Returns:
            The index. Cost: one sort of all entries.
        """
        addresses = torch.cat([table.addresses for table in tables]).to(device)
        sizes = torch.tensor([table.addresses.numel() for table in tables])
        owners = torch.repeat_interleave(torch.arange(len(tables)), sizes).to(device)
        offsets = torch.tensor([0, *(table.values.shape[0] for table in tables)]).cumsum(0)
        row_index = torch.cat(
            [
                table.row_index + offset
                for table, offset in zip(tables, offsets.tolist(), strict=False)
            ]
        ).to(device)
        values = torch.cat([table.values for table in tables]).to(device)
        orders = sorted({order for table in tables for order in table.orders}, reverse=True)
        for attempt in range(64):
            owner_keys = torch.tensor(_owner_keys(len(tables) + 1, attempt), device=device)
            keys, permutation = torch.sort(addresses ^ owner_keys[owners])
            # Two entries with one key would hide each other: one in 2^64 per pair, then start over.
            if not bool((keys[1:] == keys[:-1]).any()):
                break
        else:
            raise RuntimeError("Entries of one table are not distinct.")  # Rows promises they are
        return cls(
            keys,
            addresses[permutation],
            owners[permutation],
            row_index[permutation],
            values,
            owner_keys,
            torch.tensor(orders, dtype=torch.int64, device=device),
        )

    def find(self, addresses: Tensor, valid: Tensor, owners: Tensor) -> Tensor:
        """Find the row of each position: the strongest owner's longest match.

        Args:
            addresses: (batch, seq, orders) int64, the suffix of each order at each position.
            valid: (batch, seq, orders) bool, False where the suffix reaches too far back.
            owners: (batch, depth) int64, each sample's owners, strongest first; -1 for nobody.

        Returns:
            (batch, seq) int64: a row of `values`, or -1 where there is none.
        """
        batch, seq, _ = addresses.shape
        if self.keys.numel() == 0:  # erased since somebody looked whether there are rows
            return torch.full((batch, seq), -1, device=addresses.device)
        wanted = owners[:, None, :, None]  # (batch, 1, depth, 1)
        addresses = addresses[:, :, None, :]  # (batch, seq, 1, orders)
        keys = (addresses ^ self.owner_keys[wanted]).contiguous()  # (batch, seq, depth, orders)
        place = torch.searchsorted(self.keys, keys).clamp_max(self.keys.numel() - 1)
        hit = (self.addresses[place] == addresses) & (self.owners[place] == wanted)
        hit = (hit & (wanted >= 0) & valid[:, :, None, :]).flatten(2)
        # argmax does not promise the first of equals on every device, so rank the candidates.
        count = hit.shape[-1]
        rank = torch.arange(count, 0, -1, device=hit.device)
        best = torch.where(hit, rank, 0).max(dim=-1).values  # (batch, seq), 0 where none
        chosen = (count - best).clamp_max(count - 1).unsqueeze(-1)
        row = self.row_index[place.flatten(2).gather(-1, chosen).squeeze(-1)]
        return torch.where(best > 0, row, -1)


def suffixes(
    window: Tensor, premixed: Tensor, hasher: SuffixHasher, orders: Tensor, last: int
) -> tuple[Tensor, Tensor]:
    """Compute the suffix addresses of the last positions of coded ids, and which of them exist.

    Args:
        window: (batch, length) int64, coded as in `history`.
        premixed: (vocab,) int64, token id -> pre-mixed canonical id, on the window's device.
        hasher: The configuration's.
        orders: (orders,) int64.
        last: How many positions at the end are wanted.

    Returns:
        (batch, last, orders) int64 addresses, and bool of the same shape: False where the suffix
        would reach into padding or across the start of a sequence.
    """
    starts = window < PADDING
    padding = window == PADDING
    ids = torch.where(starts, -2 - window, window).clamp_min(0)
    position = torch.arange(window.shape[1], device=window.device)
    # The first position of the run of tokens that each position belongs to.
    first = torch.where(padding, position + 1, torch.where(starts, position, 0)).cummax(1).values
    run = (position - first + 1)[:, window.shape[1] - last :]  # (batch, last) tokens, 0 at padding
    addresses = hasher.addresses(premixed[ids], orders, last=last)
    return addresses, run.unsqueeze(-1) >= orders


def _owner_keys(count: int, attempt: int) -> list[int]:
    digests = (
        xxhash.xxh64_intdigest(number.to_bytes(8, "little"), attempt) for number in range(count)
    )
    return [digest - (1 << 64) if digest >= 1 << 63 else digest for digest in digests]

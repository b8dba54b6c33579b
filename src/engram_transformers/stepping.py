"""Reading a few positions of each sequence with a third of the operations.

In eager mode a small model's pace is set by how many operations it starts, not by how large they
are: the general way (`index.suffixes` and `RowIndex.find`) takes as many as two blocks of the
model. This one gives the same rows. It looks at each suffix by itself, so it is for decoding steps
and prompts, not for long texts in large batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engram_transformers.coded_ids import PADDING
from engram_transformers.hashing import SuffixHasher
from engram_transformers.index import RowIndex

_LAST = (1 << 63) - 1
_NOBODY = -2
# A hit's score is its rank in the high half and its row in the low half.
_ROW_BITS = 32
# Of int64: 32 MiB.
_MOST_TERMS = 1 << 22


@dataclass(frozen=True)
class StepReader:
    """The rows of several owners, found at the last positions of each sequence.

    Addresses are searched as they are before the hash's last mixing, which can be undone: it is
    done once per entry instead of at every position.

    Attributes:
        premixed: (2 vocab + 1,) int64: indexed by coded ids, negative ones too.
        weights: (orders, reach) int64: what each of the last tokens counts for.
        terms: (orders,) int64: what the order itself adds.
        limits: (orders,) int64: the last place at which a barrier may stand.
        places: (reach,) int64, 0, 1, ….
        keys: (entries + 1,) int64, sorted; the last one belongs to nobody. With a single owner they
            are the sums.
        sums: (entries + 1,) int64, addresses before mixing.
        owners: (entries + 1,) int64.
        row_index: (entries + 1,) int64.
        values: (rows, row_dim) float32.
        owner_keys: (owners + 1,) int64; the last one stands for nobody.
        reach: The highest order.
    """

    premixed: Tensor
    weights: Tensor
    terms: Tensor
    limits: Tensor
    places: Tensor
    keys: Tensor
    sums: Tensor
    owners: Tensor
    row_index: Tensor
    values: Tensor
    owner_keys: Tensor
    reach: int

    @classmethod
    def build(cls, index: RowIndex, hasher: SuffixHasher, premixed: Tensor) -> StepReader | None:
        """Prepare an index for steps.

        Args:
            index: With at least one entry.
            hasher: The configuration's.
            premixed: (vocab,) int64, on the index's device.

        Returns:
            The reader; None where two entries would hide each other (one in 2^64 per pair).
        """
        sums = hasher.unmix(index.addresses)
        has_one_owner = index.owner_keys.numel() == 2  # the other one is nobody
        marked = sums if has_one_owner else sums ^ index.owner_keys[index.owners]
        keys, order = torch.sort(marked)
        if bool((keys[1:] == keys[:-1]).any()) or int(keys[-1]) == _LAST:
            return None
        weights, terms = hasher.weights(index.orders)
        reach = weights.shape[1]

        def closed(values: Tensor, last: int) -> Tensor:
            return torch.cat([values, values.new_full((1,), last)])

        return cls(
            torch.cat([premixed, premixed.flip(0), premixed.new_zeros(1)]),
            weights,
            terms,
            reach - index.orders,
            torch.arange(reach, device=keys.device),
            closed(keys, _LAST),
            closed(sums[order], 0),
            closed(index.owners[order], _NOBODY),
            closed(index.row_index[order], 0),
            index.values,
            torch.zeros_like(index.owner_keys) if has_one_owner else index.owner_keys,
            reach,
        )

    def ranks(self, depth: int) -> Tensor:
        """Return each candidate's rank, (depth, orders) int64: earlier owners, then longer orders.

        Args:
            depth: How many owners a sample has at most.
        """
        count = depth * self.terms.numel()
        ranks = torch.arange(count, 0, -1, device=self.terms.device)
        return (ranks << _ROW_BITS).view(depth, -1)

    def suits(self, batch: int, last: int) -> bool:
        """Say whether a call is small enough to be read this way."""
        return batch * last * self.weights.numel() <= _MOST_TERMS

    def read(
        self, window: Tensor, last: int, owners: Tensor | None, ranks: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Find the row at the last positions of each sequence.

        Args:
            window: (batch, length) int64, coded ids.
            last: How many positions are wanted.
            owners: (batch, depth) int64, strongest first, -1 for nobody; None if the index has one
                owner and every sample reads it.
            ranks: What `ranks` returned for the depth.

        Returns:
            (batch, last, row_dim) float32 values, and (batch, last) bool: where one was found.
        """
        sums, valid = self._suffixes(window, last)  # (batch, last, orders)
        if owners is None:
            place = torch.searchsorted(self.keys, sums)
            hit = (self.sums[place] == sums) & valid
            score = ((self.row_index[place] + ranks) * hit).amax(-1)  # (batch, last)
        else:
            wanted = owners[:, None, :, None]  # (batch, 1, depth, 1)
            sums = sums.unsqueeze(2)
            place = torch.searchsorted(self.keys, sums ^ self.owner_keys[wanted])
            hit = (self.sums[place] == sums) & (self.owners[place] == wanted)
            hit &= valid.unsqueeze(2)
            score = ((self.row_index[place] + ranks) * hit).flatten(2).amax(-1)
        return self.values[score & ((1 << _ROW_BITS) - 1)], score > 0

    def _suffixes(self, window: Tensor, last: int) -> tuple[Tensor, Tensor]:
        """Return the unmixed address of each suffix, and whether it exists.

        Args:
            window: (batch, length) int64, coded ids.
            last: How many positions are wanted.

        Returns:
            (batch, last, orders) int64, and bool.
        """
        window = window[:, -(self.reach - 1 + last) :]
        missing = self.reach - 1 + last - window.shape[1]
        if missing and last > 1:
            window = torch.nn.functional.pad(window, (missing, 0), value=PADDING)
            missing = 0
        premixed = self.premixed[window]
        # A barrier stands before a start and behind padding; no suffix reaches across.
        length = window.shape[1]
        if length <= self.reach:
            places = self.places[:length]
        else:
            places = torch.arange(length, device=window.device)
        barriers = (window < 0) * places + (window == PADDING)  # 0 for none
        if last == 1:
            first = barriers.amax(1, keepdim=True).unsqueeze(-1)  # (batch, 1, 1)
            terms = premixed.unsqueeze(1) * self.weights[:, missing:]
            limits = self.limits - missing if missing else self.limits
            return terms.sum(-1).unsqueeze(1) + self.terms, first <= limits
        first = barriers.cummax(1).values[:, -last:] - places[:last]
        terms = premixed.unfold(1, self.reach, 1).unsqueeze(2) * self.weights
        return terms.sum(-1) + self.terms, first.unsqueeze(-1) <= self.limits

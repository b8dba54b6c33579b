"""Sequences that facts are written in, arranged for a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor


class Arranged(NamedTuple):
    """Sequences behind a context, all of one length, with their padding in front.

    Attributes:
        ids: (batch, context + length) int64, 0 at padding.
        mask: (batch, context + length), 0 at padding, 1 elsewhere, in the type of the given one.
        positions: (batch, context + length) int64, counted without padding.
        padding: (batch, 1) int64: how much of it each sequence has.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor
    padding: Tensor


def arrange(context: Sequence[int], input_ids: Tensor, mask: Tensor) -> Arranged:
    """Put a context before sequences, behind their padding.

    Padding between the two would count for models whose attention looks back a fixed number of
    places, or that number their positions by place.

    Args:
        context: Token ids; none is fine.
        input_ids: (batch, length) int64, left-padded.
        mask: (batch, length), 0 at padding.
    """
    before, device = len(context), input_ids.device
    place = torch.arange(before + input_ids.shape[1], device=device)
    place = place.expand(input_ids.shape[0], -1)
    padding = (mask == 0).sum(1, keepdim=True)
    own = input_ids.gather(1, (place - before).clamp_min(0))
    shared = torch.tensor([*context, 0], device=device)
    shared = shared[(place - padding).clamp(0, before)]
    real = place >= padding
    ids = torch.where(real, torch.where(place < padding + before, shared, own), 0)
    return Arranged(ids, real.to(mask.dtype), (place - padding).clamp_min(0), padding)


@dataclass(frozen=True)
class Batch:
    """Sequences, run up to the memory.

    Attributes:
        input_ids: (batch, tail) int64: the last positions, from which on the model is run.
        attention_mask: (batch, before + tail), 0 at padding.
        position_ids: (batch, tail) int64.
        hidden_states: (batch, tail, ..., dim) at the memory, without rows; dim 0 where the whole
            model is run.
        rows: (batch, tail) int64: which row is found, -1 for none.
        targets: (batch, tail) int64: what is to be said next, -1 where nothing is asked.
        facts: (batch,) int64.
        keys: For each block from the memory on, (batch, heads, before, head_dim); empty where
            nothing stands before the tail.
        values: The same.
        asked: The positions with targets: their sequences and places, two (asked,) int64.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    hidden_states: Tensor
    rows: Tensor
    targets: Tensor
    facts: Tensor
    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()
    asked: tuple[Tensor, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        asked = (self.targets >= 0).nonzero(as_tuple=True)
        object.__setattr__(self, "asked", asked)

    @property
    def before(self) -> int:
        """How many positions stand before the tail."""
        return self.attention_mask.shape[1] - self.input_ids.shape[1]

    def select(self, chosen: Tensor) -> Batch:
        """Return some of the sequences."""
        return Batch(
            self.input_ids[chosen],
            self.attention_mask[chosen],
            self.position_ids[chosen],
            self.hidden_states[chosen],
            self.rows[chosen],
            self.targets[chosen],
            self.facts[chosen],
            tuple(keys[chosen] for keys in self.keys),
            tuple(values[chosen] for values in self.values),
        )

    @staticmethod
    def join(batches: Sequence[Batch]) -> Batch:
        """Stack batches of different lengths into one, padding on the left of both parts."""
        if len(batches) == 1:
            return batches[0]
        tail = max(batch.input_ids.shape[1] for batch in batches)
        before = max(batch.before for batch in batches)

        def stacked(name: str, padding: int) -> Tensor:
            parts: list[Tensor] = [getattr(batch, name) for batch in batches]
            return torch.cat([_pad(part, tail, padding, dim=1) for part in parts])

        masks: list[Tensor] = []
        for batch in batches:
            head = batch.attention_mask[:, : batch.before]
            rest = batch.attention_mask[:, batch.before :]
            masks.append(torch.cat([_pad(head, before, 0, dim=1), _pad(rest, tail, 0, dim=1)], 1))
        blocks = range(len(batches[0].keys))
        return Batch(
            stacked("input_ids", 0),
            torch.cat(masks),
            stacked("position_ids", 0),
            stacked("hidden_states", 0),
            stacked("rows", -1),
            stacked("targets", -1),
            torch.cat([batch.facts for batch in batches]),
            tuple(torch.cat([_pad(b.keys[k], before, 0, dim=2) for b in batches]) for k in blocks),
            tuple(
                torch.cat([_pad(b.values[k], before, 0, dim=2) for b in batches]) for k in blocks
            ),
        )


def _pad(tensor: Tensor, length: int, value: int, *, dim: int) -> Tensor:
    missing = length - tensor.shape[dim]
    if missing == 0:
        return tensor
    widths = [0, 0] * (tensor.ndim - 1 - dim) + [missing, 0]
    return torch.nn.functional.pad(tensor, widths, value=value)

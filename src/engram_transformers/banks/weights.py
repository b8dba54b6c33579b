"""The trained weights of a patched model, as the tensors that files hold."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engram_transformers.banks.attached import TABLE, AttachedBank
from engram_transformers.placement import offloaded_weight
from engram_transformers.sharding import is_sharded

if TYPE_CHECKING:
    from engram_transformers.banks.sharded import ShardedTable
    from engram_transformers.patch_state import PatchState


@dataclass(frozen=True)
class Piece:
    """One tensor of the files, and where its numbers are in the model.

    A table is cut into its heads, so that files need not be as large as a table.

    Attributes:
        name: In the files.
        module: The bank or learned gate.
        weight: The name within it.
        shape: Of the tensor in the files.
        first: Of a head: where its rows begin in the table. None for whole weights.
        number: Of a head: which one it is.
    """

    name: str
    module: nn.Module
    weight: str
    shape: tuple[int, ...]
    first: int | None = None
    number: int = 0

    @property
    def source(self) -> Tensor:
        """The model's tensor that holds the numbers: of a head the whole table, if it has one."""
        apart = self.apart
        if apart is not None:
            return apart
        found: Any = functools.reduce(getattr, self.weight.split("."), self.module)
        return found

    @property
    def apart(self) -> Tensor | None:
        """A head's own tensor, if the table is not where the model computes."""
        if self.first is None or not isinstance(self.module, AttachedBank):
            return None
        offloaded = self.module.offloaded
        return None if offloaded is None else offloaded.heads[self.number]

    @property
    def shared(self) -> ShardedTable | None:
        """The table that a head is part of, if its rows are shared out over processes."""
        if self.first is None or not isinstance(self.module, AttachedBank):
            return None
        return self.module.shared_table

    @property
    def dtype(self) -> torch.dtype:
        """What the numbers are when the model computes with them."""
        if self.apart is not None and isinstance(self.module, AttachedBank):
            return self.module.rows_dtype
        return self.source.dtype

    @property
    def is_number(self) -> bool:
        """Whether it is one of the integers that addresses are computed from."""
        return not self.source.is_floating_point()


def pieces_of(attachment: PatchState) -> list[Piece]:
    """Return what is saved of a patched model: all banks, and gates that are learned.

    Args:
        attachment: The model's patch.

    Returns:
        Sorted by layer; empty if there is nothing to train.
    """
    found: list[Piece] = []
    for layer in sorted(attachment.memories):
        if layer in attachment.banks:
            found += _of_bank(f"layers.{layer}.engram_bank", attachment.banks[layer])
        memory = attachment.memories[layer]
        for name, weight in memory.named_parameters():
            found.append(Piece(f"layers.{layer}.engram.{name}", memory, name, tuple(weight.shape)))
    return found


def _of_bank(prefix: str, bank: AttachedBank) -> Iterator[Piece]:
    width = bank.config.head_dim
    offsets: list[int] = bank.bank_hash.offsets.tolist()
    rows: list[int] = bank.bank_hash.primes.flatten().tolist()
    for number, (first, count) in enumerate(zip(offsets, rows, strict=True)):
        order, head = divmod(number, bank.config.heads)
        name = f"{prefix}.table.order{order + 2}.head{head}"
        yield Piece(name, bank, TABLE, (count, width), first, number)
    for name, weight in bank.state_dict(keep_vars=True).items():
        if name != TABLE:
            yield Piece(f"{prefix}.{name}", bank, name, tuple(weight.shape))


class WholeWeights:
    """Reads pieces whole, on the CPU, wherever the model's weights lie.

    A weight that is sharded over processes takes collectives: all of them must read the same
    pieces in the same order. The last weight stays in memory until another one is read, as a table
    has many pieces; of a table whose rows are shared out (`ShardedTable`), no more than a head.
    """

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor] | None = None

    def read(self, piece: Piece) -> Tensor:
        """Return a piece's numbers in their own dtype, contiguous."""
        shared = piece.shared
        if shared is not None:
            return _joined(shared, piece)
        whole = self._whole(piece)
        if piece.first is not None and piece.apart is None:
            whole = whole[piece.first : piece.first + piece.shape[0]]
        return whole.to("cpu", piece.dtype).contiguous()

    def _whole(self, piece: Piece) -> Tensor:
        source = piece.source
        if self._last is not None and self._last[0] is source:
            return self._last[1]
        weight: Any = source.detach()
        if is_sharded(weight):
            weight = weight.full_tensor()
        elif weight.device.type == "meta":  # accelerate keeps it elsewhere
            found = offloaded_weight(piece.module, piece.weight)
            weight = weight if found is None else found.detach()
        self._last = (source, weight)
        return weight


def _joined(table: ShardedTable, piece: Piece) -> Tensor:
    """Return a head's rows, gathered from the processes that have some of them."""
    joined, done = torch.empty(piece.shape, dtype=piece.dtype), piece.first or 0
    begin = done
    for part in table.parts(begin, begin + piece.shape[0]):
        joined[done - begin : done - begin + len(part)].copy_(part)
        done += len(part)
    return joined

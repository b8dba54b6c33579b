"""Reading rows of a table that is shared out over processes: ids go out, rows come back.

Each process holds one range of rows. A process asks each other one for the different rows that its
batch reads there, and gets these; in the backward pass, their gradients take the same way back. So
neither a table nor a gradient of its size is ever sent or made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn.functional import embedding


@dataclass(frozen=True)
class RowRange:
    """Which rows of a table a process holds: as `DTensor`'s `Shard(0)` cuts it.

    Attributes:
        rows: Of the whole table.
        processes: How many share it.
        process: Which of them this is, from 0.
    """

    rows: int
    processes: int
    process: int

    @property
    def first(self) -> int:
        """The first row held here."""
        return self.first_of(self.process)

    @property
    def last(self) -> int:
        """The row behind the last one held here."""
        return self.first_of(self.process + 1)

    def first_of(self, process: int) -> int:
        """Return the first row of a process; of the one behind the last, the number of rows."""
        return min(process * -(-self.rows // self.processes), self.rows)


@dataclass(frozen=True)
class _Order:
    """What this process asks others for, and they it.

    Attributes:
        asked: Process -> how many rows it is asked for.
        owed: Process -> how many rows it asks for.
        wanted: (sum of owed,) int64: these rows, counted from this process's first.
        group: The processes; None for all.
    """

    asked: list[int]
    owed: list[int]
    wanted: Tensor
    group: distributed.ProcessGroup | None


def read_rows(
    local: Tensor,
    addresses: Tensor,
    share: RowRange,
    group: distributed.ProcessGroup | None = None,
) -> Tensor:
    """Look rows up, wherever they are. All processes must call this, also with no addresses.

    Cost: three exchanges (of counts, ids and rows), one more in the backward pass, and two waits
    for the device, as counts (also those of `torch.unique`) must be known here.

    Args:
        local: (share.last - share.first, width), the rows held here. Its gradient is sparse.
        addresses: (...) int64, rows of the whole table.
        share: Which rows are held here.
        group: Processes; None for all.

    Returns:
        (..., width), of `local`'s dtype.
    """
    distinct, places = torch.unique(addresses, return_inverse=True)
    order = _ordered(distinct, share, group)
    return embedding(places, _Rows.apply(local, order))  # pyright: ignore[reportArgumentType]


def _ordered(distinct: Tensor, share: RowRange, group: distributed.ProcessGroup | None) -> _Order:
    """Tell all processes which rows, (count,) ascending, are wanted of them."""
    firsts = [share.first_of(process) for process in range(share.processes + 1)]
    cuts = torch.searchsorted(distinct, torch.tensor(firsts, device=distinct.device))
    asked = cuts.diff()
    owed = torch.empty_like(asked)
    distributed.all_to_all_single(owed, asked, group=group)
    asking, owing = torch.stack([asked, owed]).tolist()  # one wait for both
    wanted = distinct.new_empty(sum(owing))
    distributed.all_to_all_single(wanted, distinct, owing, asking, group=group)
    return _Order(asking, owing, wanted - share.first, group)


class _Rows(torch.autograd.Function):
    """Hand rows out to those who asked for them; backward, take their gradients in."""

    @staticmethod
    def forward(ctx: Any, local: Tensor, order: _Order) -> Tensor:
        ctx.order, ctx.shape = order, local.shape
        rows = local.index_select(0, order.wanted)
        return _sent(rows, order.asked, order.owed, order.group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        order: _Order = ctx.order
        values = _sent(gradients[0].contiguous(), order.owed, order.asked, order.group)
        indices = order.wanted.unsqueeze(0)
        return (
            torch.sparse_coo_tensor(indices, values, ctx.shape, check_invariants=False),
            None,
        )


def _sent(
    rows: Tensor, coming: list[int], going: list[int], group: distributed.ProcessGroup | None
) -> Tensor:
    """Exchange rows: `going` many to each process, `coming` many from each."""
    got = rows.new_empty(sum(coming), rows.shape[1])
    distributed.all_to_all_single(got, rows, coming, going, group=group)
    return got

"""A bank's table whose rows are shared out over processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from engram_transformers.banks.row_exchange import RowRange, read_rows

_PART = 1 << 24  # numbers


class ShardedTable(nn.Module):
    """Hold one range of a table's rows, and read those of the others.

    Optimisers and autograd know `local`, a plain tensor with sparse gradients; saving, loading and
    fingerprints see `weight`, the whole table as a `DTensor`, and so does `state_dict`.

    Args:
        local: (share.last - share.first, width), on the mesh's device.
        share: Which rows of the table these are.
        mesh: Of one dimension: the processes that share the table.

    Attributes:
        sparse: As of `nn.Embedding`: gradients are never dense.
    """

    sparse = True

    def __init__(self, local: Tensor, share: RowRange, mesh: DeviceMesh) -> None:
        super().__init__()
        self.local = nn.Parameter(local)
        self.share = share
        self._mesh = mesh
        self._weight: DTensor | None = None

    @property
    def weight(self) -> DTensor:
        """The whole table, (rows, width): without gradients, sharing the memory of `local`."""
        local = self.local.detach()
        known = self._weight
        # Where no rows are, all memory has the same address.
        if known is None or _place_of(known.to_local()) != _place_of(local):
            shape = (self.share.rows, local.shape[1])
            # The same object until it moves: what reads a table by heads gathers it once.
            self._weight = known = DTensor.from_local(
                local,
                self._mesh,
                [Shard(0)],
                run_check=False,
                shape=torch.Size(shape),
                stride=(local.shape[1], 1),
            )
        return known

    def forward(self, addresses: Tensor) -> Tensor:
        """Look rows up. All processes must call this.

        Args:
            addresses: (...) int64, rows of the whole table.

        Returns:
            (..., width).
        """
        return read_rows(self.local, addresses, self.share, self._mesh.get_group())

    def parts(self, first: int = 0, last: int | None = None) -> Iterator[Tensor]:
        """Yield rows of all processes in their order, 64 MiB of float32 at most at a time.

        So no process needs memory for the table. All of them must take all parts.

        Args:
            first: The first row.
            last: The row behind the last one; None for all.

        Yields:
            (count, width), without gradients, on the mesh's device; not to be changed.
        """
        share, local = self.share, self.local.detach()
        last = share.rows if last is None else last
        count = max(1, _PART // local.shape[1])
        for process in range(share.processes):
            begin, end = max(first, share.first_of(process)), share.first_of(process + 1)
            for low in range(begin, min(end, last), count):
                high = min(low + count, end, last)
                if process == share.process:
                    part = local[low - share.first : high - share.first]
                else:
                    part = local.new_empty(high - low, local.shape[1])
                distributed.broadcast(part, src=process)
                yield part

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        destination[f"{prefix}weight"] = self.weight

    def _load_from_state_dict(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: object,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        key = f"{prefix}weight"
        found = state_dict.get(key)
        if found is None:
            missing_keys.append(key)
            return
        if tuple(found.shape) != tuple(self.weight.shape):
            error_msgs.append(f"{key} has shape {tuple(found.shape)}, not {self.weight.shape}")
            return
        is_shared = isinstance(found, DTensor)
        own = found.to_local() if is_shared else found[self.share.first : self.share.last]
        with torch.no_grad():
            self.local.copy_(own)


def _place_of(rows: Tensor) -> tuple[int, torch.dtype, torch.device]:
    return rows.data_ptr(), rows.dtype, rows.device


def sharing_mesh(device: torch.device) -> DeviceMesh:
    """Return all processes in one row. All of them must call this."""
    return init_device_mesh(device.type, (distributed.get_world_size(),), mesh_dim_names=("rows",))


@torch.no_grad()
def shard_table(table: Tensor, mesh: DeviceMesh, device: torch.device) -> ShardedTable:
    """Share a table out over processes, as the first of them has it. All of them must call this.

    Rows go out range by range, so a device has memory for two ranges at most, never for the table.

    Args:
        table: (rows, width), on any device.
        mesh: Of `sharing_mesh`.
        device: This process's.

    Returns:
        A table of its own memory.
    """
    processes, process = mesh.size(), mesh.get_local_rank()
    share = RowRange(len(table), processes, process)
    own = torch.empty(share.last - share.first, table.shape[1], dtype=table.dtype, device=device)
    for number in range(processes):
        begin, end = share.first_of(number), share.first_of(number + 1)
        part = own if number == process else own.new_empty(end - begin, table.shape[1])
        if process == 0:
            part.copy_(table[begin:end])
        distributed.broadcast(part, src=0)
    made = ShardedTable(own, share, mesh)
    made.local.requires_grad_(table.requires_grad)
    return made

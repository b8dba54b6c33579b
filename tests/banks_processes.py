"""Rows trained by two processes on the CPU, through gloo; each writes what it ended with."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from banks_rows import WIDTH, table_of
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from engram_transformers.banks.optimiser import RowAdam
from engram_transformers.banks.row_gradients import (
    average_rows_,
    clip_gradient_norm_,
    sum_repeated_rows_,
)

PROCESSES = 2
MAX_NORM = 0.7

STEPS = [
    [[[0, 4, 4], [4, 8]], [[1, 4], [2]]],
    [[[5], [5, 5]], [[], []]],
    [[[], []], [[], []]],
    [[[0, 1, 2, 3], [4]], [[7], [7, 8]]],
]
"""Step -> process -> micro-batch -> rows read; one process or both may read none."""


class Reader(nn.Module):
    """A table with a dense projection behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = table_of()
        generator = torch.Generator().manual_seed(1)
        self.projection = nn.Parameter(torch.randn(WIDTH, WIDTH, generator=generator))

    def forward(self, rows: Tensor) -> Tensor:
        """Return a loss: a sum over what is read, so that processes' batches add up."""
        return (self.table(rows) @ self.projection).square().sum() + self.projection.sum()


def trained(
    model: Reader, wrapped: nn.Module, batches_of: Callable[[int], list[list[int]]], *, share: bool
) -> dict[str, Tensor]:
    """Take the steps and return what came out.

    Args:
        model: What is trained.
        wrapped: The same, perhaps in DDP or FSDP2.
        batches_of: Step -> micro-batches.
        share: Average the rows' gradients over processes.
    """
    table = model.table.weight
    rows = RowAdam([table], lr=0.1)
    dense = torch.optim.SGD([model.projection], lr=0.1)
    norms: list[Tensor] = []
    for step in range(len(STEPS)):
        for batch in batches_of(step):
            wrapped(torch.tensor(batch, dtype=torch.int64)).backward()
            sum_repeated_rows_([table])
        if share:
            average_rows_([table])
        norms.append(clip_gradient_norm_([table, model.projection], MAX_NORM))
        rows.step()
        dense.step()
        table.grad = model.projection.grad = None
    projection = model.projection.detach()
    whole = projection.full_tensor() if hasattr(projection, "full_tensor") else projection
    state = {f"state.{name}": kept for name, kept in rows.state_dict()["state"][0].items()}
    return {"table": table.detach(), "projection": whole, "norms": torch.stack(norms), **state}


def alone() -> dict[str, Tensor]:
    """Train in one process on all processes' batches, whose gradients are averaged."""
    model = Reader()

    class Averaged(nn.Module):
        def forward(self, rows: Tensor) -> Tensor:
            return model(rows) / PROCESSES

    def batches_of(step: int) -> list[list[int]]:
        return [batch for batches in STEPS[step] for batch in batches]

    return trained(model, Averaged(), batches_of, share=False)


def in_ddp(rank: int) -> dict[str, Tensor]:
    """DDP does the dense gradients, we the rows."""
    model = Reader()
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, ["table.weight"])
    return trained(
        model, DistributedDataParallel(model), lambda step: STEPS[step][rank], share=True
    )


def in_ddp_of_torch(rank: int) -> dict[str, Tensor]:
    """DDP does all gradients: over gloo, it can add sparse ones."""
    model = Reader()
    return trained(
        model, DistributedDataParallel(model), lambda step: STEPS[step][rank], share=False
    )


def in_fsdp(rank: int) -> dict[str, Tensor]:
    """FSDP2 shards the dense weights; each process has the whole table."""
    model = Reader()
    fully_shard(model, ignored_params={model.table.weight})
    return trained(model, model, lambda step: STEPS[step][rank], share=True)


CASES = {"ddp": in_ddp, "ddp of torch": in_ddp_of_torch, "fsdp": in_fsdp}


def work(rank: int, folder: str) -> None:
    """Do all cases as one of the processes."""
    torch.set_num_threads(1)
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES
    )
    outcomes = {name: case(rank) for name, case in CASES.items()}
    torch.save(outcomes, Path(folder) / f"outcomes-{rank}.pt")
    distributed.destroy_process_group()

"""What tests of rows' optimisers share: plans of training, and torch's own optimisers as reference.

The reference holds each row as a parameter of its own, in torch.optim: what a batch did not read
has no gradient, and is not stepped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from engram_transformers.banks.optimiser import RowAdagrad, RowAdam
from engram_transformers.banks.row_gradients import clip_gradient_norm_, sum_repeated_rows_

ROWS, WIDTH = 9, 3

ADAM: dict[str, Any] = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-7}
ADAGRAD: dict[str, Any] = {"lr": 0.1, "initial_accumulator_value": 0.05, "eps": 1e-9}
FULL = {
    "adam": lambda tables: RowAdam(tables, **ADAM),
    "adagrad": lambda tables: RowAdagrad(tables, **ADAGRAD, row_wise=False),
}
"""Those that do as torch does."""

ROW_WISE = {
    "adam": lambda tables: RowAdam(tables, **ADAM, row_wise=True),
    "adagrad": lambda tables: RowAdagrad(tables, **ADAGRAD),
}
ALL = {
    **{f"{name}, full": made for name, made in FULL.items()},
    **{f"{name}, row-wise": made for name, made in ROW_WISE.items()},
}
OF_TORCH = {
    "adam": lambda rows: torch.optim.Adam(rows, **ADAM),
    "adagrad": lambda rows: torch.optim.Adagrad(rows, **ADAGRAD),
}


@dataclass(frozen=True)
class Plan:
    """What batches read, and how they are trained on.

    Attributes:
        steps: Step -> micro-batch -> rows read, repetitions among them.
        max_norm: For clipping; None for none.
        resume: Before which step all is saved and loaded; None for never.
        summing: Sum what was read several times after each micro-batch.
        seed: Of the numbers that gradients are.
    """

    steps: list[list[list[int]]]
    max_norm: float | None = None
    resume: int | None = None
    summing: bool = False
    seed: int = 0


plans = st.builds(
    Plan,
    steps=st.lists(
        st.lists(st.lists(st.integers(0, ROWS - 1), max_size=6), min_size=1, max_size=3),
        min_size=1,
        max_size=8,
    ),
    max_norm=st.sampled_from((None, 0.5, 3.0)),
    resume=st.one_of(st.none(), st.integers(0, 7)),
    summing=st.booleans(),
    seed=st.integers(0, 1000),
)


@dataclass
class Training:
    """A table and a dense weight beside it, trained step by step.

    Attributes:
        make: What makes the optimiser of tables.
        table: The table.
        weight: (WIDTH,), which makes clipping a matter of both.
    """

    make: Any
    table: nn.Embedding
    weight: nn.Parameter
    optimiser: Any = field(init=False)
    norms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.optimiser = self.make([self.table.weight])

    def run(self, plan: Plan) -> Tensor:
        """Follow a plan and return the table's rows."""
        generator = torch.Generator().manual_seed(plan.seed)
        for number, batches in enumerate(plan.steps):
            if number == plan.resume:
                self.resume()
            for rows in batches:
                loss_of(self.table, self.weight, rows, generator).backward()
                if plan.summing:
                    sum_repeated_rows_([self.table.weight])
            if plan.max_norm is not None:
                norm = clip_gradient_norm_([self.table.weight, self.weight], plan.max_norm)
                self.norms.append(float(norm))
            self.optimiser.step()
            self.table.weight.grad = self.weight.grad = None
        return self.table.weight.detach()

    def resume(self) -> None:
        """Go on with a new optimiser that loaded this one's state."""
        saved = self.optimiser.state_dict()
        self.optimiser = self.make([self.table.weight])
        self.optimiser.load_state_dict(saved)


@dataclass
class Reference:
    """The same with dense gradients and torch.optim, each row a parameter.

    Attributes:
        make: What makes torch's optimiser.
        table: (rows, width), what to begin with.
        weight: As in `Training`.
    """

    make: Any
    table: Tensor
    weight: nn.Parameter
    norms: list[float] = field(default_factory=list)

    def run(self, plan: Plan) -> Tensor:
        """Follow a plan and return the table's rows."""
        dtype = torch.promote_types(self.table.dtype, torch.float32)
        rows = [nn.Parameter(row.to(dtype)) for row in self.table]
        optimiser = self.make(rows)
        generator = torch.Generator().manual_seed(plan.seed)
        for batches in plan.steps:
            dense = nn.Embedding.from_pretrained(torch.stack(list(rows)).detach(), freeze=False)
            for read in batches:
                loss_of(dense, self.weight, read, generator, self.table.dtype).backward()
            touched = {row for read in batches for row in read}
            for number, row in enumerate(rows):
                row.grad = dense.weight.grad[number].clone() if number in touched else None
            if plan.max_norm is not None:
                norm = nn.utils.clip_grad_norm_([*rows, self.weight], plan.max_norm)
                self.norms.append(float(norm))
            optimiser.step()
            self.weight.grad = None
            for row in rows:  # as a table of fewer bits keeps them
                row.data = row.data.to(self.table.dtype).to(dtype)
        self.optimiser = optimiser
        self.rows = rows
        return torch.stack(rows).detach().to(self.table.dtype)


def loss_of(
    table: nn.Embedding,
    weight: Tensor,
    rows: list[int],
    generator: torch.Generator,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return a loss whose gradient of each row read is random, and nothing like zero.

    Args:
        table: Of rows.
        weight: (width,).
        rows: Which rows are read.
        generator: Of the gradients.
        dtype: Of the table that gradients are meant for; None for the table's.
    """
    read = table(torch.tensor(rows, dtype=torch.int64))  # (count, width)
    factors = torch.randn(read.shape, generator=generator, dtype=torch.float64)
    factors = factors.to(dtype or table.weight.dtype).to(read.dtype)
    return (read * factors).sum() + (weight * factors.to(weight.dtype).sum(0)).sum()


def table_of(dtype: torch.dtype = torch.float32, *, rows: int = ROWS) -> nn.Embedding:
    """Return a table of random rows with sparse gradients."""
    values = torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(5))
    return nn.Embedding.from_pretrained(values.to(dtype), freeze=False, sparse=True)


def weight_of(dtype: torch.dtype = torch.float32) -> nn.Parameter:
    """Return the dense weight beside a table."""
    return nn.Parameter(torch.ones(WIDTH, dtype=dtype))


def training(make: Any, dtype: torch.dtype = torch.float32) -> Training:
    """Return a table to train with an optimiser of ours."""
    return Training(make, table_of(dtype), weight_of())


def touch(table: nn.Embedding, rows: list[int], factor: float = 1.0) -> None:
    """Give rows a gradient of a factor for each time that they are read."""
    # Not (….sum() * factor): torch 2.13 can't add expanded bfloat16 values of sparse gradients.
    (table(torch.tensor(rows, dtype=torch.int64)) * factor).sum().backward()

"""Optimisers of a bank's rows: they change, and remember, only rows that were read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from engram_transformers.banks.errors import BankConfigError
from engram_transformers.banks.row_optimiser import Group, RowOptimiser, state_dtype
from engram_transformers.banks.row_store import RowEntry, RowStore


class RowAdam(RowOptimiser):
    """Adam on the rows that were read, each with a step count of its own.

    Each row moves exactly as torch.optim.Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1)
    would move it if it were stepped only when a batch read the row. Bias correction is by the row's
    own steps, unlike torch.optim.SparseAdam and TensorFlow's LazyAdam: by all steps, a row that is
    first read late would move by 3.2 times the learning rate at once, by 6.6 times after a few
    reads (betas 0.9 and 0.999), as its averages still hold little.

    Args:
        params: Tables, as in `RowOptimiser`.
        lr: Learning rate.
        betas: Decay of the averages of gradients and of their squares, for each read of a row.
        eps: Added to the denominator.
        row_wise: Keep one average of squares for each row, of their mean over the row, as FBGEMM's
            `PARTIAL_ROWWISE_ADAM` does: state of 4·width + 24 bytes for a row instead of
            8·width + 20.

    Raises:
        BankShapeError: If a parameter has not two dimensions.
        BankDtypeError: If a parameter is not floating.
        BankConfigError: If a value is not allowed.

    Example:
        >>> table = torch.nn.Embedding(1000, 4, sparse=True)
        >>> optimiser = RowAdam(table.parameters(), lr=0.1)
        >>> table(torch.tensor([7, 900, 7])).sum().backward()
        >>> optimiser.step()
        >>> optimiser.touched_rows(table.weight)
        tensor([  7, 900])
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        row_wise: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "row_wise": row_wise})

    def _require(self, group: Group) -> None:
        _require_common(group)
        betas = group["betas"]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise BankConfigError("betas", betas, "two numbers from 0 to below 1")

    def _entries(self, group: Group, table: Tensor) -> dict[str, RowEntry]:
        width, dtype = table.shape[1], state_dtype(table)
        return {
            "step": RowEntry(1, torch.int32),
            "exp_avg": RowEntry(width, dtype),
            "exp_avg_sq": RowEntry(1 if group["row_wise"] else width, dtype),
        }

    def _change(self, group: Group, store: RowStore, slots: Tensor, gradients: Tensor) -> Tensor:
        beta1, beta2 = group["betas"]
        step = store.read("step", slots) + 1  # (count, 1)
        exp_avg = store.read("exp_avg", slots).lerp_(gradients, 1 - beta1)
        exp_avg_sq = store.read("exp_avg_sq", slots).mul_(beta2)
        exp_avg_sq.add_(_squares(group, gradients), alpha=1 - beta2)
        store.write("step", slots, step)
        store.write("exp_avg", slots, exp_avg)
        store.write("exp_avg_sq", slots, exp_avg_sq)
        steps = step.to(gradients.dtype)
        denominator = (exp_avg_sq / _correction(beta2, steps)).sqrt_().add_(group["eps"])
        return exp_avg / _correction(beta1, steps) / denominator


class RowAdagrad(RowOptimiser):
    """Adagrad on the rows that were read.

    Args:
        params: Tables, as in `RowOptimiser`.
        lr: Learning rate.
        initial_accumulator_value: What sums of squares begin with.
        eps: Added to the denominator.
        row_wise: Keep one sum for each row, of the mean of squares over the row, as
            PyTorch-BigGraph's `RowAdagrad` (arXiv 1903.12287) and FBGEMM's `EXACT_ROWWISE_ADAGRAD`
            do: state of 20 bytes for a row. False keeps one for each number, as
            torch.optim.Adagrad does: 4·width + 16.

    Raises:
        BankShapeError: If a parameter has not two dimensions.
        BankDtypeError: If a parameter is not floating.
        BankConfigError: If a value is not allowed.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        row_wise: bool = True,
    ) -> None:
        start = {"initial_accumulator_value": initial_accumulator_value}
        super().__init__(params, {"lr": lr, "eps": eps, "row_wise": row_wise, **start})

    def _require(self, group: Group) -> None:
        _require_common(group)
        _require_number(group, "initial_accumulator_value")

    def _entries(self, group: Group, table: Tensor) -> dict[str, RowEntry]:
        width = 1 if group["row_wise"] else table.shape[1]
        start = float(group["initial_accumulator_value"])
        return {"sum": RowEntry(width, state_dtype(table), start)}

    def _change(self, group: Group, store: RowStore, slots: Tensor, gradients: Tensor) -> Tensor:
        sums = store.read("sum", slots).add_(_squares(group, gradients))
        store.write("sum", slots, sums)
        return gradients / sums.sqrt_().add_(group["eps"])


def _squares(group: Group, gradients: Tensor) -> Tensor:
    squares = gradients.square()
    return squares.mean(1, keepdim=True) if group["row_wise"] else squares


def _correction(beta: float, steps: Tensor) -> Tensor:
    """Return 1 - beta^steps: by expm1, exact to the last float32 digits also for few steps."""
    return -torch.expm1(steps * math.log(beta)) if beta else torch.ones_like(steps)


def _require_common(group: Group) -> None:
    _require_number(group, "lr")
    _require_number(group, "eps")
    if type(group["row_wise"]) is not bool:
        raise BankConfigError("row_wise", group["row_wise"], "True or False")
    if group.get("weight_decay"):
        expected = "0: rows do not decay, as those that no batch reads would vanish"
        raise BankConfigError("weight_decay", group["weight_decay"], expected)


def _require_number(group: Group, field: str) -> None:
    value = float(group[field])
    if not 0 <= value < math.inf:
        raise BankConfigError(field, group[field], "a number of at least 0")

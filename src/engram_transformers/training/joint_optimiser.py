"""One optimiser of two: rows of banks, and everything else that is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from engram_transformers.banks.row_optimiser import Group, RowOptimiser
from engram_transformers.training.errors import JointStateError


class JointOptimiser(Optimizer):
    """Step an optimiser of rows and one of dense parameters as if they were one.

    Its groups are theirs (the same dictionaries, the dense ones first), so what a scheduler sets
    reaches both. `GradScaler` and accelerate see an ordinary optimiser without AMP of its own.

    Args:
        dense: Of everything but tables.
        rows: Of tables.

    Attributes:
        dense: As given.
        rows: As given.

    Example:
        >>> from engram_transformers.banks.optimiser import RowAdam
        >>> table, weight = torch.nn.Embedding(9, 4, sparse=True), torch.nn.Parameter(torch.ones(4))
        >>> optimiser = JointOptimiser(torch.optim.AdamW([weight]), RowAdam(table.parameters()))
        >>> (table(torch.tensor([7])) * weight).sum().backward()
        >>> optimiser.step()
        >>> optimiser.rows.touched_rows(table.weight)
        tensor([7])
    """

    def __init__(self, dense: Optimizer, rows: RowOptimiser) -> None:
        self.dense = dense
        self.rows = rows
        self._is_joined = False
        super().__init__([*dense.param_groups, *rows.param_groups], {})
        self._join()

    @property
    def state(self) -> dict[Tensor, Any]:
        """What both remember of each parameter: a new dictionary of theirs."""
        return {**self.dense.state, **self.rows.state}

    @state.setter
    def state(  # pyright: ignore[reportIncompatibleVariableOverride]  # torch's is an attribute
        self, value: Mapping[Tensor, Any]
    ) -> None:
        if value:  # torch sets an empty one when it makes an optimiser
            raise AttributeError("The state of a JointOptimiser is that of its two parts.")

    def add_param_group(self, param_group: Group) -> None:
        """Add dense parameters, as `torch.optim.Optimizer` does.

        Args:
            param_group: `params`, and what differs from the dense optimiser's defaults.
        """
        if not self._is_joined:
            super().add_param_group(param_group)
            return
        self.dense.add_param_group(param_group)
        self._join()

    def step(  # pyright: ignore[reportIncompatibleMethodOverride]  # torch's are overloads
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Change all that has gradients. Rows come first, as they refuse what is not finite.

        Args:
            closure: Computes the loss anew.

        Returns:
            What the closure returned.

        Raises:
            DenseGradientError: If a table's gradient is not of whole rows.
            RowGradientError: If a table's gradient is NaN or infinite.
            ResizedTableError: If a table has another shape than before.
        """
        loss: float | None = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.rows.step()
        self.dense.step()
        return loss

    def train(self) -> None:
        """Pass on to a dense optimiser that has modes, as schedule-free ones do."""
        _switch(self.dense, "train")

    def eval(self) -> None:
        """Pass on to a dense optimiser that has modes."""
        _switch(self.dense, "eval")

    def state_dict(self) -> dict[str, Any]:
        """Return the state as `torch.optim.Optimizer` does: dense parameters are numbered first.

        Returns:
            `param_groups` and `state`; of tables as `RowOptimiser.state_dict` describes it.
        """
        dense, rows = self.dense.state_dict(), self.rows.state_dict()
        first = _count(dense["param_groups"])
        return {
            "state": {**dense["state"], **{n + first: kept for n, kept in rows["state"].items()}},
            "param_groups": [*dense["param_groups"], *_renumbered(rows["param_groups"], first)],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a saved state and the saved groups' values. Changes nothing if it can't.

        Args:
            state_dict: What `state_dict` returned.

        Raises:
            JointStateError: If it is of other dense parameters.
            RowStateError: If it is of other tables or another optimiser of rows.
        """
        groups, states = state_dict["param_groups"], state_dict["state"]
        problems = self._problems(groups, states)
        if problems:
            raise JointStateError(problems)
        own = len(self.dense.param_groups)
        first = _count(groups[:own])
        rows = {n - first: kept for n, kept in states.items() if n >= first}
        self.rows.load_state_dict(
            {"state": rows, "param_groups": _renumbered(groups[own:], -first)}
        )
        dense = {n: kept for n, kept in states.items() if n < first}
        self.dense.load_state_dict({"state": dense, "param_groups": groups[:own]})
        self._join()

    def require_fitting(self, groups: list[Group]) -> None:
        """Raise unless saved groups are of the same parameters, tables included.

        Args:
            groups: `param_groups` of a saved state.

        Raises:
            JointStateError: If they are not.
        """
        problems = self._problems(groups, {})
        for here, saved in zip(
            self.rows.param_groups, groups[len(self.dense.param_groups) :], strict=False
        ):
            names, told = here.get("param_names"), saved.get("param_names")
            if not problems and None not in (names, told) and names != told:
                problems.append(f"it has {told} where {names} are here")
        if problems:
            raise JointStateError(problems)

    def _join(self) -> None:
        self.param_groups = [*self.dense.param_groups, *self.rows.param_groups]
        self._is_joined = True

    def _problems(self, groups: list[Group], states: Mapping[int, Any]) -> list[str]:
        """Say what keeps the dense part from being loaded, and rows from being found."""
        seen = [len(group["params"]) for group in groups]
        here = [len(group["params"]) for group in self.param_groups]
        if seen != here:
            return [f"its groups have {seen} parameters, but here {here}"]
        problems: list[str] = []
        for group, saved in zip(self.dense.param_groups, groups, strict=False):
            names = group.get("param_names") or [f"parameter {n}" for n in saved["params"]]
            told = saved.get("param_names") or names
            for name, old, parameter, number in zip(
                names, told, group["params"], saved["params"], strict=True
            ):
                if name != old:
                    problems.append(f"it has {old} where {name} is here")
                elif (found := _shape_of_average(states.get(number))) not in (
                    None,
                    tuple(parameter.shape),
                ):
                    problems.append(f"{name} had shape {found}, but has {tuple(parameter.shape)}")
        return problems


def joint_of(optimiser: object) -> JointOptimiser | None:
    """Return the joint optimiser inside accelerate's wrappers, None if there is none."""
    while optimiser is not None and not isinstance(optimiser, JointOptimiser):
        optimiser = getattr(optimiser, "optimizer", None) if _is_optimiser(optimiser) else None
    return optimiser


def name_parameters(optimiser: Optimizer, names: Mapping[Tensor, str]) -> None:
    """Give the groups of an optimiser the names of their parameters, which it saves and compares.

    Args:
        optimiser: Made without names.
        names: Parameter -> name.
    """
    for group in optimiser.param_groups:
        group["param_names"] = [
            names.get(parameter, f"parameter {number}")
            for number, parameter in enumerate(group["params"])
        ]


def _shape_of_average(state: Mapping[str, Any] | None) -> tuple[int, ...] | None:
    """Return the shape of a parameter that Adam remembers; None where nothing tells."""
    average = (state or {}).get("exp_avg")
    return tuple(average.shape) if isinstance(average, Tensor) else None


def _is_optimiser(one: object) -> bool:
    return isinstance(one, Optimizer)


def _count(groups: list[Group]) -> int:
    return sum(len(group["params"]) for group in groups)


def _renumbered(groups: list[Group], first: int) -> list[Group]:
    return [{**group, "params": [n + first for n in group["params"]]} for group in groups]


def _switch(optimiser: Any, mode: str) -> None:
    method = getattr(optimiser, mode, None)
    if callable(method):
        method()

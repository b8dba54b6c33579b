"""What optimisers of rows share: checks, rows that are changed, state that is saved.

A row is treated as a parameter of its own which takes a step when a batch read it, and does not
exist otherwise: no momentum moves it, no decay. So a row's path does not depend on how large its
table is, nor on what other rows do.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from engram_transformers.banks.errors import (
    BankDtypeError,
    BankShapeError,
    ResizedTableError,
    RowGradientError,
    RowStateError,
)
from engram_transformers.banks.row_gradients import summed_rows
from engram_transformers.banks.row_store import RowEntry, RowStore

_STORE = "rows"
_NAMED_ROWS = 8
Group = dict[str, Any]


class RowOptimiser(Optimizer):
    """Base of optimisers of rows.

    The learning rate is the group's, as schedulers set it. There is no weight decay. State is
    float32 (float64 if the table is), also for tables of fewer bits. Their rows are rounded after
    each step, so that bfloat16 loses changes of less than 1/512 of a number: train in float32.

    Args:
        params: Tables, (rows, width), plain, named or in groups, whose gradients are sparse.
        defaults: What groups have unless they say otherwise.

    Raises:
        BankShapeError: If a parameter has not two dimensions.
        BankDtypeError: If a parameter is not floating.
        BankConfigError: If a value of a group is not allowed.
    """

    def __init__(self, params: Any, defaults: Group) -> None:
        super().__init__(params, defaults)

    def add_param_group(self, param_group: Group) -> None:
        """Add tables, as `torch.optim.Optimizer` does.

        Args:
            param_group: `params`, and what differs from the defaults.

        Raises:
            BankShapeError: If a parameter has not two dimensions.
            BankDtypeError: If a parameter is not floating.
            BankConfigError: If a value is not allowed.
        """
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            self._require(group)
            for name, table in _named(group, len(self.param_groups) - 1):
                _require_table(name, table)
        except Exception:
            self.param_groups.pop()
            raise

    @torch.no_grad()
    def step(  # pyright: ignore[reportIncompatibleMethodOverride]  # torch's are overloads
        self, closure: Callable[[], float] | None = None
    ) -> float | None:
        """Change the rows that have gradients. All gradients are checked before any row changes.

        Args:
            closure: Computes the loss anew.

        Returns:
            What the closure returned.

        Raises:
            DenseGradientError: If a gradient is not of whole rows.
            RowGradientError: If a gradient is NaN or infinite.
            ResizedTableError: If a table has another shape than before.
        """
        loss: float | None = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        pending: list[tuple[Group, str, Tensor, Tensor, Tensor]] = []
        for group, name, table in self._tables():
            found = summed_rows(table, name)
            if found is None or not len(found[0]):
                continue
            self._require_same_shape(name, table)
            pending.append((group, name, table, *found))
        _require_finite([(name, rows, gradients) for _, name, _, rows, gradients in pending])
        for group, _, table, rows, gradients in pending:
            store = self._store(group, table)
            change = self._change(group, store, store.slots(rows), gradients)
            changed = table.index_select(0, rows).to(change.dtype) - float(group["lr"]) * change
            table.index_copy_(0, rows, changed.to(table.dtype))
        return loss

    def touched_rows(self, table: Tensor) -> Tensor:
        """Return the rows of a table that were ever changed.

        Args:
            table: One of the parameters.

        Returns:
            (touched,) int64, ascending.
        """
        store = self.state[table].get(_STORE) if table in self.state else None
        return torch.empty(0, dtype=torch.int64) if store is None else store.rows

    def count_touched(self, table: Tensor) -> int:
        """Return how many rows of a table were ever changed, without asking the device."""
        store = self.state[table].get(_STORE) if table in self.state else None
        return 0 if store is None else len(store)

    @property
    def nbytes(self) -> int:
        """Bytes of all state, room for growth included."""
        return sum(state[_STORE].nbytes for state in self.state.values())

    def state_dict(self) -> dict[str, Any]:
        """Return the state as `torch.optim.Optimizer` does, of touched rows only.

        Returns:
            `param_groups`, and `state`: of each table with touched rows, `rows` (touched,) int64
            ascending, `table_shape` (2,) int64, and each entry, (touched, width or 1). All are
            copies, contiguous and of their own storage, as safetensors wants them.
        """
        packed = super().state_dict()
        states = packed["state"].items()
        packed["state"] = {number: state[_STORE].packed() for number, state in states}
        return packed

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a saved state and the saved groups' values. Changes nothing if it can't.

        Args:
            state_dict: What `state_dict` returned.

        Raises:
            RowStateError: If it belongs to other tables or to another optimiser; it names all that
                does not fit.
        """
        stores, problems = self._unpacked(state_dict)
        if problems:
            raise RowStateError(problems)
        super().load_state_dict({"state": {}, "param_groups": state_dict["param_groups"]})
        for table, store in stores:
            self.state[table] = {_STORE: store}

    @abstractmethod
    def _require(self, group: Group) -> None:
        """Refuse values of a group that are not allowed."""

    @abstractmethod
    def _entries(self, group: Group, table: Tensor) -> dict[str, RowEntry]:
        """Return what is remembered of each row."""

    @abstractmethod
    def _change(self, group: Group, store: RowStore, slots: Tensor, gradients: Tensor) -> Tensor:
        """Return what to subtract for a learning rate of 1, and remember."""

    def _tables(self) -> Iterator[tuple[Group, str, Tensor]]:
        for number, group in enumerate(self.param_groups):
            for name, table in _named(group, number):
                yield group, name, table

    def _store(self, group: Group, table: Tensor) -> RowStore:
        state = self.state[table]
        if _STORE not in state:
            state[_STORE] = RowStore(table.shape, self._entries(group, table), table.device)
        store = state[_STORE]
        store.to(table.device)  # as the model may have moved
        return store

    def _require_same_shape(self, name: str, table: Tensor) -> None:
        store = self.state[table].get(_STORE) if table in self.state else None
        if store is not None and store.table_shape != tuple(table.shape):
            raise ResizedTableError(name, table.shape, store.table_shape)

    def _unpacked(
        self, state_dict: dict[str, Any]
    ) -> tuple[list[tuple[Tensor, RowStore]], list[str]]:
        """Return a store for each table, and what does not fit."""
        saved_groups, states = state_dict["param_groups"], state_dict["state"]
        seen = [len(group["params"]) for group in saved_groups]
        here = [len(group["params"]) for group in self.param_groups]
        if seen != here:
            return [], [f"its groups have {seen} tables, but this optimiser's have {here}"]
        problems: list[str] = []
        stores: list[tuple[Tensor, RowStore]] = []
        known: set[object] = set()
        for place, (group, saved) in enumerate(zip(self.param_groups, saved_groups, strict=True)):
            problems += _differences(place, group, saved)
            for number, (name, table) in zip(saved["params"], _named(group, place), strict=True):
                known.add(number)
                if number not in states:
                    continue
                store = RowStore(table.shape, self._entries(group, table), table.device)
                found = store.problems(states[number])
                problems += [f"of {name}, {problem}" for problem in found]
                if not found:
                    store.unpack(states[number])
                    stores.append((table, store))
        strangers = sorted(str(number) for number in states if number not in known)
        if strangers:
            problems.append(f"it holds rows of tables that no group names: {', '.join(strangers)}")
        return stores, problems


def state_dtype(table: Tensor) -> torch.dtype:
    """Return the dtype of what is remembered of a table's rows."""
    return torch.promote_types(table.dtype, torch.float32)


def _named(group: Group, place: int) -> Iterator[tuple[str, Tensor]]:
    names = group.get("param_names")
    for number, table in enumerate(group["params"]):
        yield (f"`{names[number]}`" if names else f"table {number} of group {place}"), table


def _differences(place: int, group: Group, saved: Group) -> list[str]:
    """Say where a saved group is of another optimiser or of other tables."""
    found: list[str] = []
    for field in ("row_wise", "param_names"):
        here, there = group.get(field), saved.get(field)
        if here != there and not (field == "param_names" and None in (here, there)):
            found.append(f"`{field}` of group {place} is {there}, but here {here}")
    return found


def _require_finite(found: Sequence[tuple[str, Tensor, Tensor]]) -> None:
    """Refuse gradients that are not finite, after one wait for the device, not one a table."""
    sound = [gradients.isfinite().all() for _, _, gradients in found]
    if not sound or bool(torch.stack([one.to(sound[0].device) for one in sound]).all()):
        return
    for name, rows, gradients in found:
        bad = rows[~gradients.isfinite().all(dim=1)]
        if len(bad):
            raise RowGradientError(name, bad[:_NAMED_ROWS].tolist(), len(bad))


def _require_table(name: str, table: Tensor) -> None:
    if table.ndim != 2:
        raise BankShapeError(name, table.shape, "two dimensions: rows, width")
    if not table.is_floating_point():
        raise BankDtypeError(name, str(table.dtype), "floating")

"""What optimisers remember, in one file for each process, for any number of processes to read.

A file holds what its process has: the first one also what all have alike. Sharded numbers are
written with the row that they begin at, rows of tables with their places in the whole table. So
each process can pick its own, however many there are. No pickle is involved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, distributed

from engram_transformers.banks.row_exchange import RowRange
from engram_transformers.sharding import is_sharded
from engram_transformers.training.errors import JointStateError
from engram_transformers.training.joint_optimiser import JointOptimiser

_NAME = "engram_optimiser-{:05d}-of-{:05d}.safetensors"
_PATTERN = "engram_optimiser-*-of-*.safetensors"
_FIRST, _GROUPS, _ROWS, _SHAPE = "first", "groups", "rows", "table_shape"


def save_sharded_state(joint: JointOptimiser, shares: list[RowRange], folder: Path) -> None:
    """Write a joint optimiser's state. All processes must call this.

    Args:
        joint: Of dense parameters, whole or sharded, and tables that are shared out.
        shares: Of each table, in the order of the optimiser's.
        folder: The same for all processes; made if it does not exist.
    """
    packed = joint.state_dict()
    numbered = _numbered(packed, shares)
    tensors: dict[str, Tensor] = {}
    first: dict[str, int] = {}
    plain: dict[str, Any] = {}
    for number, state in packed["state"].items():
        share = numbered.get(number)
        for entry, value in state.items():
            name = f"{number}.{entry}"
            if share is not None:
                if entry != _SHAPE:
                    tensors[name] = value + share.first if entry == _ROWS else value
            elif not isinstance(value, Tensor):
                plain[name] = value
            elif is_sharded(value):
                tensors[name], first[name] = _own_part(value, name)
            elif distributed.get_rank() == 0:
                tensors[name] = value
    told = {_FIRST: first, _GROUPS: _as_json(packed["param_groups"]), "plain": plain}
    folder.mkdir(parents=True, exist_ok=True)
    rank, processes = distributed.get_rank(), distributed.get_world_size()
    if rank == 0:
        for old in folder.glob(_PATTERN):
            old.unlink()
    distributed.barrier()
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        folder / _NAME.format(rank, processes),
        {name: json.dumps(value) for name, value in told.items()},
    )
    distributed.barrier()


def load_sharded_state(joint: JointOptimiser, shares: list[RowRange], folder: Path) -> bool:
    """Take over what `save_sharded_state` wrote, by as many processes or by others.

    Args:
        joint: As there.
        shares: As there, as the tables are shared out now.
        folder: As there.

    Returns:
        Whether there was anything.

    Raises:
        JointStateError: If files are missing, or it is of other parameters; nothing was loaded.
        RowStateError: If it is of another optimiser of rows.
    """
    files = _files(folder)
    if not files:
        return False
    try:
        return _load(joint, shares, _Reader(files))
    except (SafetensorError, OSError) as error:
        raise JointStateError([f"its files can't be read: {error}"]) from error


def _load(joint: JointOptimiser, shares: list[RowRange], reader: _Reader) -> bool:
    numbered = _numbered(joint.state_dict(), shares)
    parameters = _parameters(joint)
    groups = [_from_json(group) for group in reader.told[_GROUPS]]
    joint.require_fitting(groups)  # of other parameters, numbers would mean others
    state: dict[int, dict[str, Any]] = {}
    for name in reader.names:
        number, entry = name.split(".", 1)
        if int(number) not in numbered:
            found = reader.dense(name, parameters[int(number)])
            state.setdefault(int(number), {})[entry] = found
    for name, value in reader.told["plain"].items():
        number, entry = name.split(".", 1)
        state.setdefault(int(number), {})[entry] = value
    for number, share in numbered.items():
        found = reader.rows(number, share)
        if found:
            shape = torch.tensor([share.last - share.first, parameters[number].shape[1]])
            state[number] = {**found, _SHAPE: shape}
    joint.load_state_dict({"state": state, "param_groups": groups})
    return True


class _Reader:
    """Reads parts of tensors out of all processes' files."""

    def __init__(self, files: list[Path]) -> None:
        self._where: dict[str, list[tuple[Path, int]]] = {}
        self._sharded: set[str] = set()
        self.told: dict[str, Any] = {}
        for path in files:
            with safe_open(path, framework="pt") as file:
                told = {name: json.loads(value) for name, value in file.metadata().items()}
                for name in file.keys():  # noqa: SIM118 (it is no dictionary)
                    self._where.setdefault(name, []).append((path, told[_FIRST].get(name, 0)))
            self._sharded.update(told[_FIRST])
            self.told = self.told or told

    @property
    def names(self) -> list[str]:
        return sorted(self._where)

    def dense(self, name: str, parameter: Tensor) -> Tensor:
        """Return what is remembered of a parameter: its own part, if it is sharded."""
        parts = self._where[name]
        if name not in self._sharded:
            return self._whole(parts[0][0], name)
        from torch.distributed.tensor import DTensor

        model: Any = parameter.detach()
        like, begin = _own_part(model, name)
        local = torch.empty(like.shape, dtype=self._dtype(parts[0][0], name), device=like.device)
        for path, first in parts:
            with safe_open(path, framework="pt") as file:
                part = file.get_slice(name)
                low, high = max(begin, first), min(begin + len(like), first + part.get_shape()[0])
                if low < high:
                    local[low - begin : high - begin] = part[low - first : high - first]
        return DTensor.from_local(
            local,
            model.device_mesh,
            model.placements,
            run_check=False,
            shape=model.shape,
            stride=model.stride(),
        )

    def rows(self, number: int, share: RowRange) -> dict[str, Tensor]:
        """Return what is remembered of the rows that are here now; they count from the first."""
        found: dict[str, list[Tensor]] = {}
        entries = [n.split(".", 1)[1] for n in self.names if n.split(".", 1)[0] == str(number)]
        for path, _ in self._where.get(f"{number}.{_ROWS}", ()):
            rows = self._whole(path, f"{number}.{_ROWS}")
            ends = torch.tensor([share.first, share.last])
            begin, end = torch.searchsorted(rows, ends).tolist()
            with safe_open(path, framework="pt") as file:
                for entry in entries:
                    part = file.get_slice(f"{number}.{entry}")[begin:end]
                    found.setdefault(entry, []).append(part)
        joined = {entry: torch.cat(parts) for entry, parts in found.items()}
        if joined:
            joined[_ROWS] = joined[_ROWS] - share.first
        return joined

    def _dtype(self, path: Path, name: str) -> torch.dtype:
        with safe_open(path, framework="pt") as file:
            return file.get_slice(name)[:0].dtype

    def _whole(self, path: Path, name: str) -> Tensor:
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(name)


def _files(folder: Path) -> list[Path]:
    """Return all processes' files, in their order.

    Raises:
        JointStateError: If some are missing.
    """
    found = sorted(folder.glob(_PATTERN))
    if not found:
        return []
    processes = int(found[0].stem.rsplit("-", 1)[1])
    wanted = [folder / _NAME.format(process, processes) for process in range(processes)]
    missing = [path.name for path in wanted if path not in found]
    strange = [path.name for path in found if path not in wanted]
    problems = [f"{folder} lacks {name}" for name in missing]
    problems += [f"{folder} has {name}, of another number of processes" for name in strange]
    if problems:
        raise JointStateError(problems)
    return wanted


def _numbered(packed: Mapping[str, Any], shares: list[RowRange]) -> dict[int, RowRange]:
    """Return the tables' numbers in a state: the last ones."""
    count = sum(len(group["params"]) for group in packed["param_groups"])
    return dict(zip(range(count - len(shares), count), shares, strict=True))


def _parameters(joint: JointOptimiser) -> dict[int, Tensor]:
    every = [parameter for group in joint.param_groups for parameter in group["params"]]
    return dict(enumerate(every))


def _own_part(value: Tensor, name: str) -> tuple[Tensor, int]:
    """Return what lies here of a `DTensor`, and the row that it begins at."""
    sharded: Any = value
    chunks = sharded.__create_chunk_list__()
    local: Tensor = sharded.to_local()
    if any(local.shape[dim] != value.shape[dim] for dim in range(1, value.ndim)):
        raise JointStateError([f"{name} is sharded along another dimension than its rows"])
    return local, int(chunks[0].offsets[0]) if chunks else 0


def _as_json(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: v.item() if isinstance(v, Tensor) else v for name, v in group.items()}
        for group in groups
    ]


def _from_json(group: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if name == "betas" else value for name, value in group.items()}

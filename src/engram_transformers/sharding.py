"""Looking into weights that are sharded over processes (FSDP2, tensor parallelism)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def is_sharded(weight: Tensor) -> bool:
    """Say whether a weight is a `DTensor`: this process holds a part of it."""
    return hasattr(weight, "device_mesh") and hasattr(weight, "placements")


def class_name(module: nn.Module) -> str:
    """Return the name of a module's class, without what `fully_shard` puts before it."""
    names = [kind.__name__ for kind in type(module).__mro__]
    return next(name for name in names if not name.startswith("FSDP"))


def reshard(model: nn.Module) -> None:
    """Put the shards of FSDP2 back into their places: a forward leaves some weights whole there.

    What is set on a whole one (`requires_grad`) is lost when FSDP next gathers it.

    Args:
        model: Any model.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def sharded_samples(weights: list[Tensor], count: int) -> list[Tensor]:
    """Return the same numbers of each weight as if it were whole.

    Cost: one collective for each device mesh. All processes must call this, with the same weights.

    Args:
        weights: `DTensor` objects.
        count: How many numbers of each, at most.

    Returns:
        (up to `count`,) for each weight, in its dtype, on its mesh's device.
    """
    meshes: dict[int, list[int]] = {}
    for place, weight in enumerate(weights):
        meshes.setdefault(id(_mesh(weight)), []).append(place)
    samples: dict[int, Tensor] = {}
    for places in meshes.values():
        mesh = _mesh(weights[places[0]])
        own = [_own_samples(weights[place], count) for place in places]
        # A number may lie in several processes (replicas), so they are averaged.
        both = torch.stack([torch.cat([o[0] for o in own]), torch.cat([o[1] for o in own])])
        both = both.to(mesh.device_type)
        for dim in range(mesh.ndim):
            torch.distributed.all_reduce(both, group=mesh.get_group(dim))
        found = (both[0] / both[1]).split([o[0].numel() for o in own])
        for place, sample in zip(places, found, strict=True):
            samples[place] = sample.to(weights[place].dtype)
    return [samples[place] for place in range(len(weights))]


def _own_samples(weight: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the samples that lie in this process, 0 for others, and which those are; float64."""
    sharded: Any = weight
    local: Tensor = sharded.to_local().detach()
    size = weight.numel()
    flat = torch.arange(0, size, max(size // count, 1))[:count]
    index = torch.stack(torch.unravel_index(flat, weight.shape), -1)  # (samples, dims)
    values = torch.zeros(flat.numel(), dtype=torch.float64, device=local.device)
    present = torch.zeros_like(values)
    for chunk in sharded.__create_chunk_list__():
        start = torch.tensor(tuple(chunk.offsets))
        inside = ((index >= start) & (index < start + torch.tensor(tuple(chunk.sizes)))).all(-1)
        own = tuple((index[inside] - start).to(local.device).unbind(-1))
        inside = inside.to(local.device)
        values[inside] = local[own].to(torch.float64)
        present[inside] = 1.0
    return values, present


def _mesh(weight: Tensor) -> Any:
    sharded: Any = weight
    return sharded.device_mesh

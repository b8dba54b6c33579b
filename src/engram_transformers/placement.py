"""Where a module computes, also where accelerate keeps its weights somewhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def device_of(module: nn.Module) -> torch.device:
    """Return the device that a module computes on.

    Args:
        module: Any module, also one whose weights accelerate brings in for each call.

    Returns:
        accelerate's execution device if there is one, else that of the first weight, else the CPU.
    """
    for part in module.modules():
        hook: Any = getattr(part, "_hf_hook", None)
        device = getattr(hook, "execution_device", None)
        if device is not None:
            return torch.device(device)
    first = next(module.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def weights_nowhere(module: nn.Module) -> Iterator[str]:
    """Yield the names of weights that are on the meta device and that nothing brings in."""
    for name, parameter in module.named_parameters():
        if parameter.device.type == "meta" and offloaded_weight(module, name) is None:
            yield name


def offloaded_weight(module: nn.Module, name: str) -> Tensor | None:
    """Return a weight that accelerate keeps elsewhere, None if it keeps none of that name.

    Args:
        module: The module that `name` is relative to.
        name: A parameter's dotted name.

    Returns:
        The weight, on the CPU, possibly mapped from a file.
    """
    *owners, last = name.split(".")
    owner = module.get_submodule(".".join(owners))
    weights: Any = getattr(getattr(owner, "_hf_hook", None), "weights_map", None)
    if weights is None:
        return None
    try:
        return weights[last]
    except KeyError:
        return None

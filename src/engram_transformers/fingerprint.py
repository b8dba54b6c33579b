"""What tells one base model from another, whatever its dtype, device or adapters are."""

from __future__ import annotations

import re
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

_SAMPLES = 16
_ADAPTER = re.compile(
    r"\b(lora_|adapter|ia3_|vera_|oft_|hada_|lokr_|bone_|boft_)|\.modules_to_save\."
)
_WRAPPING = re.compile(r"^base_model\.model\.|\.base_layer\b|\.original_module\b")
_CONFIG_FIELDS = (
    "model_type",
    "hidden_size",
    "vocab_size",
    "num_hidden_layers",
    "n_embd",
    "n_layer",
)


def model_fingerprint(model: nn.Module) -> str:
    """Return a digest of a model's base weights and shape.

    A few numbers of every floating-point weight, rounded to bfloat16 so that a float32 and a
    bfloat16 load of one checkpoint agree. Adapters (PEFT) and engram memories are left out, so
    attaching or detaching them changes nothing; merging an adapter does.

    Cost: 10 to 30 ms and one transfer from each device.

    Args:
        model: Any model, wrapped by PEFT or not.

    Returns:
        32 hexadecimal digits (xxh3, 128 bits).
    """
    config: Any = getattr(model, "config", None)
    fields = [(name, getattr(config, name, None)) for name in _CONFIG_FIELDS]
    names: list[str] = []
    samples: dict[torch.device, list[Tensor]] = {}
    for name, parameter in sorted(_base_parameters(model), key=lambda item: item[0]):
        names.append(f"{name}{tuple(parameter.shape)}")
        if parameter.is_floating_point() and parameter.device.type != "meta":
            flat = parameter.detach().reshape(-1)
            step = max(flat.numel() // _SAMPLES, 1)
            samples.setdefault(parameter.device, []).append(flat[::step][:_SAMPLES].float())
    digest = xxhash.xxh3_128(repr((fields, names)).encode())
    for device in sorted(samples, key=str):
        rounded = torch.cat(samples[device]).to(torch.bfloat16).view(torch.int16).cpu()
        digest.update(rounded.numpy().tobytes())
    return digest.hexdigest()


def adapter_fingerprint(model: nn.Module) -> str | None:
    """Return a digest of the PEFT adapters that are switched on, None if there are none.

    Args:
        model: Any model, wrapped by PEFT or not.

    Returns:
        32 hexadecimal digits (xxh3, 128 bits) of the active adapters' whole weights, or None.
    """
    active = _active_adapters(model)
    if not active:
        return None
    digest = xxhash.xxh3_128()
    weights: list[tuple[str, Tensor]] = []
    for name, parameter in model.named_parameters():
        parts = _WRAPPING.sub("", name).split(".")
        chosen = next((part for part in parts if part in active), None)
        if chosen is not None and _ADAPTER.search(name) and ".engram." not in name:
            weights.append((".".join(part for part in parts if part != chosen), parameter))
    for name, parameter in sorted(weights, key=lambda item: item[0]):
        digest.update(name.encode())
        digest.update(parameter.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def merged_adapters(model: nn.Module) -> tuple[tuple[int, str], ...]:
    """Return which PEFT layers hold which adapters merged into their weights."""
    return tuple(
        (id(module), str(name))
        for module in model.modules()
        if hasattr(module, "base_layer")
        for name in getattr(module, "merged_adapters", ())
    )


def _base_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [
        (_WRAPPING.sub("", name), parameter)
        for name, parameter in model.named_parameters()
        if ".engram." not in name and not _ADAPTER.search(name)
    ]


def _active_adapters(model: nn.Module) -> set[str]:
    """Return the names of adapters that any PEFT layer applies, as PEFT's layers say themselves."""
    names: set[str] = set()
    for module in model.modules():
        if not hasattr(module, "active_adapters") or not hasattr(module, "base_layer"):
            continue
        layer: Any = module
        if not layer.disable_adapters and not layer.merged:
            names.update(layer.active_adapters)
    return names

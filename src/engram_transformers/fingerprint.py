"""What tells one base model from another, whatever its dtype, device or adapters are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

from engram_transformers.four_bits import four_bit_samples, is_four_bits, logical_shape
from engram_transformers.placement import offloaded_weight
from engram_transformers.sharding import is_sharded, sharded_samples

_SAMPLES = 16
_ADAPTER = re.compile(
    r"\b(lora_|adapter|ia3_|vera_|oft_|hada_|lokr_|bone_|boft_)|\.modules_to_save\."
)
_OURS = re.compile(r"\.engram(_bank)?\.")
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

    A few numbers of every weight; floating-point ones are rounded to bfloat16, so that a float32
    and a bfloat16 load of one checkpoint agree. Where a weight lies (on which device, offloaded,
    sharded) changes nothing; how it is quantised does. Adapters (PEFT) and engram memories are left
    out, so attaching or detaching them changes nothing; merging an adapter does.

    Cost: 10 to 30 ms and one transfer from each device. A model whose weights are sharded over
    processes takes one collective, so all of its processes must call this.

    Args:
        model: Any model, wrapped by PEFT or not.

    Returns:
        32 hexadecimal digits (xxh3, 128 bits).
    """
    config: Any = getattr(model, "config", None)
    fields = [(name, getattr(config, name, None)) for name in _CONFIG_FIELDS]
    names: list[str] = []
    weights: list[Tensor] = []
    divisors = _divisors(model)
    for plain_name, name, parameter in sorted(_base_parameters(model), key=lambda item: item[0]):
        names.append(f"{plain_name}{logical_shape(parameter)}")
        weight = parameter if is_four_bits(parameter) else parameter.detach()
        if weight.device.type == "meta":
            found = offloaded_weight(model, name)
            if found is None:
                continue  # nobody has it: the model can't run either
            weight = found.detach()
        if id(parameter) in divisors:
            weight = weight * divisors[id(parameter)]
        weights.extend(_stored_parts(weight))
    digest = xxhash.xxh3_128(repr((fields, names)).encode())
    for part in _samples_of(weights):
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()


def _divisors(model: nn.Module) -> dict[int, int]:
    """Return by what weights, by their `id`, are divided for now.

    RWKV divides some of its own by powers of two when it is first run after `eval()`, and takes
    that back after `train()`.
    """
    divisors: dict[int, int] = {}
    for owner in model.modules():
        if getattr(owner, "layers_are_rescaled", None) is True:
            rwkv: Any = owner
            every: int = rwkv.config.rescale_every
            for number, block in enumerate(rwkv.blocks if every > 0 else ()):
                for part in (block.attention.output, block.feed_forward.value):
                    divisors[id(part.weight)] = 2 ** (number // every)
    return divisors


def _stored_parts(weight: Tensor) -> Iterator[Tensor]:
    """Yield the plain tensors that a weight consists of: quantised ones have several."""
    flatten = getattr(weight, "__tensor_flatten__", None)
    if flatten is None or is_sharded(weight):
        yield weight
        return
    for name in flatten()[0]:
        yield from _stored_parts(getattr(weight, name))


def _samples_of(weights: list[Tensor]) -> Iterator[Tensor]:
    """Yield up to 16 numbers of each weight, on the CPU: bfloat16 as int16, or int64."""
    sharded = iter(sharded_samples([w for w in weights if is_sharded(w)], _SAMPLES))
    chosen: list[Tensor] = []
    for weight in weights:
        if is_sharded(weight):
            chosen.append(next(sharded))
            continue
        if is_four_bits(weight):
            chosen.append(four_bit_samples(weight, _SAMPLES))
            continue
        flat = weight.reshape(-1)
        step = max(flat.numel() // _SAMPLES, 1)
        chosen.append(flat[::step][:_SAMPLES])
    # One transfer from each device, and the order of the names whatever lies where.
    places: dict[tuple[torch.device, bool], list[int]] = {}
    for place, sample in enumerate(chosen):
        places.setdefault((sample.device, sample.is_floating_point()), []).append(place)
    on_cpu: dict[int, Tensor] = {}
    for (_, is_float), group in places.items():
        dtype = torch.float32 if is_float else torch.int64
        joined = torch.cat([chosen[place].to(dtype) for place in group])
        if is_float:
            joined = joined.to(torch.bfloat16).view(torch.int16)
        sizes = [chosen[place].numel() for place in group]
        on_cpu.update(zip(group, joined.cpu().split(sizes), strict=True))
    yield from (on_cpu[place] for place in range(len(chosen)))


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
        if chosen is not None and _ADAPTER.search(name) and not _OURS.search(name):
            plain_name = ".".join(part for part in parts if part != chosen)
            weights.append((plain_name, whole_weight(model, name, parameter)))
    for name, weight in sorted(weights, key=lambda item: item[0]):
        digest.update(name.encode())
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def whole_weight(module: nn.Module, name: str, parameter: Tensor) -> Tensor:
    """Return a small weight whole, on the CPU in float32, wherever it lies.

    A sharded weight takes a collective: all processes must call this.

    Args:
        module: The module that `name` is relative to.
        name: The weight's dotted name.
        parameter: The weight.

    Returns:
        Its numbers, contiguous.
    """
    weight = parameter.detach()
    if is_sharded(weight):
        sharded: Any = weight
        weight = sharded.full_tensor()
    elif weight.device.type == "meta":
        found = offloaded_weight(module, name)
        weight = weight if found is None else found.detach()
    return weight.float().cpu().contiguous()


def merged_adapters(model: nn.Module) -> tuple[tuple[int, str], ...]:
    """Return which PEFT layers hold which adapters merged into their weights."""
    return tuple(
        (id(module), str(name))
        for module in model.modules()
        if hasattr(module, "base_layer")
        for name in getattr(module, "merged_adapters", ())
    )


def _base_parameters(model: nn.Module) -> list[tuple[str, str, nn.Parameter]]:
    return [
        (_WRAPPING.sub("", name), name, parameter)
        for name, parameter in model.named_parameters()
        if not _OURS.search(name) and not _ADAPTER.search(name)
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

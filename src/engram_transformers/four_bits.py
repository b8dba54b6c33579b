"""Looking into bitsandbytes' 4-bit weights, which it lays out anew on some CPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# bitsandbytes (0.50) packs blocks of 32 rows at the first forward on CPUs with AVX512-BF16.
_BLOCK = 32


def is_four_bits(weight: Tensor) -> bool:
    """Say whether a weight is one of bitsandbytes' 4-bit ones."""
    state: Any = getattr(weight, "quant_state", None)
    return state is not None and weight.dtype == torch.uint8 and len(state.shape) == 2


def logical_shape(weight: Tensor) -> tuple[int, ...]:
    """Return a weight's shape as it would be without quantisation into 4 bits."""
    if not is_four_bits(weight):
        return tuple(weight.shape)
    state: Any = getattr(weight, "quant_state")  # noqa: B009
    return tuple(state.shape)


def four_bit_samples(weight: Tensor, count: int) -> Tensor:
    """Return some of a weight's 4-bit codes, whichever way they are laid out.

    Args:
        weight: For which `is_four_bits` holds.
        count: How many, at most.

    Returns:
        (up to `count`,) uint8 in 0 to 15.
    """
    state: Any = getattr(weight, "quant_state")  # noqa: B009
    rows, columns = state.shape
    size = rows * columns
    flat = torch.arange(0, size, max(size // count, 1), device=weight.device)[:count]
    packed = bool(getattr(state, "packing_format_for_cpu", False))
    if packed:
        row, column = flat // columns, flat % columns
        place = (row // _BLOCK * (columns // 2) + column // 2) * _BLOCK + row % _BLOCK
        place = place * 2 + column % 2
        group, within = place // (2 * _BLOCK), place % (2 * _BLOCK)
        byte, is_high = group * _BLOCK + within % _BLOCK, within >= _BLOCK
    else:
        byte, is_high = flat // 2, flat % 2 == 0
    codes = weight.reshape(-1)[byte]
    return torch.where(is_high, codes >> 4, codes & 15)

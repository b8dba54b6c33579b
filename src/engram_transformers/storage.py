"""Rows as they are stored: fewer bits, and exactly the numbers that are computed with."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from engram_transformers.errors import ConfigError

RowDtype = Literal["int4", "int8", "float16", "bfloat16", "float32"]

LARGEST_CODES = {"int4": 7, "int8": 127}
_NIBBLE_ZERO = 8


def require_row_dtype(dtype: str) -> None:
    """Raise `ConfigError` unless rows can be stored in a dtype."""
    if dtype not in get_args(RowDtype):
        allowed = ", ".join(map(repr, get_args(RowDtype)))
        raise ConfigError("dtype", dtype, f"one of {allowed}")


def encode_rows(values: Tensor, dtype: RowDtype) -> dict[str, Tensor]:
    """Turn rows into what is stored.

    Args:
        values: (rows, row_dim) float32.
        dtype: Of the stored numbers. "int8" and "int4" come with one float16 scale per row: the
            largest magnitude becomes 127 or 7.

    Returns:
        "rows", (rows, row_dim); for int8 and int4 also "scales", (rows,) float16. int4 rows are
        uint8, (rows, row_dim / 2 rounded up): two numbers per byte, each plus 8, the first one in
        the low half. Encoding what `decode_rows` gives back yields the same bits again.
    """
    largest = LARGEST_CODES.get(dtype)
    if largest is None:
        return {"rows": values.to(getattr(torch, dtype))}
    # The smallest normal float16 bounds the scale away from zero: rows of zeros stay zeros.
    scales = values.abs().amax(dim=1).div(largest).clamp_min(2.0**-14).to(torch.float16)
    codes = values.div(scales.float().unsqueeze(1)).round().clamp(-largest, largest)
    return {"rows": codes.to(torch.int8) if dtype == "int8" else _packed(codes), "scales": scales}


def decode_rows(stored: dict[str, Tensor], row_dim: int) -> Tensor:
    """Turn what is stored back into rows, (rows, row_dim) float32."""
    rows = stored["rows"]
    values = _unpacked(rows, row_dim) if rows.dtype == torch.uint8 else rows.float()
    return values * stored["scales"].float().unsqueeze(1) if "scales" in stored else values


def encode_row_index(row_index: Tensor, rows: int) -> Tensor | None:
    """Return which row each address has in the smallest type that holds it.

    Args:
        row_index: (addresses,) int64.
        rows: How many rows there are.

    Returns:
        (addresses,) uint8, int16 or int32; None where row i belongs to address i.
    """
    if torch.equal(row_index, torch.arange(rows)):
        return None
    small = torch.uint8 if rows <= 1 << 8 else torch.int16 if rows <= 1 << 15 else torch.int32
    return row_index.to(small)


def as_stored(values: Tensor, dtype: RowDtype) -> Tensor:
    """Return rows as they are after a round trip; gradients pass straight through.

    Args:
        values: (rows, row_dim) float32.
        dtype: Of the stored numbers.

    Returns:
        (rows, row_dim) float32.
    """
    rounded = decode_rows(encode_rows(values.detach(), dtype), values.shape[1])
    return values + (rounded - values).detach() if values.requires_grad else rounded


def _packed(codes: Tensor) -> Tensor:
    """Put two numbers of -7 to 7 into each byte, (rows, row_dim / 2 rounded up) uint8."""
    nibbles = codes.to(torch.int64) + _NIBBLE_ZERO
    if nibbles.shape[1] % 2:
        nibbles = torch.nn.functional.pad(nibbles, (0, 1), value=_NIBBLE_ZERO)
    return (nibbles[:, ::2] + (nibbles[:, 1::2] << 4)).to(torch.uint8)


def _unpacked(packed: Tensor, row_dim: int) -> Tensor:
    nibbles = torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)[:, :row_dim]
    return nibbles.float() - _NIBBLE_ZERO


def has_stray_codes(packed: Tensor, row_dim: int) -> bool:
    """Say whether packed int4 rows hold a number below -7, or anything behind the last one."""
    nibbles = torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)
    return bool((nibbles == 0).any() or (nibbles[:, row_dim:] != _NIBBLE_ZERO).any())

"""Rows as they are stored: fewer bits, and exactly the numbers that are computed with."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from engram_transformers.errors import ConfigError

RowDtype = Literal["int8", "float16", "bfloat16", "float32"]

_LARGEST_CODE = 127


def require_row_dtype(dtype: str) -> None:
    """Raise `ConfigError` unless rows can be stored in a dtype."""
    if dtype not in get_args(RowDtype):
        allowed = ", ".join(map(repr, get_args(RowDtype)))
        raise ConfigError("dtype", dtype, f"one of {allowed}")


def encode_rows(values: Tensor, dtype: RowDtype) -> dict[str, Tensor]:
    """Turn rows into what is stored.

    Args:
        values: (rows, row_dim) float32.
        dtype: Of the stored numbers. "int8" comes with one float16 scale per row: the largest
            magnitude becomes 127.

    Returns:
        "rows", and for int8 "scales", (rows,) float16. Encoding what `decode_rows` gives back
        yields the same bits again.
    """
    if dtype != "int8":
        return {"rows": values.to(getattr(torch, dtype))}
    # The smallest normal float16 bounds the scale away from zero: rows of zeros stay zeros.
    scales = values.abs().amax(dim=1).div(_LARGEST_CODE).clamp_min(2.0**-14).to(torch.float16)
    codes = values.div(scales.float().unsqueeze(1)).round().clamp(-_LARGEST_CODE, _LARGEST_CODE)
    return {"rows": codes.to(torch.int8), "scales": scales}


def decode_rows(stored: dict[str, Tensor]) -> Tensor:
    """Turn what is stored back into rows, (rows, row_dim) float32."""
    values = stored["rows"].float()
    return values * stored["scales"].float().unsqueeze(1) if "scales" in stored else values


def as_stored(values: Tensor, dtype: RowDtype) -> Tensor:
    """Return rows as they are after a round trip; gradients pass straight through.

    Args:
        values: (rows, row_dim) float32.
        dtype: Of the stored numbers.

    Returns:
        (rows, row_dim) float32.
    """
    rounded = decode_rows(encode_rows(values.detach(), dtype))
    return values + (rounded - values).detach() if values.requires_grad else rounded

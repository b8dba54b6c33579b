"""Where sequences start: what neither an n-gram nor the convolution may look across."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from engram_transformers.banks.errors import BankDtypeError, BankShapeError
from engram_transformers.coded_ids import PADDING

EARLIER = -(1 << 62)
"""Stands for a start in an earlier call: before every position that could be looked at."""


def starts_of(window: Tensor) -> Tensor:
    """Return where sequences start.

    Args:
        window: (batch, seq) int64, coded ids.

    Returns:
        (batch, seq) bool, True at the first token of each sequence.
    """
    padding = window == PADDING
    # A token behind padding starts a sequence, whatever its position is said to be.
    return (window < PADDING) | (pad(padding[:, :-1], (1, 0)) & ~padding)


def last_starts(starts: Tensor) -> Tensor:
    """Return where the sequence of each position started.

    Args:
        starts: (batch, seq) bool, True at the first token of each sequence.

    Returns:
        (batch, seq) int64: the last start up to and including the position, counted from the
        first position of this call; `EARLIER` where there is none.
    """
    positions = torch.arange(starts.shape[1], device=starts.device)
    return torch.where(starts, positions, EARLIER).cummax(dim=1).values


def clear_before_last_start(window: Tensor, starts: Tensor | None, fill: float) -> Tensor:
    """Replace what no later position may look at.

    Args:
        window: (batch, earlier + seq, ...): what an earlier call left, then this call's.
        starts: (batch, seq) bool; None for no start in this call.
        fill: What to put there.

    Returns:
        The window, `fill` at all positions before the last start.
    """
    if starts is None or not starts.shape[1]:
        return window
    earlier = window.shape[1] - starts.shape[1]
    positions = torch.arange(-earlier, starts.shape[1], device=window.device)
    hidden = positions < last_starts(starts)[:, -1:]  # (batch, earlier + seq)
    return window.masked_fill(hidden.view(*hidden.shape, *[1] * (window.ndim - 2)), fill)


def require_starts(starts: Tensor | None, batch: int, seq: int) -> None:
    """Refuse a mask of starts that does not fit.

    Args:
        starts: What was given.
        batch: Sequences, or packs of sequences.
        seq: Positions.

    Raises:
        BankShapeError: If its shape is not (batch, seq).
        BankDtypeError: If it is not bool.
    """
    if starts is None:
        return
    if starts.shape != (batch, seq):
        raise BankShapeError("starts", starts.shape, f"{(batch, seq)}, as the ids have")
    if starts.dtype != torch.bool:
        raise BankDtypeError("starts", str(starts.dtype), "torch.bool: True at each first token")

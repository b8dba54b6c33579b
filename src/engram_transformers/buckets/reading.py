"""Reading a memory's rows with those in their place that the active tables replace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engram_transformers.compiled import read_buckets

if TYPE_CHECKING:
    from engram_transformers.active import Frame
    from engram_transformers.calls import Call
    from engram_transformers.patch_state import PatchState


def replaces(attachment: PatchState, call: Call | None, frame: Frame | None, layer: int) -> bool:
    """Say whether anything may be replaced at a layer now; where not, nothing need be looked up.

    Args:
        attachment: The model's patch.
        call: The running forward.
        frame: The tables that are active; not looked at in compiled code.
        layer: The memory.
    """
    if torch.compiler.is_compiling():
        return attachment.tables_open
    if call is not None and (call.override is not None or call.replace is not None):
        return call.override is not None  # while writing, whatever tables are active
    return frame is not None and frame.has_buckets(layer)


def replaced(
    attachment: PatchState,
    call: Call,
    frame: Frame | None,
    layer: int,
    numbers: Tensor,
    rows: Tensor,
) -> Tensor:
    """Return what is read in place of a memory's own rows.

    Args:
        attachment: The model's patch.
        call: The running forward.
        frame: The tables that are active.
        layer: The memory.
        numbers: (batch, seq, heads) int64, which rows.
        rows: (batch, seq, heads, width), as the memory has them.

    Returns:
        Of the same shape, dtype and device; the same bits where nothing is replaced.
    """
    if torch.compiler.is_compiling():
        window = call.window
        if window is None:
            window = torch.zeros(call.shape, dtype=torch.int64, device=numbers.device)
        values, found = read_buckets(
            window,
            numbers,
            attachment.number,
            layer,
            rows.shape[3],
            call.rows_per_sample,
            "" if call.problem is None else str(call.problem),
        )
    elif call.override is not None:
        return call.override(layer, numbers, rows)
    elif frame is None:
        return rows
    else:
        values, found = frame.read_buckets(call, layer, numbers)
    return torch.where(found.unsqueeze(-1).to(rows.device), values.to(rows), rows)

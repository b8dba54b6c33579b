"""Reading tables within compiled code: one operator that torch.compile does not look into.

What is active, and what the tables hold, changes from call to call and from thread to thread. As an
operator, reading is looked up anew at every call, without a graph break and without compiling
again; everything around it is compiled.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engram_transformers.active import frame_of, is_disabled
from engram_transformers.banks.fetching import REPLAYED, fetch_now
from engram_transformers.banks.file_errors import OffloadError
from engram_transformers.calls import Call
from engram_transformers.errors import ExportError, HistoryError, NotPatchedError
from engram_transformers.recomputation import in_backward

if TYPE_CHECKING:
    from engram_transformers.patch_state import PatchState

_is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", lambda: False)
_numbers = itertools.count(1)
# Operators take numbers, not objects. Weak: a model that is deleted is gone from here.
_attachments: weakref.WeakValueDictionary[int, PatchState] = weakref.WeakValueDictionary()


def number_for(attachment: PatchState) -> int:
    """Return a new number that `read` finds an attachment by."""
    number = next(_numbers)
    _attachments[number] = attachment
    return number


def _attachment_of(number: int) -> PatchState:
    """Return the attachment that a number stands for, or raise if its model is gone."""
    attachment = _attachments.get(number)
    if attachment is None:
        raise NotPatchedError("The model that was compiled")
    return attachment


def _require_forward(advice: str) -> None:
    """Raise within a backward pass: what was active in its forward is not known there."""
    if in_backward():
        raise HistoryError(
            "A compiled decoder block is computed again within a backward pass, where the tables"
            f" of its forward are not known. {advice}"
        )


def _read(
    window: Tensor,
    seq: int,
    number: int,
    layer: int,
    row_dim: int,
    rows_per_sample: int,
    problem: str,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Read the rows of every position of a call; see `Frame.read`.

    Args:
        window: (batch, earlier + seq) int64, coded ids.
        seq: How many positions at the end are new.
        number: The attachment's.
        layer: The memory that reads.
        row_dim: The configuration's.
        rows_per_sample: See `Call`.
        problem: Why earlier ids are unknown; empty if they are known.
        device: Where the results go.

    Returns:
        (batch, seq, row_dim) float32 rows, and (batch, seq) bool: where one was found.
    """
    attachment = _attachment_of(number)
    _require_forward(
        "Use gradient checkpointing without torch.compile, or that of transformers 5.23 or newer,"
        " which computes the rest of the block only."
    )
    frame = frame_of(attachment)
    shape = (window.shape[0], seq)
    if frame is None or not frame.has_rows(layer):
        rows = torch.zeros(*shape, row_dim, device=device)
        return rows, torch.zeros(shape, dtype=torch.bool, device=device)
    if problem:
        raise HistoryError(problem)
    call = Call(attachment, None, window, shape, rows_per_sample=rows_per_sample)
    return frame.read(call, layer, device)


def _shapes(
    window: Tensor,
    seq: int,
    number: int,
    layer: int,
    row_dim: int,
    rows_per_sample: int,
    problem: str,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    del number, layer, rows_per_sample, problem
    if _is_exporting():  # not asked in traced code: torch 2.11 says yes there whenever it compiles
        raise ExportError()
    batch = window.shape[0]
    rows = torch.empty(batch, seq, row_dim, device=device)
    return rows, torch.empty(batch, seq, dtype=torch.bool, device=device)


# A replayed CUDA graph runs no Python, so it would read what was active when it was captured.
_TAGS = tuple(
    getattr(torch.Tag, name) for name in ("cudagraph_unsafe",) if hasattr(torch.Tag, name)
)
_OPTIONS: dict[str, Any] = {"tags": _TAGS} if _TAGS else {}
read = torch.library.custom_op(
    "engram_transformers::read",
    _read,
    mutates_args=(),
    schema="(Tensor window, SymInt seq, int number, int layer, int row_dim, int rows_per_sample,"
    " str problem, Device device) -> (Tensor, Tensor)",
    **_OPTIONS,
)
read.register_fake(_shapes)


def _read_buckets(
    window: Tensor,
    numbers: Tensor,
    number: int,
    layer: int,
    width: int,
    rows_per_sample: int,
    problem: str,
) -> tuple[Tensor, Tensor]:
    """Find the rows that tables have in place of a memory's own; see `Frame.read_buckets`.

    Args:
        window: (batch, earlier + seq) int64, coded ids.
        numbers: (batch, seq, heads) int64, the rows that are about to be read.
        number: The attachment's.
        layer: The memory that reads.
        width: Of a row.
        rows_per_sample: See `Call`.
        problem: Why earlier ids are unknown; empty if they are known.

    Returns:
        (batch, seq, heads, width) float32, and (batch, seq, heads) bool: where there is one.
    """
    attachment = _attachment_of(number)
    _require_forward("Use gradient checkpointing without torch.compile.")
    frame = frame_of(attachment)
    if frame is None or not frame.has_buckets(layer):
        values = torch.zeros(*numbers.shape, width, device=numbers.device)
        return values, torch.zeros_like(numbers, dtype=torch.bool)
    if problem:
        raise HistoryError(problem)
    shape = (numbers.shape[0], numbers.shape[1])
    call = Call(attachment, None, window, shape, rows_per_sample=rows_per_sample)
    return frame.read_buckets(call, layer, numbers)


def _bucket_shapes(
    window: Tensor,
    numbers: Tensor,
    number: int,
    layer: int,
    width: int,
    rows_per_sample: int,
    problem: str,
) -> tuple[Tensor, Tensor]:
    del window, number, layer, rows_per_sample, problem
    if _is_exporting():
        raise ExportError()
    values = torch.empty(*numbers.shape, width, device=numbers.device)
    return values, torch.empty_like(numbers, dtype=torch.bool)


read_buckets = torch.library.custom_op(
    "engram_transformers::read_buckets",
    _read_buckets,
    mutates_args=(),
    schema="(Tensor window, Tensor numbers, int number, int layer, int width,"
    " int rows_per_sample, str problem) -> (Tensor, Tensor)",
    **_OPTIONS,
)
read_buckets.register_fake(_bucket_shapes)


def _fetch_rows(
    window: Tensor,
    first: int,
    number: int,
    layer: int,
    width: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Fetch the rows of an offloaded bank.

    Args:
        window: (batch, earlier + seq) int64, coded ids.
        first: Where the new ones begin.
        number: The attachment's.
        layer: The bank's.
        width: Of what all heads contribute.
        dtype: Of the rows.
        device: Where they go.

    Returns:
        (batch, seq, width).
    """
    attachment = _attachments.get(number)
    bank = None if attachment is None else attachment.banks.get(layer)
    if bank is None or bank.offloaded is None:
        raise NotPatchedError("The model that was compiled")
    if torch.is_grad_enabled():
        bank.require_frozen()
    return fetch_now(bank.offloaded, window, first, device).to(dtype)


def _fetched_shapes(
    window: Tensor,
    first: int,
    number: int,
    layer: int,
    width: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    del number, layer
    if _is_exporting():
        raise OffloadError(REPLAYED)
    return torch.empty(window.shape[0], window.shape[1] - first, width, dtype=dtype, device=device)


fetch_rows = torch.library.custom_op(
    "engram_transformers::fetch_rows",
    _fetch_rows,
    mutates_args=(),
    schema="(Tensor window, SymInt first, int number, int layer, int width, ScalarType dtype,"
    " Device device) -> Tensor",
    **_OPTIONS,
)
fetch_rows.register_fake(_fetched_shapes)


def _banks_on(number: int, like: Tensor) -> Tensor:
    """Say whether a model's banks are on in this thread; see `engram_disabled`.

    Args:
        number: The attachment's.
        like: On the device where the result goes.

    Returns:
        () bool.
    """
    attachment = _attachment_of(number)
    on = not is_disabled(attachment)
    return torch.full((), on, dtype=torch.bool, device=like.device)


banks_on = torch.library.custom_op(
    "engram_transformers::banks_on",
    _banks_on,
    mutates_args=(),
    schema="(int number, Tensor like) -> Tensor",
    **_OPTIONS,
)
banks_on.register_fake(lambda number, like: torch.empty((), dtype=torch.bool, device=like.device))

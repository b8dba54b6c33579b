"""What is known while one forward of one model runs: per call, never on the model.

Kept per thread: a forward never gives way to another asyncio task, and torch.compile can follow a
thread-local, which it can't for a context variable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from engram_transformers.banks.calls import BankCall
from engram_transformers.coded_ids import Uncoded
from engram_transformers.errors import HistoryError


@dataclass(eq=False)
class Call:
    """One forward of a patched model.

    Attributes:
        attachment: The patch the call belongs to.
        module: The outermost module that was called.
        window: (batch, earlier + seq) int64, coded ids up to and including this call's; None if the
            call has no ids, or nothing is read. With continuous batching (tokens, earlier + 1):
            each token's own.
        shape: (batch, seq) of the new ids.
        problem: Why earlier ids are unknown; raised by the first memory that has rows to read.
        unsaved: New ids to put on the cache that the model makes itself.
        input_ids: As the module was given them.
        cache: The cache that the model was given.
        window_after: (batch, reach) int64, what a rolling window holds once the call has succeeded.
        is_paged: Whether several requests stand behind one another, as in continuous batching.
        rows_per_sample: How many batch rows each sample of the tables was seen to be expanded to.
        has_gradients: Whether gradients were enabled when the call began.
        reads_nothing: Whether no table had rows when the call began.
        visited: The layers whose memories were reached.
        replace: Set while writing: computes a block's input from what it would have been.
        banks: What the model's banks need to know; None where they don't run.
        override: Set while writing buckets: computes what is read from a layer, which of its rows
            are read, and the rows.
        looked_up: The layers whose own n-gram memories were reached.
    """

    attachment: object
    module: nn.Module | None
    window: Tensor | None
    shape: tuple[int, int]
    problem: HistoryError | None = None
    unsaved: Tensor | Uncoded | None = None
    input_ids: Tensor | None = None
    cache: object = None
    window_after: Tensor | None = None
    is_paged: bool = False
    rows_per_sample: int = 1
    has_gradients: bool = False
    reads_nothing: bool = False
    visited: set[int] = field(default_factory=set)
    replace: Callable[[int, Tensor], Tensor] | None = None
    banks: BankCall | None = None
    override: Callable[[int, Tensor, Tensor], Tensor] | None = None
    looked_up: set[int] = field(default_factory=set)


class _Stack(threading.local):
    """The running calls of one thread, the innermost last.

    The list is changed in place: torch.compile (seen in torch 2.13) loses what is assigned to a
    thread-local where it breaks a graph.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []


_RUNNING = _Stack()


def current_call(attachment: object) -> Call | None:
    """Return the innermost running call of a patch, None outside of its model's forward."""
    for call in reversed(_RUNNING.calls):
        if call.attachment is attachment:
            return call
    return None


def begin_call(call: Call) -> None:
    """Make a call the current one."""
    _RUNNING.calls.append(call)


def end_call(call: Call) -> None:
    """Forget a call, and any that an exception left above it."""
    calls = _RUNNING.calls
    for place, running in enumerate(calls):
        if running is call:
            del calls[place:]
            return

"""What is known while one forward of one model runs: per call, never on the model.

Context variables, so threads and asyncio tasks don't see each other's calls.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from engram_transformers.errors import HistoryError


@dataclass(eq=False)
class Call:
    """One forward of a patched model.

    Attributes:
        attachment: The patch the call belongs to.
        module: The outermost module that was called.
        window: (batch, earlier + seq) int64, coded ids up to and including this call's; None if the
            call has no ids.
        shape: (batch, seq) of the new ids.
        problem: Why earlier ids are unknown; raised by the first memory that has rows to read.
        unsaved: New ids to put on the cache that the model makes itself.
        cache: The cache that the model was given.
        replace: Set while writing: computes a block's input from what it would have been.
        scratch: What memories keep for each other within the call.
    """

    attachment: object
    module: nn.Module | None
    window: Tensor | None
    shape: tuple[int, int]
    problem: HistoryError | None = None
    unsaved: Tensor | None = None
    cache: object = None
    replace: Callable[[int, Tensor], Tensor] | None = None
    scratch: dict[Any, Any] = field(default_factory=dict)


_CALLS: ContextVar[tuple[Call, ...]] = ContextVar("engram_calls", default=())


def current_call(attachment: object) -> Call | None:
    """Return the innermost running call of a patch, None outside of its model's forward."""
    for call in reversed(_CALLS.get()):
        if call.attachment is attachment:
            return call
    return None


def begin_call(call: Call) -> None:
    """Make a call the current one."""
    _CALLS.set((*_CALLS.get(), call))


def end_call(call: Call) -> None:
    """Forget a call, and any that an exception left above it."""
    calls = _CALLS.get()
    if call in calls:
        _CALLS.set(calls[: calls.index(call)])

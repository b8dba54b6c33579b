"""Which process this is, where there are several."""

from __future__ import annotations

from torch import distributed


def is_shared() -> bool:
    """Say whether several processes train together."""
    return (
        distributed.is_available()
        and distributed.is_initialized()
        and distributed.get_world_size() > 1
    )


def rank() -> int:
    """Return this process's number, 0 if it is alone."""
    return distributed.get_rank() if is_shared() else 0

"""Work on many items, in several processes if asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from engram_transformers.errors import EngramError

Item = TypeVar("Item")
Found = TypeVar("Found")

_AT_ONCE = 256


class _Done(Dataset[Any]):
    """What comes of each item, or the error that is raised."""

    def __init__(self, function: Callable[[Item], Found], items: Sequence[Item]) -> None:
        self.function = function
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.function(self.items[index])
        except EngramError as error:  # a loader would raise another one
            return error


def in_order(
    function: Callable[[Item], Found],
    items: Sequence[Item],
    workers: int = 0,
    *,
    at_once: int = _AT_ONCE,
) -> list[Found]:
    """Return what a function makes of each item, in their order.

    Args:
        function: It, and what it is given and returns, can be pickled if there are workers.
        items: The items.
        workers: Processes that do it. 0: this one.
        at_once: How many items a process is given at once.

    Raises:
        EngramError: The first that the function raises.
    """
    if workers < 1:
        return [function(item) for item in items]
    loader: Any = DataLoader(
        _Done(function, items), at_once, num_workers=workers, collate_fn=_unchanged
    )
    found: list[Found] = []
    for some in loader:
        for one in some:
            if isinstance(one, EngramError):
                raise one
            found.append(one)
    return found


def _unchanged(items: list[Any]) -> list[Any]:
    return items

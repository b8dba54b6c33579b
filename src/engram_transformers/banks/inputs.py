"""What the convolutions of banks were given, of the tokens in one cache.

A short convolution looks back over positions that a cached step no longer computes. So its inputs
are kept beside the cache's token ids, and whatever happens to those happens to them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Key = tuple[int, int]
"""A layer, and which run of its block within a forward: nearly always the first, 0."""

# Small tensors, one per step; then they are joined.
_MOST_PARTS = 64


class GrownInputs:
    """Of all tokens in a cache that grows, and that can be rolled back to any length."""

    def __init__(self) -> None:
        self._parts: dict[Key, list[Tensor]] = {}

    @property
    def runs(self) -> tuple[Key, ...]:
        """The runs of blocks whose inputs are here."""
        return tuple(self._parts)

    def length(self, key: Key) -> int:
        """Return how many tokens' inputs are here."""
        return sum(part.shape[1] for part in self._parts.get(key, ()))

    def last(self, key: Key, count: int) -> Tensor:
        """Return the inputs of at most so many tokens at the end.

        Args:
            key: One of `runs`.
            count: At least 1.

        Returns:
            (batch, count or fewer, streams, hidden_size).
        """
        found: list[Tensor] = []
        for part in reversed(self._parts[key]):
            found.append(part[:, max(part.shape[1] - count, 0) :])
            count -= found[-1].shape[1]
            if count <= 0:
                break
        return found[0] if len(found) == 1 else torch.cat(found[::-1], dim=1)

    def add(self, given: Mapping[Key, Tensor], states: Mapping[Key, Tensor]) -> None:
        """Put those of a call that has succeeded behind the others.

        Args:
            given: (batch, seq, streams, hidden_size) of each run.
            states: Not needed.
        """
        del states
        for key, inputs in given.items():
            parts = [*self._parts.get(key, ()), inputs]
            # Compiled code is guarded by how many there are.
            if len(parts) > _MOST_PARTS or (torch.compiler.is_compiling() and len(parts) > 1):
                parts = [torch.cat(parts, dim=1)]
            self._parts[key] = parts

    def cut(self, length: int) -> None:
        """Forget what lies behind so many tokens."""
        for key, parts in self._parts.items():
            if self.length(key) > length:
                self._parts[key] = [torch.cat(parts, dim=1)[:, :length]]

    def moved(self, move: Callable[[Tensor], Tensor]) -> GrownInputs:
        """Return what is left after an operation on the batch."""
        other = GrownInputs()
        for key, parts in self._parts.items():
            other._parts[key] = [move(torch.cat(parts, dim=1))]
        return other

    def forget(self) -> None:
        """Do nothing: a call without inputs shows in their number."""


class RollingInputs:
    """Of the last few tokens, for caches that are never rolled back.

    Tensors of fixed shape, updated in place, so that compiled steps stay compiled.

    Nothing tells how many tokens there are: the ledger's ids do.
    """

    def __init__(self) -> None:
        self._windows: dict[Key, Tensor] = {}  # (batch, state_length, streams, hidden_size)

    @property
    def runs(self) -> tuple[Key, ...]:
        """The runs of blocks whose inputs are here."""
        return tuple(self._windows)

    def last(self, key: Key, count: int) -> Tensor:
        """Return the inputs of the last tokens; where there were fewer, anything comes first.

        Args:
            key: One of `runs`.
            count: As many as were added.
        """
        del count
        return self._windows[key]

    def add(self, given: Mapping[Key, Tensor], states: Mapping[Key, Tensor]) -> None:
        """Move on, after a call that has succeeded.

        Args:
            given: (batch, seq, streams, hidden_size) of each run.
            states: (batch, state_length, streams, hidden_size) of each: what came before.
        """
        for key, inputs in given.items():
            state, seq = states[key], inputs.shape[1]
            after = torch.cat([state, inputs.detach()], dim=1)[:, seq:]
            window = self._windows.get(key)
            if window is None or window.shape != after.shape:
                window = self._windows[key] = after.clone()
                if not torch.compiler.is_compiling():
                    torch._dynamo.mark_static_address(window)
            else:
                window.copy_(after)

    def cut(self, length: int) -> None:
        """Do nothing: such caches are not rolled back."""

    def moved(self, move: Callable[[Tensor], Tensor]) -> RollingInputs:
        """Return what is left after an operation on the batch."""
        other = RollingInputs()
        other._windows = {key: move(window) for key, window in self._windows.items()}
        return other

    def forget(self) -> None:
        """Forget all: a call has run that gave none."""
        self._windows.clear()

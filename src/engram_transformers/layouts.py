"""How a block's hidden states are laid out: where the batch, the positions and the streams are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from engram_transformers.errors import HistoryError, UnsupportedModelError

# config.model_type of models that put parallel residual streams first.
_STREAMS_FIRST = frozenset({"gemma3n", "gemma3n_text"})
# config.model_type of models that put the positions before the batch.
_POSITIONS_FIRST = frozenset({"xlnet"})
_KEYWORDS = ("hidden_states", "x", "hidden")


@dataclass(frozen=True)
class Layout:
    """What a model's blocks take as hidden states.

    One of (batch, seq, dim); (batch, seq, streams, dim) or, with the streams side by side,
    (batch, seq, streams · dim) for hyper-connections; (streams, batch, seq, dim);
    (seq, batch, dim). Every stream reads the same rows, each relative to its own scale.

    Attributes:
        model_type: `config.model_type`.
        hidden_size: Width of one stream.
    """

    model_type: str
    hidden_size: int

    def align(
        self, hidden_states: Tensor, rows: Tensor, found: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Arrange what was read so that it broadcasts against a block's hidden states.

        Args:
            hidden_states: As the block is called with.
            rows: (batch, seq, row_dim).
            found: (batch, seq) bool.

        Returns:
            The hidden states with one stream in the last dimension, rows with one in theirs, and
            found: all with leading dimensions that broadcast.

        Raises:
            HistoryError: If the positions can't be told apart.
            UnsupportedModelError: If the layout is not one of those above.
        """
        batch, seq = found.shape
        shape = tuple(hidden_states.shape)
        width = shape[-1]
        if len(shape) not in (3, 4) or width != self.hidden_size:
            if len(shape) != 3 or width % self.hidden_size:
                raise self._no_streams(shape)
            hidden_states = hidden_states.unflatten(-1, (-1, self.hidden_size))
            shape = tuple(hidden_states.shape)
        if self.model_type in _STREAMS_FIRST and len(shape) == 4:
            places, rows, found = shape[1:3], rows.unsqueeze(0), found.unsqueeze(0)
        elif self.model_type in _POSITIONS_FIRST and len(shape) == 3:
            places = (shape[1], shape[0])
            rows, found = rows.transpose(0, 1), found.transpose(0, 1)
        elif len(shape) == 4:
            places, rows, found = shape[:2], rows.unsqueeze(2), found.unsqueeze(2)
        else:
            places = shape[:2]
        if places != (batch, seq):
            raise _not_told_apart(shape, batch, seq)
        return hidden_states, rows, found

    def batch_first(self, hidden_states: Tensor) -> Tensor:
        """Return a block's hidden states as (batch, seq, ...)."""
        if self.model_type in _STREAMS_FIRST and hidden_states.ndim == 4:
            return hidden_states.permute(1, 2, 0, 3)
        if self.model_type in _POSITIONS_FIRST and hidden_states.ndim == 3:
            return hidden_states.transpose(0, 1)
        return hidden_states

    def as_called(self, hidden_states: Tensor) -> Tensor:
        """Undo `batch_first`."""
        if self.model_type in _STREAMS_FIRST and hidden_states.ndim == 4:
            return hidden_states.permute(2, 0, 1, 3)
        if self.model_type in _POSITIONS_FIRST and hidden_states.ndim == 3:
            return hidden_states.transpose(0, 1)
        return hidden_states

    def by_position(self, hidden_states: Tensor, batch: int, seq: int) -> Tensor:
        """Return a block's hidden states with a dimension for each thing.

        Args:
            hidden_states: As the block is called with.
            batch: Sequences of token ids.
            seq: Their length.

        Returns:
            (batch, seq, streams, hidden_size).

        Raises:
            HistoryError: If the positions can't be told apart.
            UnsupportedModelError: If the layout is not one of those above.
        """
        shape = tuple(hidden_states.shape)
        if len(shape) not in (3, 4) or shape[-1] % self.hidden_size:
            raise self._no_streams(shape)
        positions = self.batch_first(hidden_states)
        if len(shape) == 3:
            positions = positions.unflatten(-1, (-1, self.hidden_size))
        elif shape[-1] != self.hidden_size:
            raise self._no_streams(shape)
        if positions.shape[:2] != (batch, seq):
            raise _not_told_apart(shape, batch, seq)
        return positions

    def like(self, positions: Tensor, hidden_states: Tensor) -> Tensor:
        """Undo `by_position`.

        Args:
            positions: (batch, seq, streams, hidden_size).
            hidden_states: As the block is called with.

        Returns:
            What is in `positions`, in the shape of `hidden_states`.
        """
        flat = positions.flatten(2) if hidden_states.ndim == 3 else positions
        return self.as_called(flat).contiguous()

    def _no_streams(self, shape: tuple[int, ...]) -> UnsupportedModelError:
        return UnsupportedModelError(
            self.model_type,
            f"a decoder block was called with hidden states of shape {shape}, which hold no"
            f" streams of width {self.hidden_size}.",
        )


def _not_told_apart(shape: tuple[int, ...], batch: int, seq: int) -> HistoryError:
    return HistoryError(
        f"A decoder block got hidden states of shape {shape} for token ids of shape"
        f" {(batch, seq)}: their positions can't be told apart."
    )


def find_hidden_states(
    args: tuple[Any, ...], kwargs: dict[str, Any], model_type: str
) -> tuple[Tensor, str | None]:
    """Return the hidden states a block is called with, and their keyword if they came by one.

    Raises:
        UnsupportedModelError: If there are none.
    """
    if args and isinstance(args[0], Tensor) and args[0].is_floating_point():
        return args[0], None
    for name in _KEYWORDS:
        value = kwargs.get(name)
        if isinstance(value, Tensor):
            return value, name
    raise UnsupportedModelError(model_type, "a decoder block was called without hidden states.")


def replace_hidden_states(
    args: tuple[Any, ...], kwargs: dict[str, Any], keyword: str | None, hidden_states: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a block's arguments with other hidden states."""
    if keyword is None:
        return (hidden_states, *args[1:]), kwargs
    return args, {**kwargs, keyword: hidden_states}

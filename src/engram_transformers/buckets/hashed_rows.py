"""What a table of buckets needs of a memory: rows, found by a hash of the last few tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from torch import Tensor, nn

from engram_transformers.buckets.bank_rows import BankRows
from engram_transformers.buckets.errors import NoBucketsError
from engram_transformers.buckets.layout import BucketLayout

if TYPE_CHECKING:
    from engram_transformers.attachment import Attachment


class HashedRows(Protocol):
    """A memory of one layer that looks rows up by hash, and lets them be replaced.

    It does so in every forward: `reading.replaced` gets the numbers of the rows that each position
    is about to read, and the rows, and says what is read instead.
    """

    @property
    def layer(self) -> int:
        """The decoder block."""
        ...

    @property
    def layout(self) -> BucketLayout:
        """How many rows there are, of which heads."""
        ...

    @property
    def module(self) -> nn.Module:
        """What reads the rows; it is called with the hidden states."""
        ...

    @property
    def is_silent(self) -> bool:
        """Whether it adds exactly nothing, whatever is read. May read all rows."""
        ...

    def rows_read(self, input_ids: Tensor) -> Tensor:
        """Say which rows texts read.

        Args:
            input_ids: (batch, seq) int64 token ids, each from the beginning of a text; padding, if
                any, on the right.

        Returns:
            (batch, seq, heads) int64, on the same device.
        """
        ...

    def value(self, rows: Tensor) -> Tensor:
        """Compute what rows would add to a residual stream if the gate were open.

        Args:
            rows: (positions, heads, width) float32.

        Returns:
            (positions, hidden_size) float32.
        """
        ...


def hashed_rows_of(attachment: Attachment) -> Mapping[int, HashedRows]:
    """Return layer -> the memory whose rows tables replace: the model's banks or, without, its own.

    Args:
        attachment: The model's patch.
    """
    if attachment.banks:
        return {layer: BankRows(attachment, layer) for layer in sorted(attachment.banks)}
    return attachment.native


def require_hashed_rows(attachment: Attachment, layer: int | None) -> HashedRows:
    """Return the memory at a layer, the deepest one for None.

    Raises:
        NoBucketsError: If there is none, or it is a bank that was not trained.
    """
    memories = hashed_rows_of(attachment)
    name = type(attachment.model).__name__
    if not memories:
        raise NoBucketsError(name, "it has no bank, and no n-gram memory of its own.")
    resolved = max(memories) if layer is None else layer
    if -attachment.blocks <= resolved < 0:
        resolved += attachment.blocks
    if resolved not in memories:
        reason = f"decoder block {layer} has none, blocks that have are {sorted(memories)}."
        raise NoBucketsError(name, reason)
    if memories[resolved].is_silent:
        reason = f"the bank of decoder block {resolved} adds nothing yet: it was not trained."
        raise NoBucketsError(name, reason)
    return memories[resolved]

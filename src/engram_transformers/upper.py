"""Running only the blocks above a memory over whole sequences, without a cache.

Slower than `tail`, which also leaves out what comes before the first row, and right wherever the
blocks simply follow one another: also where the past is kept in states or in a cache of the
model's own kind.
"""

from __future__ import annotations

import dataclasses

from torch import Tensor

from engram_transformers.attachment import Attachment
from engram_transformers.batch import Batch
from engram_transformers.partial_model import PartialModel
from engram_transformers.whole import WholeModel


class UpperBlocks(WholeModel):
    """A model from a memory on, with other rows at it. The same methods as `Tail`."""

    def __init__(self, attachment: Attachment, layer: int) -> None:
        super().__init__(attachment, layer)
        self._partial = PartialModel(attachment, layer)

    def prepare(
        self,
        context: list[int],
        input_ids: Tensor,
        mask: Tensor,
        rows: Tensor,
        targets: Tensor,
        facts: Tensor,
    ) -> Batch:
        """Run sequences once and keep what the memory gets. See `Tail.prepare`."""
        batch = super().prepare(context, input_ids, mask, rows, targets, facts)
        hidden_states = self._partial.capture(batch.input_ids, **self.arguments(batch))
        hidden_states = self.attachment.layout.batch_first(hidden_states).clone()
        return dataclasses.replace(batch, hidden_states=hidden_states)

    def logits(self, batch: Batch, values: Tensor, candidates: Tensor | None) -> Tensor:
        """Compute next-token logits with rows in place. See `Tail.logits`."""
        attachment = self.attachment
        memory = attachment.memories[self.layer]

        def read() -> Tensor:
            hidden_states = attachment.layout.as_called(batch.hidden_states)
            return attachment.apply(memory, hidden_states, values, batch.rows >= 0)

        arguments = self.arguments(batch)
        return self._partial.logits(read, batch.asked, candidates, batch.input_ids, **arguments)

"""Running a whole model, with gradients for the rows alone: right for every architecture.

`tail` and `upper` run only the blocks above the memory and are many times faster, where they give
the same; see `shortcut`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engram_transformers.attachment import Attachment
from engram_transformers.batch import Batch, arrange
from engram_transformers.partial_model import run_reading, takes_positions


class WholeModel:
    """A model with other rows at one memory. The same methods as `Tail`."""

    def __init__(self, attachment: Attachment, layer: int) -> None:
        self.attachment = attachment
        self.layer = layer
        self.model: Any = attachment.model
        self._takes_positions = takes_positions(attachment)

    def run_context(self, ids: list[int]) -> list[int]:
        """Return the tokens that stand before every sequence of a batch."""
        return ids

    def prepare(
        self,
        context: list[int],
        input_ids: Tensor,
        mask: Tensor,
        rows: Tensor,
        targets: Tensor,
        facts: Tensor,
    ) -> Batch:
        """Put a context before sequences. See `Tail.prepare`."""
        ids, full_mask, positions, _ = arrange(context, input_ids, mask)
        before = len(context)
        pad = torch.nn.functional.pad
        return Batch(
            ids,
            full_mask,
            positions,
            torch.zeros(*ids.shape, 0, device=ids.device),
            pad(rows, (before, 0), value=-1),
            pad(targets, (before, 0), value=-1),
            facts,
        )

    def logits(self, batch: Batch, values: Tensor, candidates: Tensor | None) -> Tensor:
        """Compute next-token logits with rows in place. See `Tail.logits`."""
        memory = self.attachment.memories[self.layer]

        def read(layer: int, hidden_states: Tensor) -> Tensor:
            if layer != self.layer:
                return hidden_states
            # Nothing below depends on the rows.
            return self.attachment.apply(memory, hidden_states.detach(), values, batch.rows >= 0)

        arguments = self.arguments(batch)
        output = run_reading(self.attachment, self.model, read, batch.input_ids, **arguments)
        logits = output.logits[batch.asked].float()
        return logits if candidates is None else logits[:, candidates]

    def arguments(self, batch: Batch) -> dict[str, Any]:
        """Return what a model is given beside the token ids of whole sequences."""
        given: dict[str, Any] = {"attention_mask": batch.attention_mask, "use_cache": False}
        if self._takes_positions:
            given["position_ids"] = batch.position_ids
        return given

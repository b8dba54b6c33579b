"""Running only the blocks above a memory, over the last positions, with gradients for the rows.

What a block below the memory computes does not depend on the rows. So every sequence is run once;
its hidden states at the memory and the keys and values of what comes before the first row are
kept; and each step of the optimisation runs the last blocks over the last few positions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from engram_transformers.attachment import Attachment
from engram_transformers.batch import Batch, arrange
from engram_transformers.partial_model import PartialModel, takes_positions


class Context(NamedTuple):
    """What stands before every sequence of a batch.

    Attributes:
        ids: Token ids.
        cache: Of one sequence of them.
    """

    ids: list[int]
    cache: DynamicCache


class Tail:
    """The blocks of a model from a memory on, and its output head.

    Raises:
        RuntimeError: If a bank above the memory would need the tokens before those that are run.
    """

    def __init__(self, attachment: Attachment, layer: int) -> None:
        if any(above > layer for above in attachment.banks):
            raise RuntimeError("A bank above the memory reads what comes before the tail.")
        self.attachment = attachment
        self.layer = layer
        self._partial = PartialModel(attachment, layer)
        self._takes_positions = takes_positions(attachment)

    def run_context(self, ids: list[int]) -> Context:
        """Run the tokens that stand before every sequence of a batch once."""
        cache = DynamicCache()
        if ids and not self.attachment.banks:  # they need the tokens in front of what is run
            input_ids = torch.tensor([ids], device=self.attachment.device)
            _, mask, positions, _ = arrange([], input_ids, torch.ones_like(input_ids))
            self._partial.capture(input_ids, **self._arguments(mask, positions, cache))
        return Context(ids, cache)

    @torch.no_grad()
    def prepare(
        self,
        context: Context,
        input_ids: Tensor,
        mask: Tensor,
        rows: Tensor,
        targets: Tensor,
        facts: Tensor,
    ) -> Batch:
        """Run sequences once and keep what the optimisation needs.

        Args:
            context: What `run_context` returned; it is not changed.
            input_ids: (batch, length) int64, left-padded.
            mask: (batch, length) int64.
            rows: (batch, length) int64, see `Batch`.
            targets: (batch, length) int64.
            facts: (batch,) int64.

        Returns:
            The batch, cut to the positions from the first row or target on.
        """
        length, before = input_ids.shape[1], len(context.ids)
        ids, full_mask, positions, padding = arrange(context.ids, input_ids, mask)
        run = 0 if self.attachment.banks else before
        cache = _behind_padding(context, padding) if run else DynamicCache()
        hidden_states = self._partial.capture(
            ids[:, run:], **self._arguments(full_mask, positions[:, run:], cache)
        )
        if hidden_states.shape[:2] != (len(ids), ids.shape[1] - run):
            raise RuntimeError("These hidden states are not one vector per token.")
        needed = ((rows >= 0) | (targets >= 0)).any(0).nonzero()
        tail = length - int(needed[0]) if needed.numel() else 1
        upper = range(self.layer, self.attachment.blocks)
        kept = before + length - tail
        return Batch(
            ids[:, kept:],
            full_mask,
            positions[:, kept:],
            hidden_states[:, hidden_states.shape[1] - tail :].clone(),
            rows[:, length - tail :],
            targets[:, length - tail :],
            facts,
            tuple(_layer(cache, index)[0][:, :, :kept].clone() for index in upper),
            tuple(_layer(cache, index)[1][:, :, :kept].clone() for index in upper),
        )

    def logits(self, batch: Batch, values: Tensor, candidates: Tensor | None) -> Tensor:
        """Compute next-token logits with rows in place, where something is asked.

        Args:
            batch: Sequences.
            values: (batch, tail, row_dim) float32: the rows' values; ignored where none is found.
            candidates: (candidates,) int64 token ids to score; None scores the whole vocabulary.

        Returns:
            (asked, candidates or vocab) float32.
        """
        memory = self.attachment.memories[self.layer]
        cache = DynamicCache()
        count, past = batch.keys[0].shape[0], batch.keys[0].shape[2]
        if past and self.layer:
            # The blocks below are not run, but the first one's length is looked at.
            nothing = batch.keys[0].new_zeros(count, 1, past, 1)
            cache.update(nothing, nothing, 0)
        for above in range(len(batch.keys) if past else 0):
            cache.update(batch.keys[above], batch.values[above], self.layer + above)
        return self._partial.logits(
            lambda: memory(batch.hidden_states, values, batch.rows >= 0),
            batch.asked,
            candidates,
            batch.input_ids,
            **self._arguments(batch.attention_mask, batch.position_ids, cache),
        )

    def _arguments(self, mask: Tensor, positions: Tensor, cache: DynamicCache) -> dict[str, Any]:
        given: dict[str, Any] = {
            "attention_mask": mask,
            "past_key_values": cache,
            "use_cache": True,
        }
        if self._takes_positions:
            given["position_ids"] = positions
        return given


def _behind_padding(context: Context, padding: Tensor) -> DynamicCache:
    """Return a cache of a context for each sequence of a batch, behind the sequence's padding.

    As much of the context as the padding pushes out is left to be run with the sequence.

    Args:
        context: Of length `before`.
        padding: (batch, 1) int64.
    """
    cache = DynamicCache()
    before = len(context.ids)
    if before:
        place = torch.arange(before, device=padding.device)
        place = (place - padding).clamp_min(0)  # (batch, before)
        for index in range(len(context.cache.layers)):
            keys, values = _layer(context.cache, index)  # (1, heads, before, head_dim)
            if keys is not None:  # the model may pass by some blocks
                keys = keys[0][:, place].transpose(0, 1)
                cache.update(keys, values[0][:, place].transpose(0, 1), index)
    return cache


def _layer(cache: DynamicCache, index: int) -> tuple[Any, Any]:
    layer: Any = cache.layers[index]
    return layer.keys, layer.values

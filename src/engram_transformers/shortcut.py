"""Which way of running a model while writing: how little of it gives the same as all of it.

Running parts of a model looks into its cache and block outputs, which every architecture may do in
its own way. So each way is tried on a few tokens and compared.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import torch
from torch import Tensor

from engram_transformers.attachment import Attachment
from engram_transformers.sharding import is_sharded
from engram_transformers.tail import Tail
from engram_transformers.upper import UpperBlocks
from engram_transformers.whole import WholeModel

_LOGGER = logging.getLogger(__name__)
_SHORTCUTS = (Tail, UpperBlocks)
"""The fastest first."""
_LENGTH = 10
_CONTEXT = 3
_TOLERANCES = {torch.float32: 1e-3, torch.float64: 1e-3}
_HALF_TOLERANCE = 0.05


def runner_for(attachment: Attachment, layer: int) -> Tail | WholeModel:
    """Return the fastest right way to run a model with other rows at a memory.

    Args:
        attachment: The model's patch, in evaluation mode.
        layer: The memory.

    Returns:
        `Tail` or `UpperBlocks` if it agrees with the whole model on a short text, else
        `WholeModel`. Cost: once per patch and layer, a few passes over 26 tokens.
    """
    chosen = attachment.shortcuts.get(layer)
    if chosen is None:
        chosen = attachment.shortcuts[layer] = _choose(attachment, layer)
    shortcut = next((way for way in _SHORTCUTS if way.__name__ == chosen), WholeModel)
    return shortcut(attachment, layer)


def _choose(attachment: Attachment, layer: int) -> str:
    # The parts of a model that FSDP manages can't run without their whole.
    if not any(is_sharded(weight) for weight in attachment.model.parameters()):
        text = _Text.random(attachment)
        with torch.no_grad():
            (expected,) = text.logits(WholeModel(attachment, layer), text.table, None)
        for way in _SHORTCUTS:
            reason = _difference(attachment, layer, way, text, expected)
            if not reason:
                return way.__name__
            _LOGGER.info("Layer %d: %s can't be used (%s).", layer, way.__name__, reason)
    return WholeModel.__name__


class _Text(NamedTuple):
    """Two sequences that read two rows; the second one is padded."""

    context: list[int]
    ids: Tensor
    mask: Tensor
    rows: Tensor
    targets: Tensor
    table: Tensor

    @staticmethod
    def random(attachment: Attachment) -> _Text:
        generator = torch.Generator().manual_seed(0)
        vocab_size, device = attachment.canonical.numel(), attachment.device
        ids = torch.randint(0, vocab_size, (2, _LENGTH), generator=generator).to(device)
        mask = torch.ones_like(ids)
        mask[1, :2] = 0
        rows = torch.full_like(ids, -1)
        rows[:, 6], rows[:, 8] = 0, 1
        targets = torch.where(torch.arange(_LENGTH, device=device) >= 6, ids, -1)
        table = torch.randn(2, attachment.config.row_dim, generator=generator).to(device)
        return _Text(ids[0, :_CONTEXT].tolist(), ids, mask, rows, targets, table)

    def logits(
        self, runner: Tail | WholeModel, table: Tensor, *candidates: Tensor | None
    ) -> list[Tensor]:
        """Return the logits of each choice of candidates, None for all tokens."""
        batch = runner.prepare(
            runner.run_context(self.context),  # pyright: ignore[reportArgumentType]
            self.ids,
            self.mask,
            self.rows,
            self.targets,
            torch.arange(2, device=self.ids.device),
        )
        values = table[batch.rows.clamp_min(0)]
        return [runner.logits(batch, values, some) for some in candidates]


def _difference(
    attachment: Attachment, layer: int, way: type[Tail | WholeModel], text: _Text, expected: Tensor
) -> str:
    """Say why a way does not give what the whole model gives; empty if it does."""
    table = text.table.clone().requires_grad_()
    candidates = torch.arange(0, expected.shape[1], 7, device=expected.device)
    try:
        with torch.enable_grad():
            seen, some = text.logits(way(attachment, layer), table, None, candidates)
            torch.autograd.grad(seen.sum() + some.sum(), table)  # as writing does
    except Exception as error:  # whatever another architecture's modules raise when run in parts
        return f"{type(error).__name__}: {error}"
    dtype = next(attachment.model.parameters()).dtype
    tolerance = _TOLERANCES.get(dtype, _HALF_TOLERANCE) * float(expected.abs().max())
    for one, other in ((seen, expected), (some, expected[:, candidates])):
        if one.shape != other.shape:
            return f"its logits have the shape {tuple(one.shape)}, not {tuple(other.shape)}"
        off = float((one.detach() - other).abs().max())
        if not off <= tolerance:
            return f"its logits are off by {off:.2g}"
    return ""

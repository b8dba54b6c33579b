"""Losses in nats, token by token, and their means over kinds of tokens."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_AT_ONCE = 8192  # tokens of a forward


@torch.no_grad()
def token_losses(model: Any, ids: Tensor) -> Tensor:
    """Return the surprise at each token but a block's first.

    Args:
        model: In evaluation mode.
        ids: (blocks, length) int64.

    Returns:
        (blocks, length - 1) float32, on the CPU.
    """
    parts: list[Tensor] = []
    for part in ids.split(max(1, _AT_ONCE // ids.shape[1])):
        part = part.to(model.device)
        logits = model(input_ids=part, use_cache=False).logits[:, :-1].float()
        gold = part[:, 1:]
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), gold.flatten(), reduction="none"
        )
        parts.append(losses.view(gold.shape))
    return torch.cat(parts).cpu()


def mean(losses: Tensor, kept: Tensor | None = None) -> float | None:
    """Return the mean of some losses; None where there are none."""
    chosen = losses if kept is None else losses[kept]
    return float(chosen.double().mean()) if chosen.numel() else None


def spread(values: Sequence[float]) -> dict[str, float | int]:
    """Return mean, least, greatest and number of what the seeds gave."""
    return {
        "mean": statistics.fmean(values),
        "min": min(values),
        "max": max(values),
        "n": len(values),
    }


def shown(values: Sequence[float | None], *, sign: bool = False) -> str:
    """Return the mean of what the seeds gave, with the least and the greatest."""
    found = [value for value in values if value is not None]
    if not found:
        return "none"
    form = "+.4f" if sign else ".4f"
    one = spread(found)
    if one["n"] == 1:
        return f"{one['mean']:{form}} (n = 1)"
    return f"{one['mean']:{form}} ({one['min']:{form}} to {one['max']:{form}})"

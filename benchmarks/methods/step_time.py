"""How long a model takes to read a question and to say a token, against the bare model."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from benchmarks import asking
from benchmarks.common import spread, timed
from benchmarks.methods.asked import Asked


def against_bare(
    method: Asked, bare: Any, prompts: Sequence[str], *, rounds: int, steps: int, seed: int
) -> dict[str, Any]:
    """Time a batch of questions with a method and without, in turn.

    What a method tells the model is read with every question: nothing is kept between requests.

    Args:
        method: A method that knows some facts.
        bare: The model without any, another object with the same weights.
        prompts: The batch.
        rounds: How often; one more warms up.
        steps: Tokens said in each.
        seed: Of the order.

    Returns:
        Ratios of the medians of each round, over rounds; the first token includes finding out
        what to tell.
    """
    device = method.model.device
    order = random.Random(seed)
    ratios: dict[str, list[float]] = {"first_token": [], "step": []}
    base: dict[str, list[float]] = {"first_token": [], "step": []}
    for number in range(rounds + 1):
        taken: dict[str, tuple[float, float]] = {}
        sides = ["bare", "method"]
        order.shuffle(sides)
        for side in sides:
            if side == "bare":
                taken[side] = _say(bare, method.tokenizer, list(prompts), steps, device, 0.0)
            else:
                seconds, texts = timed(device, lambda: method.texts(prompts))
                with method.active():
                    taken[side] = _say(
                        method.model, method.tokenizer, texts, steps, device, seconds
                    )
        if number:
            for place, name in enumerate(ratios):
                ratios[name].append(taken["method"][place] / taken["bare"][place])
                base[name].append(taken["bare"][place])
    return {
        "batch": len(prompts),
        "steps": steps,
        **{f"{name}_ratio": spread(values) for name, values in ratios.items()},
        **{f"bare_{name}_seconds": spread(values) for name, values in base.items()},
    }


@torch.inference_mode()
def _say(
    model: Any,
    tokenizer: Any,
    texts: list[str],
    steps: int,
    device: torch.device,
    before: float,
) -> tuple[float, float]:
    """Return the seconds to the first token, and the median of those of each one after it."""
    cache = DynamicCache(config=model.config)
    inputs = asking.encode(tokenizer, texts).to(device)
    mask = inputs["attention_mask"]

    def call(ids: Any) -> Any:
        nonlocal mask
        logits = model(
            input_ids=ids, attention_mask=mask, past_key_values=cache, logits_to_keep=1
        ).logits
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        return logits[:, -1].argmax(-1, keepdim=True)

    first, ids = timed(device, lambda: call(inputs["input_ids"]))
    seconds: list[float] = []
    for _ in range(steps):
        taken, ids = timed(device, lambda ids=ids: call(ids))
        seconds.append(taken)
    return before + first, statistics.median(seconds)

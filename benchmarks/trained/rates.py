"""The learning rate of each condition: the best of a few, on texts used for nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.trained.conditions import Condition
from engram_transformers.training.errors import NonFiniteError


def choose_rates(
    everything: Sequence[Condition],
    rates: Sequence[float],
    trial: Callable[[Condition, float], float],
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Try every rate with each condition that has a rate of its own.

    Args:
        everything: Conditions.
        rates: To be tried.
        trial: Trains with a rate and returns the loss; one that is no number, or training that is
            stopped by one, counts as worse than any other.

    Returns:
        The best rate by the condition's name; and condition, rate and loss of all trials, the loss
        None where it was no number.

    Raises:
        ValueError: If no rate gives a number.
    """
    tried: list[dict[str, Any]] = []
    best: dict[str, float] = {}
    for condition in everything:
        if condition.rate_of != condition.name:
            continue
        found: list[tuple[float, float]] = []
        for rate in rates:
            try:
                loss = trial(condition, rate)
            except NonFiniteError:
                loss = math.nan
            if math.isfinite(loss):
                found.append((loss, rate))
            kept = loss if math.isfinite(loss) else None
            tried.append({"condition": condition.name, "learning_rate": rate, "loss": kept})
            print(f"{condition.name} at {rate:g}: {loss:.4f} nats per token")
        if not found:
            raise ValueError(f"No learning rate of {list(rates)} trains {condition.name}.")
        best[condition.name] = min(found)[1]
    return best, tried

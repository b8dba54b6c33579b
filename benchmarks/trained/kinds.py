"""Kinds of tokens: what may have been learnt by heart, and what must be read from the context.

Two questions make four kinds. Does the token go on with a name that tokens before it began
(`Blocks.in_name`)? And did the n-gram that it ends, the token itself included, occur in training so
many times at least, or never? N-grams are one token longer than those that the bank reads, which
end before the token. What occurred, but less often, is of no kind.
"""

from __future__ import annotations

from torch import Tensor

from benchmarks.trained.losses import mean

FACTS = "names, seen"
READING = "others, never seen"
KINDS = (FACTS, "names, never seen", "others, seen", READING)


def kinds(in_name: Tensor, times_seen: Tensor, often: int) -> dict[str, Tensor]:
    """Return where the tokens of each kind are.

    Args:
        in_name: (blocks, length) bool.
        times_seen: (blocks, length) int64, of the n-grams; -1 where a block has none yet.
        often: Times that make an n-gram a seen one.

    Returns:
        Kind -> (blocks, length - 1) bool, as losses stand: without the first token.
    """
    in_name, times_seen = in_name[:, 1:], times_seen[:, 1:]
    seen, never = times_seen >= often, times_seen == 0
    masks = (in_name & seen, in_name & never, ~in_name & seen, ~in_name & never)
    return dict(zip(KINDS, masks, strict=True))


def by_kind(losses: Tensor, masks: dict[str, Tensor]) -> dict[str, float | None]:
    """Return the mean loss of each kind; None where there is no such token."""
    return {kind: mean(losses, mask) for kind, mask in masks.items()}


def tokens(masks: dict[str, Tensor]) -> dict[str, int]:
    """Return how many tokens each kind has."""
    return {kind: int(mask.sum()) for kind, mask in masks.items()}

"""What the skill is trained by: losses at some positions of a batch."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


def logits_at(
    model: nn.Module, head: nn.Module, inputs: dict[str, Tensor], positions: Tensor
) -> Tensor:
    """Return a model's logits at some positions only: most of an example is not learned.

    Args:
        model: A causal LM, wrapped or not.
        head: Its output embeddings.
        inputs: `input_ids` and `attention_mask`, (batch, seq) int64.
        positions: (count,) int64, of the batch laid out as one text: row * seq + column.

    Returns:
        (count, vocab).
    """
    any_model: Any = model

    def select(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden_states = arguments[0]  # (batch, seq, dim)
        return (hidden_states.flatten(0, 1)[positions][None], *arguments[1:])

    # A hook, since whatever wraps the model (data parallelism, mixed precision) must be run whole.
    with head.register_forward_pre_hook(select):
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        return any_model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0]


def answer_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean loss of what is learned, in nats per token; 0 where nothing is.

    Args:
        logits: (learned, vocab).
        targets: (learned,) int64.
    """
    if not targets.numel():
        return logits.sum() * 0.0
    return functional.cross_entropy(logits.float(), targets)


def divergence(logits: Tensor, base: Tensor) -> Tensor:
    """Return the mean divergence from the base model's predictions, in nats per token.

    Args:
        logits: (tokens, vocab) with the adapter.
        base: (tokens, vocab) without.
    """
    ours = functional.log_softmax(logits.float(), dim=-1)
    theirs = functional.log_softmax(base.float(), dim=-1)
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)

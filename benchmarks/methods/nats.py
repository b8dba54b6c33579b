"""What a method does to text that has nothing to do with any fact, in nats per token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import asking
from benchmarks.methods.asked import Asked
from benchmarks.methods.forms import beside
from benchmarks.methods.prefix import tail_logits


class Moved(NamedTuple):
    """How much unrelated sentences are harder to read with a method than without.

    Attributes:
        change: Per sentence, mean nats per token with the method less those without.
        equal: Per sentence, whether all logits are the same bits.
    """

    change: list[float]
    equal: list[bool]

    def summary(self) -> dict[str, Any]:
        """Return the figures of a table."""
        return {
            "sentences": len(self.change),
            "mean": sum(self.change) / len(self.change),
            "mean_absolute": sum(map(abs, self.change)) / len(self.change),
            "max": max(self.change),
            "bit_identical": sum(self.equal),
        }


def moved(method: Asked, bare: Any, sentences: Sequence[str]) -> Moved:
    """Read sentences with a method and with the bare model, side by side.

    What a method tells the model stands before the sentence, which alone is counted; its first
    token, which follows nothing in the bare model, is not.
    """
    tokenizer = method.tokenizer
    own = tokenizer(list(sentences), add_special_tokens=False)["input_ids"]
    without = asking.ids_of(tokenizer, sentences)
    texts = [
        beside(text, told) for text, told in zip(sentences, method.told(sentences), strict=True)
    ]
    with_method = asking.ids_of(tokenizer, texts)
    for ids, rows in zip(own, with_method, strict=True):
        if rows[-len(ids) :] != ids:
            raise ValueError("What is told merges with the text behind it.")
    keep = max(map(len, own))
    change = [0.0] * len(own)
    equal = [False] * len(own)
    if with_method == without:  # the same batches, so logits can be compared bit by bit
        with method.active():
            pairs = zip(
                tail_logits(bare, tokenizer, without, keep, share=False),
                tail_logits(method.model, tokenizer, without, keep, share=False),
                strict=True,
            )
            for base, seen in pairs:
                for number, before, after in zip(
                    base.numbers, base.logits, seen.logits, strict=True
                ):
                    before, after = (logits[-len(own[number]) :] for logits in (before, after))
                    change[number] = _nats(after, own[number]) - _nats(before, own[number])
                    equal[number] = torch.equal(before, after)
        return Moved(change, equal)
    for part in tail_logits(bare, tokenizer, without, keep, share=False):
        for number, logits in zip(part.numbers, part.logits, strict=True):
            change[number] -= _nats(logits, own[number])
    with method.active():
        for part in tail_logits(method.model, tokenizer, with_method, keep, share=method.shares):
            for number, logits in zip(part.numbers, part.logits, strict=True):
                change[number] += _nats(logits, own[number])
    return Moved(change, equal)


def _nats(logits: Tensor, ids: Sequence[int]) -> float:
    """Return the mean surprise at a sentence's tokens but the first."""
    gold = torch.tensor(ids[1:], device=logits.device).unsqueeze(1)
    scored = logits[-len(ids) : -1].float().log_softmax(-1).gather(1, gold)
    return -float(scored.double().mean())

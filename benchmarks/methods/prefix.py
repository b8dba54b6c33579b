"""Asking many questions after one long text, which is run through the model once for all."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from benchmarks import asking
from benchmarks.asking import Question

LEAST = 128
"""Shorter beginnings are not worth a cache."""


class Part(NamedTuple):
    """Some sequences, run through the model.

    Attributes:
        numbers: Which.
        ids: (batch, length) their last ids, padding on the left.
        logits: (batch, keep, vocab) at the last positions.
    """

    numbers: list[int]
    ids: Tensor
    logits: Tensor


class Rows:
    """Sequences of token ids; what they all begin with is run once, if it is long.

    Padding stands between that beginning and the rest of shorter sequences, hidden by the mask and
    not counted by the positions. Where a model's attention looks back a fixed number of places
    there is none: only sequences of one length are run together.
    """

    def __init__(
        self, model: Any, rows: Sequence[Sequence[int]], *, share: bool, leave: int = 1
    ) -> None:
        self.model = model
        self.rows = rows
        shared = shared_length(rows, leave) if share else 0
        self.shared = shared if shared >= LEAST else 0
        self.cache: Any = None
        self.alike = False
        if self.shared:
            self.cache = DynamicCache(config=model.config)
            ids = torch.tensor([rows[0][: self.shared]], device=model.device)
            with torch.inference_mode():
                model(input_ids=ids, past_key_values=self.cache, logits_to_keep=1)
            self.alike = any(getattr(layer, "is_sliding", False) for layer in self.cache.layers)

    def batches(self, more: int) -> Iterator[list[int]]:
        """Yield the numbers of sequences of alike length, as many as a device takes.

        Args:
            more: What each costs besides its ids, in tokens.
        """
        order = sorted(range(len(self.rows)), key=self._length)
        costs = [len(row) + more for row in self.rows]
        key = self._length if self.alike else lambda _: 0
        for _, group in groupby(order, key=key):
            yield from asking.batches(list(group), costs, self.model.device)

    def inputs(self, numbers: Sequence[int], pad: int) -> dict[str, Any]:
        """Return ids, mask and cache of some sequences, as `generate` takes them."""
        rests = [self.rows[i][self.shared :] for i in numbers]
        longest = max(map(len, rests))
        device = self.model.device
        ids = torch.tensor([[pad] * (longest - len(r)) + list(r) for r in rests], device=device)
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rests], device=device)
        if not self.shared:
            return {"input_ids": ids, "attention_mask": mask}
        before = torch.tensor([list(self.rows[0][: self.shared])], device=device)
        before = before.expand(len(ids), -1)
        cache = copy.deepcopy(self.cache)
        cache.batch_repeat_interleave(len(ids))
        return {
            "input_ids": torch.cat([before, ids], 1),
            "attention_mask": torch.cat([torch.ones_like(before), mask], 1),
            "past_key_values": cache,
        }

    def _length(self, number: int) -> int:
        return len(self.rows[number])


def shared_length(rows: Sequence[Sequence[int]], leave: int) -> int:
    """Return how many ids all sequences begin with, leaving some of each."""
    shortest = max(min(map(len, rows)) - leave, 0)
    first = rows[0]
    for place in range(shortest):
        if any(row[place] != first[place] for row in rows):
            return place
    return shortest


@torch.inference_mode()
def generate(model: Any, tokenizer: Any, prompts: Sequence[str], tokens: int) -> list[str]:
    """Continue prompts as `asking.generate` does, what they begin with run once."""
    rows = Rows(model, asking.ids_of(tokenizer, prompts), share=True)
    if not rows.shared:
        return asking.generate(model, tokenizer, prompts, tokens)
    said = [""] * len(prompts)
    for numbers in rows.batches(tokens):
        inputs = rows.inputs(numbers, tokenizer.pad_token_id)
        output = model.generate(
            **inputs, max_new_tokens=tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
        )
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :])
        for number, text in zip(numbers, texts, strict=True):
            said[number] = text
    return said


def teacher_forced(
    model: Any, tokenizer: Any, questions: Sequence[Question]
) -> tuple[list[bool], list[bool]]:
    """Run prompts with their answers as `asking.teacher_forced` does."""
    pairs = asking.with_answers(tokenizer, questions)
    whole = [False] * len(pairs)
    first = [False] * len(pairs)
    keep = max(len(answer) for _, answer in pairs) + 1
    rows = [prompt + answer for prompt, answer in pairs]
    for part in tail_logits(model, tokenizer, rows, keep, share=True):
        likeliest = part.logits.argmax(-1).tolist()
        for number, found in zip(part.numbers, likeliest, strict=True):
            answer = pairs[number][1]
            said = found[-len(answer) - 1 : -1]
            whole[number] = said == answer
            first[number] = said[0] == answer[0]
    return whole, first


@torch.inference_mode()
def tail_logits(
    model: Any, tokenizer: Any, rows: Sequence[Sequence[int]], keep: int, *, share: bool
) -> Iterator[Part]:
    """Yield the logits at the last `keep` positions of sequences, batch by batch."""
    prepared = Rows(model, rows, share=share, leave=keep)
    counts = takes_positions(model)
    for numbers in prepared.batches(64 * keep):  # a row of logits is as dear as many hidden states
        inputs = prepared.inputs(numbers, tokenizer.pad_token_id)
        if counts:
            positions = (inputs["attention_mask"].cumsum(1) - 1).clamp_min(0)
            inputs["position_ids"] = positions[:, prepared.shared :]
        ids = inputs["input_ids"] = inputs["input_ids"][:, prepared.shared :]
        found = model(logits_to_keep=min(keep, ids.shape[1]), **inputs)
        yield Part(numbers, ids, found.logits)


def takes_positions(model: Any) -> bool:
    """Say whether a model is told positions; state-space models, for one, are not."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "position_ids" in inspect.signature(inner.forward).parameters

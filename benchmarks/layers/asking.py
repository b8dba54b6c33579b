"""Ask a model in a chat: as it is, or with the skill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from benchmarks.layers.scoring import Said
from engram_transformers import Answer, UserTable, answer, use_tables
from engram_transformers.errors import AnswerError
from engram_transformers.evaluation import left_padded
from engram_transformers.sequences import Encoder
from engram_transformers.skill.traces import forms_of, question_ids

TOKENS = 48
"""A model without the skill may say so many to a question."""
BEGINNING = 16
"""The published metric looks at so many of them."""

Entries = Sequence[UserTable | None] | None
"""The table that each question is asked with; None for a model that has no memories."""


def batch_of(device: torch.device) -> int:
    """Return how many questions a device takes at once."""
    return 384 if device.type == "cuda" else 32


def prompts_of(tokenizer: Any, questions: Sequence[str]) -> list[list[int]]:
    """Return the ids that are given for questions: the same form for every condition."""
    encoder = Encoder(tokenizer)
    form = forms_of(tokenizer)[0]
    return [question_ids(encoder, question, form) for question in questions]


def told(lines: Sequence[str], question: str) -> str:
    """Return a question behind lines that the model is told in the same message."""
    return "\n".join([*lines, "", question]) if lines else question


def added_tokens(tokenizer: Any, texts: Sequence[str], questions: Sequence[str]) -> float:
    """Return how many tokens longer texts are than the bare questions, on average."""
    lengths = [sum(map(len, prompts_of(tokenizer, one))) for one in (texts, questions)]
    return (lengths[0] - lengths[1]) / max(len(questions), 1)


@torch.inference_mode()
def say(model: Any, tokenizer: Any, texts: Sequence[str], entries: Entries = None) -> list[Said]:
    """Ask greedily; the answer is the whole first line."""
    prompts = prompts_of(tokenizer, texts)
    end = tokenizer.eos_token_id
    said = [Said(None)] * len(texts)
    for part in _batches(prompts, model.device):
        ids, mask = left_padded([prompts[i] for i in part], model.device)
        tables = nullcontext() if entries is None else use_tables(model, [entries[i] for i in part])
        with tables:
            output = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=TOKENS,
                do_sample=False,
                eos_token_id=end,
                pad_token_id=end,
            )
        for i, row in zip(part, output[:, ids.shape[1] :].tolist(), strict=True):
            own = row[: row.index(end)] if end in row else row
            text, begins = (
                tokenizer.decode(one, skip_special_tokens=True) for one in (own, own[:BEGINNING])
            )
            line = text.strip().partition("\n")[0].strip()
            said[i] = Said(line, begins=begins, tokens=len(own))
    return said


def say_with_skill(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    entries: Sequence[UserTable | None],
    *,
    calculate: bool = False,
) -> list[Said]:
    """Ask a model that has the skill; an answer that never comes is None."""
    lengths = prompts_of(tokenizer, texts)
    said = [Said(None)] * len(texts)
    for part in _batches(lengths, model.device):
        try:
            found: Sequence[object] = answer(
                model,
                tokenizer,
                [texts[i] for i in part],
                [entries[i] for i in part],
                calculate=calculate,
            )
        except AnswerError as error:
            found = error.answers
        for i, one in zip(part, found, strict=True):
            if isinstance(one, Answer):
                tokens = len(tokenizer(f"{one.recited} {one.text}")["input_ids"])
                said[i] = Said(one.text, one.recited, is_known=one.is_known, tokens=tokens)
    return said


def _batches(prompts: Sequence[Sequence[int]], device: torch.device) -> Iterator[list[int]]:
    """Yield the numbers of prompts, alike ones together."""
    size = batch_of(device)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), size):
        yield order[start : start + size]

"""Keys and values as a model is given them: to learn, to be asked, and to be asked otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.asking import Question
from benchmarks.chats import end_of_turn, has_template, rendered, with_turns
from benchmarks.exact_match import Pair, as_chat
from benchmarks.methods import KnownFact
from benchmarks.methods.fitting import in_tokens

_NOT_ASKED = -100
_AT_ONCE = 128


class Keys(NamedTuple):
    """Pairs with each key once.

    Attributes:
        pairs: In the order in which keys came first; each with the value that came last.
        with_several_values: How many keys came with more than one.
    """

    pairs: list[Pair]
    with_several_values: int


class Example(NamedTuple):
    """A pair in tokens.

    Attributes:
        ids: The prompt, the answer, its stop, and its end.
        answer: How many ids are the answer and its stop.
        end: How many ids come behind them.
    """

    ids: list[int]
    answer: int
    end: int


def one_value_each(pairs: Sequence[Pair]) -> Keys:
    """Take each key once: nobody can be asked for two values of it."""
    latest: dict[str, Pair] = {}
    several: set[str] = set()
    for pair in pairs:
        before = latest.get(pair.key)
        if before is not None and before.value != pair.value:
            several.add(pair.key)
        latest[pair.key] = pair
    return Keys(list(latest.values()), len(several))


def questions(tokenizer: Any, pairs: Sequence[Pair], form: str) -> list[Question]:
    """Return each key as the model is given it.

    Args:
        tokenizer: With a chat template, if the form is "chat".
        pairs: Keys and values.
        form: "chat", a user's message; or "text", the bare key.
    """
    if form == "text":
        return [Question(pair.key, pair.value) for pair in pairs]
    return [Question(rendered(tokenizer, as_chat(pair.key)), pair.value) for pair in pairs]


def asked_otherwise(tokenizer: Any, pairs: Sequence[Pair], form: str) -> dict[str, list[Question]]:
    """Return the same pairs in prompts that nothing was trained or written with.

    Args:
        tokenizer: The model's.
        pairs: Keys and values.
        form: The one that they were trained in.

    Returns:
        What it is -> a question for each pair.
    """
    if form == "text":
        prompts = {
            "after a sentence": [f"We looked this up again yesterday. {p.key}" for p in pairs],
            "as a question": [f"Question: {p.key}\nAnswer:" for p in pairs],
        }
        if has_template(tokenizer):
            prompts["in a chat"] = [rendered(tokenizer, as_chat(p.key)) for p in pairs]
    else:
        prompts = {
            "after another turn": [rendered(tokenizer, with_turns(p.key, 1)) for p in pairs],
            "as a question": [rendered(tokenizer, as_chat(f"What is {p.key}?")) for p in pairs],
            "as bare text": [p.key for p in pairs],
        }
    return {
        name: [Question(prompt, p.value) for prompt, p in zip(these, pairs, strict=True)]
        for name, these in prompts.items()
    }


def examples(tokenizer: Any, asked: Sequence[Question], form: str) -> list[Example]:
    """Return what is trained on: each prompt, its answer, a full stop, and an end.

    Behind its stop an answer may go on ("4471.50"), and then counts as another one. `write` sees to
    that; so what is trained must be told where to end: with the line, or in a chat with the turn.
    """
    ends = {"text": "\n", "chat": end_of_turn(tokenizer) if form == "chat" else ""}
    end: list[int] = tokenizer(ends[form], add_special_tokens=False)["input_ids"]
    rows = in_tokens(tokenizer, [KnownFact(*question) for question in asked])
    return [Example(row.ids + end, row.answer, len(end)) for row in rows]


def endings(rows: Sequence[Example], order: int) -> int:
    """Return how many different n-grams prompts end with.

    It is all that a bank reads of a key where the answer begins; what else tells keys apart must
    come to that place through the base.

    Args:
        rows: Examples.
        order: Of the n-grams: a bank's longest.
    """
    prompts = [row.ids[: len(row.ids) - row.answer - row.end] for row in rows]
    return len({tuple(ids[-order:]) for ids in prompts})


class Answers:
    """Makes batches of examples, in which answers with their stops and ends alone are to be said.

    Args:
        pad: The id behind shorter examples, which no position sees.
    """

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, rows: Sequence[Example]) -> dict[str, Tensor]:
        """Return `input_ids`, `attention_mask` and `labels`, each (batch, longest) int64."""
        longest = max(len(row.ids) for row in rows)
        ids = torch.full((len(rows), longest), self.pad)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, _NOT_ASKED)
        for number, row in enumerate(rows):
            length = len(row.ids)
            start = length - row.answer - row.end
            ids[number, :length] = torch.tensor(row.ids)
            mask[number, :length] = 1
            labels[number, start:length] = ids[number, start:length]
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}

    @torch.no_grad()
    def loss(self, model: Any, rows: Sequence[Example]) -> float:
        """Return the surprise at tokens of answers and stops, in nats per token.

        What comes behind a stop is left out: a table leaves that to the model where it can.

        Args:
            model: In evaluation mode.
            rows: Examples.
        """
        total = torch.zeros((), dtype=torch.float64, device=model.device)
        cut = [Example(row.ids[: len(row.ids) - row.end], row.answer, 0) for row in rows]
        ordered = sorted(cut, key=lambda row: len(row.ids))
        for start in range(0, len(ordered), _AT_ONCE):
            batch = self(ordered[start : start + _AT_ONCE])
            gold = batch.pop("labels")[:, 1:]
            asked = gold != _NOT_ASKED
            inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
            logits = model(**inputs, use_cache=False).logits[:, :-1][asked.to(model.device)]
            total += torch.nn.functional.cross_entropy(
                logits.float(), gold[asked].to(model.device), reduction="sum"
            )
        return float(total) / sum(row.answer for row in rows)

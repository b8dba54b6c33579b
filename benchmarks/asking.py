"""Ask a model: whole answers by free generation, the same under teacher forcing, first tokens."""

from __future__ import annotations

import inspect
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch

STOP = "."
ENDS = (".", "!", "?", "…", "。", "！", "？")
"""An answer that ends like this ends by itself: nothing is written behind it."""

_END = re.compile(r" *(\.(?!\w)|[。！？]|\n|<[|/]?\w+(?:[ _]\w+)*\|?>)")
"""A full stop that nothing goes on from, the end of a line, or a special token."""


class Question(NamedTuple):
    """What is asked and what is to be said.

    Attributes:
        prompt: The text up to the answer, chat templates applied.
        answer: The whole answer, without its stop.
    """

    prompt: str
    answer: str


class Recall(NamedTuple):
    """How many questions are answered, by protocol; each is a list of one bool per question.

    Attributes:
        whole: The whole answer is said by free greedy generation and ends there.
        forced: Each of its tokens is the likeliest, given the right ones before it.
        first: Its first token is.
    """

    whole: list[bool]
    forced: list[bool]
    first: list[bool]

    def shares(self) -> dict[str, float]:
        """Return the share of each, 0 to 1."""
        return {name: sum(flags) / max(len(flags), 1) for name, flags in self._asdict().items()}

    def counts(self) -> dict[str, int]:
        """Return how many were asked, and how many of them were answered by each protocol."""
        return {"asked": len(self.whole), **{n: sum(flags) for n, flags in self._asdict().items()}}


Active = Callable[[list[int]], AbstractContextManager[Any]]
"""What has to be active while a batch is run, given the numbers of its questions, in its order."""


def recall(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    context: str = "",
    *,
    active: Active = nullcontext,
) -> Recall:
    """Ask by all protocols, after a context."""
    asked = [Question(context + q.prompt, q.answer) for q in questions]
    prompts = [q.prompt for q in asked]
    said = generate(model, tokenizer, prompts, lengths_of(tokenizer, asked), active=active)
    whole = [is_whole(text, q.answer) for text, q in zip(said, asked, strict=True)]
    forced, first = teacher_forced(model, tokenizer, asked, active=active)
    return Recall(whole, forced, first)


def is_whole(said: str, answer: str) -> bool:
    """Say whether what a model says is the answer and ends there, and not just begins like it.

    An answer ends with a full stop, a line, or a special token such as the end of a turn. A stop
    that goes on is none: "12.50" is not the answer "12", nor "notes.txt" the answer "notes".
    """
    expected = answer.strip()
    said = said.lstrip()
    if not said.startswith(expected):
        return False
    return expected.endswith(ENDS) or bool(_END.match(said, len(expected)))


def tokens_of(tokenizer: Any, questions: Sequence[Question]) -> int:
    """Return how many tokens the longest answer can take, with its stop."""
    return max(lengths_of(tokenizer, questions))


def lengths_of(tokenizer: Any, questions: Sequence[Question]) -> list[int]:
    """Return how many tokens each answer can take, with its stop and what tells if it goes on."""
    answers = [f" {q.answer.strip()}{STOP}" for q in questions]
    if not answers:
        return []
    return [len(ids) + 2 for ids in tokenizer(answers, add_special_tokens=False)["input_ids"]]


@torch.inference_mode()
def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    tokens: int | Sequence[int],
    batch: int | None = None,
    active: Active = nullcontext,
) -> list[str]:
    """Continue prompts by cached greedy generation; special tokens are part of what is returned.

    Prompts are given as they are: a tokenizer adds what it puts before a text (BOS) unless the
    prompt has it already, as chat templates write it.

    Args:
        model: The model.
        tokenizer: Its tokenizer, padding on the left.
        prompts: What to continue.
        tokens: So many tokens at least, or so many for each prompt.
        batch: So many prompts at once; None leaves it to their length and the device.
        active: What has to be active meanwhile; batches are in an order of their own.

    Returns:
        What is said after each prompt.
    """
    wanted = [tokens] * len(prompts) if isinstance(tokens, int) else list(tokens)
    said = [""] * len(prompts)
    lengths = [len(ids) for ids in ids_of(tokenizer, prompts)]
    # Alike answers together, so that little is generated in vain.
    order = sorted(range(len(prompts)), key=lambda i: (wanted[i], lengths[i]))
    costs = [n + w for n, w in zip(lengths, wanted, strict=True)]
    for part in batches(order, costs, model.device, batch):
        inputs = encode(tokenizer, [prompts[i] for i in part]).to(model.device)
        with active(part):
            output = model.generate(
                **inputs,
                max_new_tokens=max(wanted[i] for i in part),
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :])
        for i, text in zip(part, texts, strict=True):
            said[i] = text
    return said


def batches(
    order: Sequence[int], tokens: Sequence[int], device: torch.device, most: int | None = None
) -> Iterator[list[int]]:
    """Cut a list of numbers into batches that a device takes at once.

    Args:
        order: The numbers.
        tokens: The tokens that each takes, by number.
        device: A GPU takes many: a pass costs it the same whatever the batch.
        most: In a batch; None leaves it to the device.
    """
    rows, budget = (512, 1 << 16) if device.type == "cuda" else (64, 1 << 13)
    rows = most or rows
    part: list[int] = []
    longest = 0
    for i in order:
        longest = max(longest, tokens[i])
        if part and (len(part) >= rows or longest * (len(part) + 1) > budget):
            yield part
            part, longest = [], tokens[i]
        part.append(i)
    if part:
        yield part


def encode(tokenizer: Any, texts: Sequence[str]) -> Any:
    """Return a padded batch; padding on the left, BOS once."""
    add = not _is_templated(tokenizer, texts)
    return tokenizer(list(texts), return_tensors="pt", padding=True, add_special_tokens=add)


def ids_of(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Return each text's ids, BOS once."""
    if not texts:
        return []
    add = not _is_templated(tokenizer, texts)
    return tokenizer(list(texts), add_special_tokens=add)["input_ids"]


def _is_templated(tokenizer: Any, texts: Sequence[str]) -> bool:
    bos = tokenizer.bos_token
    return bool(bos) and all(text.startswith(bos) for text in texts)


@torch.inference_mode()
def teacher_forced(
    model: Any,
    tokenizer: Any,
    questions: Sequence[Question],
    batch: int | None = None,
    active: Active = nullcontext,
) -> tuple[list[bool], list[bool]]:
    """Run prompts with their answers: are all answer tokens the likeliest, and is the first?"""
    whole = [False] * len(questions)
    first = [False] * len(questions)
    rows = with_answers(tokenizer, questions)
    order = sorted(range(len(rows)), key=lambda i: (len(rows[i][1]), len(rows[i][0])))
    # A row of logits is as dear as many hidden states.
    costs = [len(prompt) + 64 * len(answer) for prompt, answer in rows]
    for part in batches(order, costs, model.device, batch):
        longest = max(len(rows[i][0]) + len(rows[i][1]) for i in part)
        ids = torch.full((len(part), longest), tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(part):
            both = rows[i][0] + rows[i][1]
            ids[row, longest - len(both) :] = torch.tensor(both)
            mask[row, longest - len(both) :] = 1
        keep = max(len(rows[i][1]) for i in part) + 1
        inputs = {"input_ids": ids, "attention_mask": mask}
        if "position_ids" in inspect.signature(model.forward).parameters:
            # Without them padding would count as positions, which learned ones can't stand.
            inputs["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)
        inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
        with active(part):
            logits = model(**inputs, logits_to_keep=keep).logits
        likeliest = logits.argmax(-1).cpu()  # (rows, keep), the last one after the answer
        for row, i in enumerate(part):
            answer = rows[i][1]
            said = likeliest[row, -len(answer) - 1 : -1].tolist()
            whole[i] = said == answer
            first[i] = said[0] == answer[0]
    return whole, first


def joined(prompt: str, answer: str) -> str:
    """Return an answer with a space before it where prose would have one."""
    answer = answer.strip()
    wide = any(unicodedata.east_asian_width(c) in "WF" for c in (prompt[-1:] + answer[:1]))
    return answer if wide or prompt[-1:].isspace() else f" {answer}"


def with_answers(
    tokenizer: Any, questions: Sequence[Question]
) -> list[tuple[list[int], list[int]]]:
    """Return the ids of each prompt and of its answer, as they would stand in one text."""
    answers = [joined(*question) for question in questions]
    prompts = ids_of(tokenizer, [question.prompt for question in questions])
    texts = [question.prompt + answer for question, answer in zip(questions, answers, strict=True)]
    rows: list[tuple[list[int], list[int]]] = []
    for prompt, answer, both in zip(prompts, answers, ids_of(tokenizer, texts), strict=True):
        if both[: len(prompt)] == prompt and len(both) > len(prompt):
            rows.append((prompt, both[len(prompt) :]))
        else:  # the border merges in one token, which generation from the prompt would not say
            rows.append((prompt, tokenizer(answer, add_special_tokens=False)["input_ids"]))
    return rows

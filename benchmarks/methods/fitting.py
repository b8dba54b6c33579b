"""Fit the rows of given addresses by one plain loop, so that ways of addressing can be compared.

Every step runs all facts through the whole model with the rows where they would be found, and
Adam moves the rows: the same start, optimiser, rate and number of steps for any addresses. Rows
are fitted as they are stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks import asking
from benchmarks.asking import Question
from benchmarks.methods import KnownFact
from benchmarks.methods.forms import with_stop
from benchmarks.methods.prefix import takes_positions
from engram_transformers import UserTable, use_tables
from engram_transformers.index import Rows
from engram_transformers.storage import as_stored

LEARNING_RATE = 0.3
START = 0.5
MARGIN = 3.0
_AT_ONCE = 256


class Tokens(NamedTuple):
    """A fact in tokens.

    Attributes:
        ids: What the tokenizer puts before a text, the prompt, the answer, and its stop.
        prefix: How many ids the tokenizer puts before a text.
        answer: How many ids at the end are the answer and its stop.
    """

    ids: list[int]
    prefix: int
    answer: int


class Fitted(NamedTuple):
    """What the loop found.

    Attributes:
        table: Reads the rows.
        steps: Taken.
        won: Whether every answer token leads by the margin.
    """

    table: UserTable
    steps: int
    won: bool


def in_tokens(tokenizer: Any, facts: Sequence[KnownFact]) -> list[Tokens]:
    """Return the ids of facts."""
    questions = [Question(fact.prompt, with_stop(fact.answer)) for fact in facts]
    alone = tokenizer([fact.prompt for fact in facts], add_special_tokens=False)["input_ids"]
    return [
        Tokens(prompt + answer, len(prompt) - len(bare), len(answer))
        for (prompt, answer), bare in zip(
            asking.with_answers(tokenizer, questions), alone, strict=True
        )
    ]


def fit(model: Any, table: UserTable, rows: Rows, facts: Sequence[Tokens], steps: int) -> Fitted:
    """Fit the values of rows, whatever they are now.

    Args:
        model: A patched model.
        table: Says whose rows these are, where they are read and how they are stored.
        rows: The addresses, and which row each leads to.
        facts: What is to be said.
        steps: At most so many.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    for parameter in trainable:  # or every activation would be kept
        parameter.requires_grad_(False)
    try:
        with torch.inference_mode(False), torch.enable_grad():
            return _fit(model, table, rows, facts, steps)
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def _fit(model: Any, table: UserTable, rows: Rows, facts: Sequence[Tokens], steps: int) -> Fitted:
    values = torch.zeros(rows.values.shape, device=model.device, requires_grad=True)
    ordered = sorted(facts, key=lambda fact: len(fact.ids))
    batches = [ordered[start : start + _AT_ONCE] for start in range(0, len(ordered), _AT_ONCE)]
    gradient, _ = _gradient(model, table, rows, values, values, batches)
    scale = gradient.pow(2).mean(1, keepdim=True).sqrt().clamp_min(1e-12)
    with torch.no_grad():
        values.copy_(-gradient / scale * START)
    adam = torch.optim.Adam([values], lr=LEARNING_RATE)
    step, won = 0, False
    while step < steps and not won:
        stored = as_stored(values, table.dtype)
        values.grad, margin = _gradient(model, table, rows, stored, values, batches)
        step, won = step + 1, margin >= MARGIN
        if not won:
            adam.step()
    kept = as_stored(values.detach(), table.dtype).cpu()
    found = Rows(rows.addresses, rows.row_index, kept, rows.orders)
    return Fitted(table.reading(found), step, won)


def _gradient(
    model: Any,
    table: UserTable,
    rows: Rows,
    stored: Tensor,
    values: Tensor,
    batches: Sequence[Sequence[Tokens]],
) -> tuple[Tensor, float]:
    """Return the loss's gradient by the values, and the least lead of an answer token."""
    gradient = torch.zeros_like(values)
    least = float("inf")
    for batch in batches:
        reading = table.reading(Rows(rows.addresses, rows.row_index, stored, rows.orders))
        with use_tables(model, reading):
            logits, gold = _answers(model, batch)
        loss = torch.nn.functional.cross_entropy(logits, gold, reduction="sum")
        gradient += torch.autograd.grad(loss, values, retain_graph=stored is not values)[0]
        with torch.no_grad():
            right = logits.gather(1, gold.unsqueeze(1)).squeeze(1)
            other = logits.scatter(1, gold.unsqueeze(1), float("-inf")).amax(1)
            least = min(least, float((right - other).min()))
    return gradient, least


def _answers(model: Any, batch: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    """Return logits where answer tokens are said, (tokens, vocab), and those tokens."""
    longest = max(len(fact.ids) for fact in batch)
    keep = max(fact.answer for fact in batch) + 1
    ids = torch.tensor([[0] * (longest - len(f.ids)) + f.ids for f in batch])
    mask = torch.tensor([[0] * (longest - len(f.ids)) + [1] * len(f.ids) for f in batch])
    asked = torch.tensor([[0] * (keep - 1 - f.answer) + [1] * f.answer for f in batch]).bool()
    ids, mask, asked = (tensor.to(model.device) for tensor in (ids, mask, asked))
    arguments = {"input_ids": ids, "attention_mask": mask, "logits_to_keep": keep}
    if takes_positions(model):
        arguments["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)
    logits = model(**arguments, use_cache=False).logits[:, :-1].float()
    return logits[asked], ids[:, 1 - keep :][asked]

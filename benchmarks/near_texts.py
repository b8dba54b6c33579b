"""Texts that share only the end of a trigger: made from triggers by a seeded rule, not by hand.

The last words of a trigger stay; those before them are replaced by the first words of another
table's trigger. From "My doctor's name is" comes "Our landlord's name is", sharing two words.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.methods.firing import rows_found
from engram_transformers import UserTable, engram_disabled, use_tables

_DRAWS = 20


class NearText(NamedTuple):
    """A text that is about something else.

    Attributes:
        text: It ends like a trigger.
        shared: So many of its last words are the trigger's.
    """

    text: str
    shared: int


class Continued(NamedTuple):
    """Near texts as the bare model goes on with them.

    Attributes:
        near: The text.
        ids: Its tokens and the continuation's.
        length: How many of them are the text's.
    """

    near: NearText
    ids: list[int]
    length: int


class Effect(NamedTuple):
    """What a table does to one near text.

    Attributes:
        shared: How many words are the trigger's.
        fired_at_end: Whether a row is read at the last token of the text.
        fired: Whether one is read anywhere, continuation included.
        divergence: KL(bare || with the table) of the first next token, nats.
        first: What the bare model's own next token loses, nats.
        all: What its continuation loses, nats per token.
    """

    shared: int
    fired_at_end: bool
    fired: bool
    divergence: float
    first: float
    all: float


def near_texts(triggers: Sequence[str], others: Sequence[str], seed: int) -> list[NearText]:
    """Return texts that share the last 1 to n - 1 of n words with a trigger, one per number.

    Args:
        triggers: Those of a table. No text contains one of them.
        others: Triggers that are not in the table, whose beginnings are used.
        seed: Another one gives other beginnings.
    """
    rng = random.Random(seed)
    forbidden = [f" {trigger.casefold()} " for trigger in triggers]
    found: list[NearText] = []
    for trigger in triggers:
        words = trigger.split()
        for shared in range(1, len(words)):
            for _ in range(_DRAWS):
                beginning = rng.choice(others).split()[: len(words) - shared]
                text = " ".join(beginning + words[-shared:])
                differs = beginning[-1].casefold() != words[-shared - 1].casefold()
                whole = f" {text.casefold()} "
                if differs and not any(other in whole for other in forbidden):
                    found.append(NearText(text, shared))
                    break
    return found


@torch.inference_mode()
def continued(
    model: Any, tokenizer: Any, texts: Sequence[NearText], tokens: int, batch: int
) -> list[Continued]:
    """Let the bare model go on with texts, greedily."""
    found: list[Continued] = []
    ordered = sorted(texts, key=lambda near: len(near.text))
    for start in range(0, len(ordered), batch):
        part = ordered[start : start + batch]
        inputs = tokenizer([near.text for near in part], return_tensors="pt", padding=True)
        inputs = inputs.to(model.device)
        options = {"do_sample": False, "pad_token_id": tokenizer.pad_token_id}
        output = model.generate(**inputs, min_new_tokens=tokens, max_new_tokens=tokens, **options)
        lengths = inputs["attention_mask"].sum(1).tolist()
        for near, ids, length in zip(part, output.tolist(), lengths, strict=True):
            found.append(Continued(near, ids[len(ids) - tokens - length :], length))
    return found


def effects(model: Any, table: UserTable, texts: Sequence[Continued], batch: int) -> list[Effect]:
    """Measure what a table does to texts.

    The model is run where a row is read. Elsewhere nothing changes, by a bit: another part of the
    benchmark checks that.
    """
    found = rows_found(table, [one.ids for one in texts])
    calm = [not any(rows[:-1]) for rows in found]  # the last token's successor is not looked at
    read = [number for number, is_calm in enumerate(calm) if not is_calm]
    read.sort(key=lambda number: len(texts[number].ids))
    nats: dict[int, tuple[float, float, float]] = {}
    for start in range(0, len(read), batch):
        part = read[start : start + batch]
        measured = _nats(model, table, [texts[number] for number in part])
        nats.update(zip(part, measured, strict=True))
    return [
        Effect(
            one.near.shared,
            rows[one.length - 1],
            number in nats,
            *nats.get(number, (0.0, 0.0, 0.0)),
        )
        for number, (one, rows) in enumerate(zip(texts, found, strict=True))
    ]


@torch.inference_mode()
def _nats(
    model: Any, table: UserTable, texts: Sequence[Continued]
) -> list[tuple[float, float, float]]:
    """Return divergence, loss of the first token and of all tokens per token."""
    longest = max(len(one.ids) for one in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, one in enumerate(texts):
        ids[row, longest - len(one.ids) :] = torch.tensor(one.ids)
        mask[row, longest - len(one.ids) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    keep = max(len(one.ids) - one.length for one in texts) + 1
    inputs = {"input_ids": ids, "attention_mask": mask, "logits_to_keep": keep}
    with engram_disabled(model):
        bare = _log_probabilities(model, inputs)
    with use_tables(model, table):
        read = _log_probabilities(model, inputs)
    following = ids[:, longest - keep + 1 :].unsqueeze(-1)  # (texts, keep - 1, 1)
    lost = (bare[:, :-1] - read[:, :-1]).gather(-1, following).squeeze(-1)
    divergence = (bare.exp() * (bare - read)).sum(-1)
    measured: list[tuple[float, float, float]] = []
    for row, one in enumerate(texts):
        said = len(one.ids) - one.length
        losses = lost[row, keep - 1 - said :]
        first = float(divergence[row, keep - 1 - said])
        measured.append((first, float(losses[0]), float(losses.mean())))
    return measured


def _log_probabilities(model: Any, inputs: dict[str, Any]) -> Tensor:
    return model(**inputs).logits.float().log_softmax(-1)


def summary(effects: Sequence[Effect]) -> dict[str, Any]:
    """Return counts and means, over all texts and by the number of words shared."""
    by_shared = {
        str(shared): _means([one for one in effects if one.shared == shared])
        for shared in sorted({one.shared for one in effects})
    }
    return {**_means(effects), "by_shared_words": by_shared}


def _means(effects: Sequence[Effect]) -> dict[str, Any]:
    fired = [one for one in effects if one.fired]
    return {
        "texts": len(effects),
        "fired": len(fired),
        "fired_at_end": sum(one.fired_at_end for one in effects),
        "divergence_nats": _mean([one.divergence for one in effects]),
        "first_token_nats": _mean([one.first for one in effects]),
        "nats_per_token": _mean([one.all for one in effects]),
        "divergence_nats_where_fired": _mean([one.divergence for one in fired]),
        "first_token_nats_where_fired": _mean([one.first for one in fired]),
        "nats_per_token_where_fired": _mean([one.all for one in fired]),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0

"""Is a row of somebody else ever read? Many owners, identical triggers, and forged addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.asking import Question, encode, is_whole, lengths_of
from benchmarks.common import require
from engram_transformers import UserTable, use_tables
from engram_transformers.attachment import Attachment
from engram_transformers.index import Rows
from engram_transformers.prepared import Prepared

OWNERS = 256
TRIGGERS = 64
_ORDER = 4
_LENGTH = 8
_BATCH = 4096
_NOBODY = -1


class Crowd(NamedTuple):
    """Owners who have the same triggers.

    Attributes:
        prepared: Their rows; the first number of a row says whose it is, the second which.
        texts: (triggers, length) int64 token ids.
        has: (owners, triggers) bool: every owner lacks a quarter of the triggers.
    """

    prepared: Prepared
    texts: Tensor
    has: Tensor


def crowd(attachment: Attachment, device: torch.device, seed: int) -> Crowd:
    """Return owners with identical triggers of random tokens, each with rows of his own."""
    generator = torch.Generator().manual_seed(seed)
    vocab = attachment.canonical.numel()
    texts = torch.randint(vocab, (TRIGGERS, _LENGTH), generator=generator)
    canonical = attachment.canonical[texts[:, -_ORDER:]].tolist()
    addresses = torch.tensor([attachment.hasher.address(ids) for ids in canonical])
    has = torch.rand(OWNERS, TRIGGERS, generator=generator) < 0.75
    tables: list[Rows] = []
    for owner in range(OWNERS):
        own = has[owner].nonzero()[:, 0]
        own = own[addresses[own].argsort()]
        values = torch.zeros(len(own), max(attachment.config.row_dim, 2))
        values[:, 0], values[:, 1] = owner, own.float()
        tables.append(Rows(addresses[own], torch.arange(len(own)), values, (_ORDER,)))
    premixed = attachment.premixed(device)
    prepared = Prepared.build(tables, device, attachment.hasher, premixed)
    return Crowd(prepared, texts.to(device), has.to(device))


def look_ups(people: Crowd, wanted: int, seed: int) -> dict[str, Any]:
    """Let owners, and samples without one, meet everybody's triggers in mixed batches.

    Each look-up is one at which somebody has a row. It is done twice: as a whole text is read, and
    as a decoding step is.
    """
    generator = torch.Generator().manual_seed(seed)
    prepared, device = people.prepared, people.texts.device
    counts = {"look_ups": 0, "own_row": 0, "no_row": 0, "foreign_rows": 0, "wrong_rows": 0}
    for _ in range(-(-wanted // (2 * _BATCH))):
        trigger = torch.randint(TRIGGERS, (_BATCH,), generator=generator).to(device)
        owner = torch.randint(_NOBODY, OWNERS, (_BATCH, 1), generator=generator).to(device)
        rows = prepared.find(people.texts[trigger], 1, owner)[:, 0]
        values, found = prepared.read(people.texts[trigger], 1, owner, is_shared=False)
        readings = (
            (prepared.index.values[rows.clamp_min(0)], rows >= 0),
            (values[:, 0], found[:, 0]),
        )
        asked = owner[:, 0]
        expected = people.has[asked.clamp_min(0), trigger] & (asked != _NOBODY)
        for value, is_found in readings:
            foreign = is_found & (value[:, 0] != asked)
            wrong = (is_found != expected) | (is_found & (value[:, 1] != trigger))
            counts["look_ups"] += _BATCH
            counts["own_row"] += int((is_found & ~foreign).sum())
            counts["no_row"] += int((~is_found).sum())
            counts["foreign_rows"] += int(foreign.sum())
            counts["wrong_rows"] += int(wrong.sum())
    require(counts["foreign_rows"] == 0, "no row of another owner is read")
    require(counts["wrong_rows"] == 0, "every row that is read is the one asked for")
    require(counts["own_row"] > wanted // 2, "and own rows are")
    return counts


def forged(people: Crowd, wanted: int, seed: int) -> dict[str, int]:
    """Ask for addresses that land on another owner's entry in the index: only the owner differs."""
    generator = torch.Generator().manual_seed(seed)
    index = people.prepared.index
    device = index.keys.device
    entries = index.keys.numel()
    checks = found = 0
    while checks < wanted:
        entry = torch.randint(entries, (_BATCH,), generator=generator).to(device)
        owner = torch.randint(OWNERS, (_BATCH,), generator=generator).to(device)
        other = index.owners[entry] != owner
        entry, owner = entry[other], owner[other]
        address = index.keys[entry] ^ index.owner_keys[owner]
        valid = torch.ones(len(entry), 1, 1, dtype=torch.bool, device=device)
        rows = index.find(address[:, None, None], valid, owner[:, None])
        checks += len(entry)
        found += int((rows >= 0).sum())
    require(found == 0, "an entry that is hit by its key is not read by another owner")
    return {"look_ups": checks, "foreign_rows": found}


def asked_in_one_batch(
    model: Any, tokenizer: Any, triggers: Sequence[str], answers: Sequence[str], owners: int
) -> dict[str, int]:
    """Write the same triggers for several owners, other answers each, and ask all in one batch."""
    facts = [
        [(t, answers[(number + owner) % len(answers)]) for number, t in enumerate(triggers)]
        for owner in range(owners)
    ]
    tables = [UserTable(model, f"owner {number}") for number in range(owners)]
    for table, own in zip(tables, facts, strict=True):
        report = table.write(own, progress=False)
        require(not report.failed, "every owner's facts are written")
    questions = [Question(*fact) for own in facts for fact in own]
    readers = [table for table, own in zip(tables, facts, strict=True) for _ in own]
    inputs = encode(tokenizer, [question.prompt for question in questions]).to(model.device)
    tokens = max(lengths_of(tokenizer, questions))
    with use_tables(model, readers), torch.inference_mode():
        output = model.generate(
            **inputs,
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=tokenizer.pad_token_id,
        )
    said = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :])
    counts = {"owners": owners, "questions": len(questions), "own": 0, "foreign": 0}
    for text, question in zip(said, questions, strict=True):
        counts["own"] += is_whole(text, question.answer)
        counts["foreign"] += any(is_whole(text, a) for a in answers if a != question.answer)
    require(counts["foreign"] == 0, "nobody gets another owner's answer")
    require(counts["own"] == len(questions), "and everybody gets his own")
    return counts

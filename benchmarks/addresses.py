"""The addresses that facts get, allocated as `write` does it, but without looking for rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from engram_transformers.attachment import Attachment
from engram_transformers.facts import Fact
from engram_transformers.index import Rows
from engram_transformers.ledger import Entry
from engram_transformers.plan import Item, make_plan
from engram_transformers.sequences import AUTO_STOP, Encoder, wordings

_LONGEST = 1 << 30


class Part(NamedTuple):
    """What an address stands for.

    Attributes:
        fact: Number of the fact.
        token: Which token of the answer is said there, from 0; 0 is the trigger's own address.
        order: The address's length.
        triggers: The fact's whole trigger in canonical ids, in each of its spellings.
    """

    fact: int
    token: int
    order: int
    triggers: tuple[tuple[int, ...], ...]


class Allocation(NamedTuple):
    """The addresses that some facts get.

    Attributes:
        rows: Searchable; one row of zeros stands for all.
        parts: Address -> what it stands for.
    """

    rows: Rows
    parts: dict[int, Part]


def allocated(
    attachment: Attachment,
    facts: Sequence[tuple[str, str]],
    *,
    context: str = "full",
    **options: Any,
) -> Allocation:
    """Give facts the addresses that `write` gives them, without looking for rows.

    `write` may drop addresses where the model needs no row, and add one where an answer would go on
    behind its full stop.

    Args:
        attachment: The patch.
        facts: As (prompt, answer), with distinct prompts.
        context: As in `UserTable.write`.
        options: `min_order` and `guard`, the same; what is not given is the default.
    """
    ledger = [
        Entry(Fact(*fact), "", AUTO_STOP, (), whole=context == "full", **options) for fact in facts
    ]
    return allocated_again(attachment, ledger)


def allocated_again(attachment: Attachment, ledger: Sequence[Entry]) -> Allocation:
    """Give the facts of a ledger the addresses that they would get if written together."""
    encoder = Encoder(attachment.tokenizer)
    canonical = attachment.canonical_list
    encoder.preload(((entry.fact, entry.stop) for entry in ledger), canonical)
    items = [
        Item(
            dataclasses.replace(entry, orders=()),
            wordings(encoder, entry.fact, entry.stop, _LONGEST, canonical),
            None,
        )
        for entry in ledger
    ]
    plan = make_plan(attachment, items, 0)
    parts: dict[int, Part] = {}
    for number, (item, orders) in enumerate(zip(items, plan.orders, strict=True)):
        lengths = [wording.trigger_length for wording in item.wordings]
        spelled = [tuple(canonical[i] for i in line.addressed_ids) for line in item.wordings]
        triggers = tuple(ids[:length] for ids, length in zip(spelled, lengths, strict=True))
        for ids, length, line in zip(spelled, lengths, orders, strict=True):
            for token, order in enumerate(line):
                end = length + token
                address = attachment.hasher.address(ids[end - order : end])
                parts.setdefault(address, Part(number, token, order, triggers))
    ordered = sorted(parts)
    rows = Rows(
        torch.tensor(ordered, dtype=torch.int64),
        torch.zeros(len(ordered), dtype=torch.int64),
        torch.zeros(1, attachment.config.row_dim),
        tuple(sorted({part.order for part in parts.values()})),
    )
    return Allocation(rows, parts)

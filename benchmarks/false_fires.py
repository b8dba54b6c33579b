"""How often rows fire in text that they were not written for: addresses alone, without a model.

Addresses are allocated as `write` allocates them, and looked up in a stream of tokens by the code
that reads tables in a forward.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.hundred_facts import FactSet
from benchmarks.real_text import Source
from engram_transformers.attachment import Attachment
from engram_transformers.facts import Fact
from engram_transformers.index import Rows
from engram_transformers.ledger import Entry
from engram_transformers.plan import Item, make_plan
from engram_transformers.prepared import Prepared
from engram_transformers.sequences import AUTO_STOP, Encoder, wordings

FEWEST_TOKENS = 1_000_000
"""Of real text: what rates are told from."""

SHORT = 3
"""Tokens of a trigger that anybody may say: "I live in"."""

_AT_ONCE = {"cpu": 1 << 15, "cuda": 1 << 20}  # positions: what a CPU's cache holds
_LONGEST = 1 << 30
_SHOWN = 12


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


class Fire(NamedTuple):
    """A row that was found in a text.

    Attributes:
        part: What its address stands for.
        text: The address's tokens, decoded.
        is_said: Whether the whole trigger stands there, not only its end.
    """

    part: Part
    text: str
    is_said: bool


class Stream(NamedTuple):
    """Tokens of several documents.

    Attributes:
        coded: (tokens,) int64, as a forward codes them: a document's first token starts a sequence.
        canonical: (tokens,) int64, on the CPU.
        ids: (tokens,) int64, on the CPU.
    """

    coded: Tensor
    canonical: Tensor
    ids: Tensor

    @classmethod
    def of(cls, source: Source, attachment: Attachment, device: torch.device) -> Stream:
        """Tokenise a source."""
        tokenizer: Any = attachment.tokenizer
        encoded = tokenizer(source.documents, add_special_tokens=False, verbose=False)["input_ids"]
        documents = [torch.tensor(ids) for ids in encoded if ids]
        ids = torch.cat(documents)
        starts = torch.tensor([0, *(len(d) for d in documents[:-1])]).cumsum(0)
        coded = ids.clone()
        coded[starts] = -2 - ids[starts]
        return cls(coded.to(device), attachment.canonical[ids], ids)


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
    encoder.preload(entry.fact for entry in ledger)
    canonical = attachment.canonical_list
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


def fires(attachment: Attachment, allocation: Allocation, stream: Stream) -> list[Fire]:
    """Find every position of a stream at which a row would be read."""
    device = stream.coded.device
    prepared = Prepared.build(
        [allocation.rows], device, attachment.hasher, attachment.premixed(device)
    )
    history = max(allocation.rows.orders) - 1
    owners = torch.zeros(1, 1, dtype=torch.int64, device=device)
    at_once = _AT_ONCE.get(device.type, _AT_ONCE["cpu"])
    found: list[int] = []
    for start in range(0, len(stream.coded), at_once):
        window = stream.coded[max(start - history, 0) : start + at_once][None]
        last = min(at_once, len(stream.coded) - start)
        rows = prepared.find(window, last, owners)[0]
        found += (start + (rows >= 0).nonzero()[:, 0]).tolist()
    return [_fire_at(attachment, allocation, stream, at) for at in found]


def _fire_at(attachment: Attachment, allocation: Allocation, stream: Stream, at: int) -> Fire:
    """Say what was found, by the longest address that ends there."""
    tokenizer: Any = attachment.tokenizer
    for order in reversed(allocation.rows.orders):
        start = at + 1 - order
        if start < 0:
            continue
        address = attachment.hasher.address(stream.canonical[start : at + 1].tolist())
        part = allocation.parts.get(address)
        if part is None or part.order != order:
            continue
        end = at + 1 - part.token
        is_said = any(
            tuple(stream.canonical[max(end - len(trigger), 0) : end].tolist()) == trigger
            for trigger in part.triggers
        )
        return Fire(part, tokenizer.decode(stream.ids[start : at + 1]), is_said)
    raise RuntimeError("A row was found at an address that no fact has.")


def count_fires(
    attachment: Attachment,
    device: torch.device,
    text: Sequence[Source],
    sets: Sequence[FactSet],
    ways: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Count fires in each source, for each kind of facts and each way to choose addresses.

    Args:
        attachment: The patch.
        device: Where to look up.
        text: The sources.
        sets: A table each.
        ways: Name -> options of `write`.
    """
    streams = {source.name: Stream.of(source, attachment, device) for source in text}
    sizes = {name: len(stream.ids) for name, stream in streams.items()}
    for name, size in sizes.items():
        print(f"{size:,} tokens: {name}")
    tables = Counter(one.kind for one in sets)
    results: dict[str, Any] = {"text": sizes, "tables": dict(tables), "ways": {}}
    for way, options in ways.items():
        cells: Counter[tuple[str, str, str]] = Counter()
        shown: Counter[tuple[str, ...]] = Counter()
        for one in sets:
            allocation = allocated(attachment, one.facts, **options)
            for name, stream in streams.items():
                for fire in fires(attachment, allocation, stream):
                    for key in _counters(fire):
                        cells[one.kind, name, key] += 1
                    prompt, _ = one.facts[fire.part.fact]
                    shown[_shown(fire, prompt, name)] += 1
        results["ways"][way] = _results(cells, shown, sizes, tables)
        total = results["ways"][way]["all"]
        print(f"{way}: {total['fires']} fires, {total['unsaid']} where no trigger is said")
    return results


def _counters(fire: Fire) -> list[str]:
    length = min(map(len, fire.part.triggers))
    keys = {"fires": True, "unsaid": not fire.is_said, "long": length > SHORT}
    keys["in_answers"] = fire.part.token > 0
    return [key for key, counts in keys.items() if counts]


def _shown(fire: Fire, prompt: str, source: str) -> tuple[str, ...]:
    said = "whole trigger" if fire.is_said else "end of trigger"
    return (prompt, fire.text, said if fire.part.token == 0 else f"{said} and answer", source)


def _results(
    cells: Counter[tuple[str, str, str]],
    shown: Counter[tuple[str, ...]],
    sizes: Mapping[str, int],
    tables: Mapping[str, int],
) -> dict[str, Any]:
    def cell(kinds: Sequence[str], names: Sequence[str]) -> dict[str, int]:
        keys = ("fires", "unsaid", "long", "in_answers")
        counts = {k: sum(cells[kind, n, k] for kind in kinds for n in names) for k in keys}
        count = sum(tables[kind] for kind in kinds)
        size = sum(sizes[name] for name in names)
        return {"tables": count, "text_tokens": size, "tokens": size * count, **counts}

    kinds, names = list(tables), list(sizes)
    fields = ("trigger", "fired", "what", "source")
    return {
        "all": cell(kinds, names),
        "by_source": {name: cell(kinds, [name]) for name in names},
        "by_kind": {kind: {name: cell([kind], [name]) for name in names} for kind in kinds},
        "most_often": [
            {**dict(zip(fields, key, strict=True)), "times": times}
            for key, times in shown.most_common(_SHOWN)
        ],
    }

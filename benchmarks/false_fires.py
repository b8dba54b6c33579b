"""How often rows fire in text that they were not written for: addresses alone, without a model.

Addresses are looked up in a stream of tokens by the code that reads tables in a forward.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.addresses import Allocation, Part, allocated
from benchmarks.hundred_facts import FactSet
from benchmarks.real_text import Source
from engram_transformers.attachment import Attachment
from engram_transformers.coded_ids import PADDING
from engram_transformers.index import Rows
from engram_transformers.prepared import Prepared

FEWEST_TOKENS = 1_000_000
"""Of real text: what rates are told from."""

SHORT = 3
"""Tokens of a trigger that anybody may say: "I live in"."""

_AT_ONCE = {"cpu": 1 << 15, "cuda": 1 << 20}  # positions: what a CPU's cache holds
_SHOWN = 12


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


def fires(
    attachment: Attachment, allocations: Sequence[Allocation], stream: Stream
) -> list[list[Fire]]:
    """Find every position of a stream at which a row of each table would be read.

    First the addresses of all tables are looked up as if they were one table's, which takes as long
    as one; then each table's own where something was found.
    """
    device = stream.coded.device
    premixed = attachment.premixed(device)

    def prepare(tables: Sequence[Rows]) -> Prepared:
        return Prepared.build(tables, device, attachment.hasher, premixed)

    together = prepare([_one_table(allocations)])
    history = int(together.index.orders.max()) - 1
    padded = torch.nn.functional.pad(stream.coded, (history, 0), value=PADDING)
    anybody = torch.zeros(1, 1, dtype=torch.int64, device=device)
    at_once = _AT_ONCE.get(device.type, _AT_ONCE["cpu"])
    parts: list[Tensor] = []
    for start in range(0, len(stream.coded), at_once):
        window = padded[None, start : start + history + at_once]
        rows = together.find(window, window.shape[1] - history, anybody)[0]
        parts.append(start + (rows >= 0).nonzero()[:, 0])
    places = torch.cat(parts)
    windows = padded.unfold(0, history + 1, 1)[places]  # (places, history + 1)
    apart = prepare([allocation.rows for allocation in allocations])
    found: list[list[Fire]] = []
    for number, allocation in enumerate(allocations):
        owner = torch.full((len(places), 1), number, dtype=torch.int64, device=device)
        own = places[apart.find(windows, 1, owner)[:, 0] >= 0].tolist()
        found.append([_fire_at(attachment, allocation, stream, at) for at in own])
    return found


def _one_table(allocations: Sequence[Allocation]) -> Rows:
    """Return all addresses as one table's."""
    rows = [allocation.rows for allocation in allocations]
    addresses = torch.cat([one.addresses for one in rows]).unique()
    orders = tuple(sorted({order for one in rows for order in one.orders}))
    return Rows(addresses, torch.zeros_like(addresses), rows[0].values, orders)


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
        allocations = [allocated(attachment, one.facts, **options) for one in sets]
        for name, stream in streams.items():
            for one, found in zip(sets, fires(attachment, allocations, stream), strict=True):
                for fire in found:
                    cells.update((one.kind, name, key) for key in _counters(fire))
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

"""Which rows of a memory facts read: found again from their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from engram_transformers.buckets.hashed_rows import HashedRows, hashed_rows_of
from engram_transformers.ledger import Entry
from engram_transformers.located import changed_tokens
from engram_transformers.sequences import Encoder, Wording, wordings

if TYPE_CHECKING:
    from engram_transformers.table import UserTable

_SEQUENCES_PER_BATCH = 256


@dataclass(frozen=True)
class Place:
    """The rows that one fact reads.

    Attributes:
        at_targets: For each wording and each token of the answer, the rows that are read where it
            is to be said next: one of each head.
        read: All rows that are read anywhere in its wordings.
    """

    at_targets: tuple[tuple[tuple[int, ...], ...], ...]
    read: frozenset[int]

    @property
    def written(self) -> set[int]:
        """The rows that the fact replaces."""
        return {row for line in self.at_targets for rows in line for row in rows}


def places_of(
    memory: HashedRows, facts: Sequence[Sequence[Wording]], device: torch.device
) -> list[Place]:
    """Find the rows that facts read.

    Args:
        memory: Whose.
        facts: Each in its wordings.
        device: Where to compute.
    """
    lines = [(number, wording) for number, found in enumerate(facts) for wording in found]
    at_targets: list[list[tuple[tuple[int, ...], ...]]] = [[] for _ in facts]
    read: list[set[int]] = [set() for _ in facts]
    for start in range(0, len(lines), _SEQUENCES_PER_BATCH):
        part = lines[start : start + _SEQUENCES_PER_BATCH]
        texts = [wording.prompt_ids + wording.targets[:-1] for _, wording in part]
        longest = max(map(len, texts))
        ids = torch.tensor([[*text, *[0] * (longest - len(text))] for text in texts])
        rows: list[list[list[int]]] = memory.rows_read(ids.to(device)).tolist()
        for (number, wording), text, found in zip(part, texts, rows, strict=True):
            own = [tuple(position) for position in found[: len(text)]]
            at_targets[number].append(tuple(own[len(wording.prompt_ids) - 1 :]))
            read[number].update(row for position in own for row in position)
    return [Place(tuple(a), frozenset(r)) for a, r in zip(at_targets, read, strict=True)]


def rows_of_entries(table: UserTable, entries: Sequence[Entry]) -> Tensor:
    """Return the rows that facts of a table replace, int64, sorted.

    Raises:
        TableMismatchError: If the table lacks one: a fact's prompts come to other tokens than when
            it was written, as chats do once the tokenizer has another template.
    """
    attachment = table.attachment
    encoder, canonical = Encoder(attachment.tokenizer), attachment.canonical_list
    encoder.preload(((entry.fact, entry.stop) for entry in entries), canonical)
    found = [wordings(encoder, e.fact, e.stop, 1 << 62, canonical) for e in entries]
    memory = hashed_rows_of(attachment)[table.layer]
    known = set(table.rows.addresses.tolist())
    needed: set[int] = set()
    places = places_of(memory, found, attachment.device)
    for entry, lines, place in zip(entries, found, places, strict=True):
        same = [len(line.targets) for line in lines] == [len(orders) for orders in entry.orders]
        if not same or not place.written <= known:
            raise changed_tokens(table, entry)
        needed |= place.written
    return torch.tensor(sorted(needed), dtype=torch.int64)

"""Tables whose rows were not optimised: large random ones, at addresses that a test chooses."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engram_transformers import Fact
from engram_transformers.active import use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.binding import Binding
from engram_transformers.index import Rows
from engram_transformers.ledger import Entry
from engram_transformers.plan import Item, make_plan
from engram_transformers.sequences import wordings
from engram_transformers.storage import as_stored
from engram_transformers.table import UserTable

ROW_DIM = 16
LAYERS = [1, 3]
"""Of the tiny models' four blocks: rows read at block 1 change what blocks 1 to 3 cache."""

NGram = tuple[int, ...]


@dataclass
class Synthetic:
    """A table, and what it holds in plain Python.

    Attributes:
        table: What the library reads.
        rows: Canonical n-gram -> row number.
        values: (rows, row_dim) float32.
    """

    table: UserTable
    rows: dict[NGram, int]
    values: Tensor


def canonical(model: Any, ids: Iterable[int]) -> NGram:
    """Return the canonical ids of token ids."""
    table = require_attachment(model).canonical
    return tuple(int(table[i]) for i in ids)


def make_table(
    model: Any,
    ngrams: Iterable[NGram],
    *,
    owner: str = "somebody",
    seed: int = 0,
    scale: float = 2.0,
    layer: int | None = LAYERS[0],
    dtype: Any = "float32",
    distinct_rows: int | None = None,
) -> Synthetic:
    """Return a table with a random row at each canonical n-gram.

    Args:
        model: A patched model.
        ngrams: Canonical ids.
        owner: Of the table.
        seed: Another seed gives other rows.
        scale: At 2, a row adds about twice the hidden state's norm.
        layer: Where it is read; None: the deepest memory.
        dtype: How rows are stored.
        distinct_rows: How many rows the n-grams share; None: each has its own.
    """
    attachment = require_attachment(model)
    keys = list(dict.fromkeys(ngrams))
    count = min(distinct_rows or len(keys), len(keys))
    numbers = {key: i % count for i, key in enumerate(keys)}
    # A row depends on its number alone, so that a longer list of n-grams keeps its rows.
    draws = [torch.Generator().manual_seed(1_000_000 * seed + row) for row in range(count)]
    values = torch.stack([torch.randn(attachment.config.row_dim, generator=g) for g in draws])
    values = as_stored(values * scale, dtype)
    entries = sorted((attachment.hasher.address(key), numbers[key]) for key in keys)
    rows = Rows(
        torch.tensor([address for address, _ in entries], dtype=torch.int64),
        torch.tensor([row for _, row in entries], dtype=torch.int64),
        values,
        tuple(sorted({len(key) for key in keys})),
    )
    layer = max(attachment.memories) if layer is None else layer
    table = UserTable._restore(
        attachment, owner, layer, dtype, Binding.of(attachment), rows, (), seed
    )
    return Synthetic(table, numbers, values)


def table_of_facts(model: Any, facts: Sequence[Fact], *, seed: int = 0) -> UserTable:
    """Return a table with a ledger: made-up rows, at the addresses that a write would choose."""
    attachment = require_attachment(model)
    canonical_ids = attachment.canonical_list
    items: list[Item] = []
    for fact in facts:
        lines = wordings(attachment.tokenizer, fact, "auto", 10_000, canonical_ids)
        entry = Entry(fact, "2026-01-01T00:00:00+00:00", "auto", ())
        items.append(Item(entry, lines, None, "nothing"))
    plan = make_plan(attachment, items, 0)
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(plan.new_rows, attachment.config.row_dim, generator=generator)
    entries = tuple(
        dataclasses.replace(item.entry, orders=tuple(orders))
        for item, orders in zip(items, plan.orders, strict=True)
    )
    layer = max(attachment.memories)
    rows = plan.compact_rows(as_stored(values, "int8"))
    binding = Binding.of(attachment)
    return UserTable._restore(attachment, "ann", layer, "int8", binding, rows, entries, 7)


def frequent_ngrams(model: Any, seed: int = 0) -> list[NGram]:
    """Return n-grams of orders 1 and 2 of which any text has some: 1 in 6 ids and pairs."""
    return list(_frequent_ngrams(tuple(require_attachment(model).canonical.tolist()), seed))


@functools.cache
def _frequent_ngrams(canonical: NGram, seed: int) -> list[NGram]:
    distinct = sorted(set(canonical))
    generator = torch.Generator().manual_seed(seed)
    single = torch.rand(len(distinct), generator=generator) < 1 / 6
    pairs = torch.rand(len(distinct), len(distinct), generator=generator) < 1 / 6
    found: list[NGram] = [(distinct[i],) for i in single.nonzero().flatten().tolist()]
    found += [(distinct[a], distinct[b]) for a, b in pairs.nonzero().tolist()]
    return found


def suffixes_of(
    model: Any, ids: Sequence[int], positions: Sequence[int], order: int
) -> list[NGram]:
    """Return the canonical n-grams of one order that end at some positions of a sequence."""
    whole = canonical(model, ids)
    return [whole[p - order + 1 : p + 1] for p in positions if p - order + 1 >= 0]


@torch.no_grad()
def table_along(
    model: Any,
    prompt: Sequence[int],
    steps: int,
    *,
    orders: Sequence[int] = (2, 5, 3, 12),
    every: int = 2,
    seed: int = 0,
    **options: Any,
) -> tuple[Synthetic, list[int]]:
    """Return a table that fires all along a greedy answer, and that answer, found without a cache.

    Every so many tokens a longer or shorter suffix of what has been said gets a row, which changes
    what is said next.

    Returns:
        The table and the prompt's ids with the answer's.
    """
    ids = list(prompt)
    ngrams: list[NGram] = []
    for step in range(steps):
        if step % every == 0:
            order = min(orders[step // every % len(orders)], len(ids))
            ngrams += suffixes_of(model, ids, [len(ids) - 1], order)
            made = make_table(model, ngrams, seed=seed, **options)
        with use_tables(model, made.table):
            logits = model(torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
    return made, ids


@dataclass
class Reads:
    """What one memory read, call by call.

    Attributes:
        found: (batch, seq) bool of each call.
        rows: (batch, seq, row_dim) float32 of each call, zeros where nothing was found.
    """

    found: list[Tensor]
    rows: list[Tensor]

    def joined(self) -> tuple[Tensor, Tensor]:
        """Return all calls as one, along the sequence."""
        return torch.cat(self.found, dim=1), torch.cat(self.rows, dim=1)


@contextmanager
def watching(model: Any, layer: int = LAYERS[0]) -> Generator[Reads]:
    """Record what a memory is given in each forward, until the block ends."""
    reads = Reads([], [])

    def note(module: Any, args: tuple[Tensor, Tensor, Tensor]) -> None:
        _, rows, found = args
        reads.found.append(found.clone())
        reads.rows.append(torch.where(found.unsqueeze(-1), rows, 0).clone())

    handle = require_attachment(model).memories[layer].register_forward_pre_hook(note)
    try:
        yield reads
    finally:
        handle.remove()

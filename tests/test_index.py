"""Promises of the row index, against the plain-Python reader."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import rows_read
from torch import Tensor

from engram_transformers.coded_ids import PADDING, encode
from engram_transformers.hashing import SuffixHasher
from engram_transformers.index import RowIndex, Rows, suffixes

VOCAB = 6  # few, so that n-grams meet
HASHER = SuffixHasher(3, max_order=12)
PREMIXED = HASHER.premix(torch.arange(VOCAB))
CPU = torch.device("cpu")

ngrams = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=6).map(tuple)
tables = st.dictionaries(ngrams, st.integers(0, 3), max_size=12)


def as_rows(table: dict[tuple[int, ...], int], owner: int) -> Rows:
    """A table of 4 rows, each of which names its owner and its number."""
    entries = sorted((HASHER.address(key), row) for key, row in table.items())
    return Rows(
        torch.tensor([address for address, _ in entries], dtype=torch.int64),
        torch.tensor([row for _, row in entries], dtype=torch.int64),
        torch.tensor([[owner, row] for row in range(4)], dtype=torch.float32),
        tuple(sorted({len(key) for key in table})),
    )


def read(index: RowIndex, window: Tensor, last: int, owners: list[list[int]]) -> list[list[object]]:
    found, valid = suffixes(window, PREMIXED, HASHER, index.orders, last)
    rows = index.find(found, valid, torch.tensor(owners))
    return [
        [tuple(index.values[row].int().tolist()) if row >= 0 else None for row in line]
        for line in rows.tolist()
    ]


@st.composite
def batches(draw: st.DrawFn):
    batch, seq = draw(st.integers(1, 4)), draw(st.integers(1, 14))
    ids = [[draw(st.integers(0, VOCAB - 1)) for _ in range(seq)] for _ in range(batch)]
    kind = draw(st.sampled_from(["none", "left", "right", "packed"]))
    mask, positions = None, None
    if kind in ("left", "right"):
        lengths = [draw(st.integers(0, seq)) for _ in range(batch)]
        mask = [
            [int(s >= seq - n) if kind == "left" else int(s < n) for s in range(seq)]
            for n in lengths
        ]
    if kind == "packed":
        positions = []
        for _ in range(batch):
            starts = {0, *draw(st.sets(st.integers(0, seq - 1), max_size=3))}
            line: list[int] = []
            for s in range(seq):
                line.append(0 if s in starts else line[-1] + 1)
            positions.append(line)
    return ids, mask, positions


@settings(max_examples=300, deadline=None)
@given(batch=batches(), owned=st.lists(tables, min_size=1, max_size=4), data=st.data())
def test_finding_rows_equals_the_plain_python_reader(batch, owned, data):
    ids, mask, positions = batch
    if not any(owned):
        return
    index = RowIndex.build([as_rows(table, n) for n, table in enumerate(owned)], CPU)
    depth = data.draw(st.integers(1, 3))
    owner = st.integers(-1, len(owned) - 1)
    owners = [[data.draw(owner) for _ in range(depth)] for _ in ids]
    last = data.draw(st.integers(0, len(ids[0])))
    arguments = {
        "attention_mask": None if mask is None else torch.tensor(mask),
        "position_ids": None if positions is None else torch.tensor(positions),
    }
    seen = read(index, encode(torch.tensor(ids), arguments), last, owners)
    for b, line in enumerate(ids):
        known = [t if mask is None or mask[b][s] else None for s, t in enumerate(line)]
        starts = [] if positions is None else [s for s, p in enumerate(positions[b]) if p == 0]
        stack = [{key: (n, row) for key, row in owned[n].items()} for n in owners[b] if n >= 0]
        expected = rows_read(known, stack, starts)
        assert seen[b] == expected[len(expected) - last :]


def test_owners_with_the_same_addresses_do_not_see_each_other():
    """A hundred owners, one address: each finds its own row and nobody else's."""
    index = RowIndex.build([as_rows({(1, 2): 0}, n) for n in range(100)], CPU)
    window = torch.tensor([[1, 2]]).repeat(101, 1)
    owners = [[n] for n in range(100)] + [[-1]]
    seen = read(index, window, 1, owners)
    assert seen == [[(n, 0)] for n in range(100)] + [[None]]


def test_the_owner_of_a_row_is_checked_and_not_trusted_to_the_hash():
    """An address made so that its key is another owner's key finds nothing."""
    index = RowIndex.build([as_rows({(1, 2): 0}, 0), as_rows({(3, 4): 1}, 1)], CPU)
    address = index.addresses[index.owners == 0]
    forged = address ^ index.owner_keys[0] ^ index.owner_keys[1]
    assert bool((index.keys == (forged ^ index.owner_keys[1])).any())
    valid = torch.ones(1, 1, 1, dtype=torch.bool)
    for owner in (0, 1, -1):
        assert index.find(forged.view(1, 1, 1), valid, torch.tensor([[owner]])).item() == -1
    assert index.find(address.view(1, 1, 1), valid, torch.tensor([[0]])).item() == 0


def test_a_suffix_that_is_not_valid_finds_nothing():
    index = RowIndex.build([as_rows({(1, 2): 0}, 0)], CPU)
    address = index.addresses.view(1, 1, 1)
    for valid in (True, False):
        found = index.find(address, torch.tensor([[[valid]]]), torch.tensor([[0]]))
        assert found.item() == (0 if valid else -1)


def test_an_index_of_no_rows_finds_nothing():
    """A table may be erased by another thread between the look at it and the search."""
    index = RowIndex.build([as_rows({}, 0), as_rows({}, 1)], CPU)
    assert read(index, torch.tensor([[1, 2, 3]]), 3, [[0, 1]]) == [[None] * 3]


def test_entries_that_are_not_distinct_are_refused():
    rows = as_rows({(1, 2): 0}, 0)
    twice = Rows(rows.addresses.repeat(2), rows.row_index.repeat(2), rows.values, rows.orders)
    with pytest.raises(RuntimeError, match="not distinct"):
        RowIndex.build([twice], CPU)


def test_several_addresses_may_lead_to_one_row():
    index = RowIndex.build([as_rows({(1, 2): 3, (4,): 3}, 0)], CPU)
    assert read(index, torch.tensor([[1, 2, 4]]), 3, [[0]]) == [[None, (0, 3), (0, 3)]]


def test_padding_between_tokens_is_not_bridged():
    index = RowIndex.build([as_rows({(1, 2): 0}, 0)], CPU)
    window = torch.tensor([[1, PADDING, 2, 1, 2], [1, 2, PADDING, PADDING, 1]])
    assert read(index, window, 5, [[0], [0]]) == [
        [None, None, None, None, (0, 0)],
        [None, (0, 0), None, None, None],
    ]

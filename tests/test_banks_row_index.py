"""Rows and their slots."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from engram_transformers.banks.row_index import RowIndex

sets_of_rows = st.lists(st.sets(st.integers(0, 60), max_size=20), max_size=12)


@given(sets_of_rows)
def test_rows_keep_the_slot_of_their_first_appearance(sets):
    index = RowIndex(torch.device("cpu"))
    expected: dict[int, int] = {}
    for rows in sets:
        for row in sorted(rows):
            expected.setdefault(row, len(expected))
        slots = index.slots(torch.tensor(sorted(rows), dtype=torch.int64))
        assert slots.tolist() == [expected[row] for row in sorted(rows)]
        assert len(index) == len(expected)
    rows, slots = index.sorted()
    assert dict(zip(rows.tolist(), slots.tolist(), strict=True)) == expected
    assert rows.tolist() == sorted(expected)


@given(sets_of_rows)
def test_lookups_take_few_searches_and_memory_is_that_of_the_rows(sets):
    index = RowIndex(torch.device("cpu"))
    for rows in sets:
        index.slots(torch.tensor(sorted(rows), dtype=torch.int64))
        assert index.nbytes == 16 * len(index)
        assert len(index._runs) <= math.log2(max(len(index), 1)) + 1


def test_rows_beyond_32_bits_have_slots():
    index = RowIndex(torch.device("cpu"))
    rows = torch.tensor([5, 5 + 2**32, 2**40])
    assert index.slots(rows).tolist() == [0, 1, 2]
    assert index.slots(rows[1:]).tolist() == [1, 2]


def test_an_index_that_moved_still_knows_its_rows():
    index = RowIndex(torch.device("cpu"))
    index.slots(torch.tensor([3, 8]))
    index.to(torch.device("meta"))
    assert index.device.type == "meta"
    assert [rows.device.type for rows, _ in index._runs] == ["meta"]
    assert len(index) == 2

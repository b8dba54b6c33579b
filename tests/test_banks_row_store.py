"""What is remembered of rows."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engram_transformers.banks.row_store import RowEntry, RowStore

ENTRIES = {"sum": RowEntry(2, torch.float32, 0.5), "step": RowEntry(1, torch.int32)}
CPU = torch.device("cpu")


def store_of(*sets: list[int]) -> RowStore:
    """Return a store in which each row's sums are its number."""
    store = RowStore((100, 2), ENTRIES, CPU)
    for rows in sets:
        slots = store.slots(torch.tensor(rows, dtype=torch.int64))
        store.write("sum", slots, torch.tensor(rows).float().unsqueeze(1).expand(-1, 2))
        store.write("step", slots, store.read("step", slots) + 1)
    return store


def test_new_rows_begin_with_what_the_entry_says():
    store = store_of([4], [9, 30])
    slots = store.slots(torch.tensor([9, 11]))
    assert store.read("sum", slots).tolist() == [[9, 9], [0.5, 0.5]]
    assert store.read("step", slots).tolist() == [[1], [0]]


@given(st.lists(st.sets(st.integers(0, 99), max_size=20), max_size=8))
def test_room_is_at_most_half_more_than_the_rows_need(sets):
    store = store_of(*map(sorted, sets))
    needed = len(set().union(*sets))
    assert len(store) == needed
    assert needed * (16 + 12) <= store.nbytes <= needed * (16 + 1.5 * 12)


def test_stores_that_know_the_same_give_the_same_bytes():
    one, other = store_of([4], [9, 30]).packed(), store_of([9, 30], [4]).packed()
    assert one["rows"].tolist() == [4, 9, 30]
    assert one["sum"].tolist() == [[4, 4], [9, 9], [30, 30]]
    assert one.keys() == other.keys() == {"rows", "table_shape", "sum", "step"}
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_packing_copies_and_unpacking_copies():
    store = store_of([4, 9])
    packed = store.packed()
    again = RowStore((100, 2), ENTRIES, CPU)
    assert again.problems(packed) == []
    again.unpack(packed)
    for tensor in packed.values():
        tensor.zero_()
    for kept in (store, again):
        assert kept.rows.tolist() == [4, 9]
        assert kept.packed()["sum"].tolist() == [[4, 4], [9, 9]]


def test_an_empty_store_packs_no_rows():
    packed = store_of().packed()
    assert packed["rows"].shape == (0,)
    assert packed["sum"].shape == (0, 2)
    assert store_of().problems(packed) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"table_shape": torch.tensor([101, 2])}, r"table of shape \(101, 2\), not \(100, 2\)"),
        ({"table_shape": torch.tensor(3)}, r"table of shape \(3,\)"),
        ({"rows": torch.tensor([9, 4])}, "`rows` must be int64, ascending"),
        ({"rows": torch.tensor([4, 4])}, "each once"),
        ({"rows": torch.tensor([-1, 4])}, "in 0 to 99"),
        ({"rows": torch.tensor([4, 100])}, "in 0 to 99"),
        ({"rows": torch.tensor([4, 9], dtype=torch.int32)}, "int64"),
        ({"rows": torch.tensor([[4, 9]])}, "`rows`"),
        ({"sum": torch.zeros(3, 2)}, r"`sum` is \(3, 2\) .* must be \(2, 2\)"),
        ({"sum": torch.zeros(2, 1)}, r"`sum` is \(2, 1\)"),
        ({"sum": torch.zeros(2, 2).double()}, "float64, but must be .* torch.float32"),
        ({"sum": 3}, "`sum` must be tensors"),
        ({"more": torch.zeros(2)}, "it holds `more`, `rows`, `step`, `sum`, `table_shape`, but"),
    ],
)
def test_what_does_not_fit_is_named(changed, message):
    (problem,) = RowStore((100, 2), ENTRIES, CPU).problems({**store_of([4, 9]).packed(), **changed})
    assert re.search(message, problem)

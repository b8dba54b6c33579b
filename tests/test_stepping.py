"""Promises of reading step by step: the same rows as the general way, found with less."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_transformers.hashing import SuffixHasher
from engram_transformers.index import RowIndex, Rows
from engram_transformers.prepared import Prepared, PreparedTables
from engram_transformers.stepping import StepReader

VOCAB = 6
HASHER = SuffixHasher(5, max_order=8)
PREMIXED = HASHER.premix(torch.arange(VOCAB))
CPU = torch.device("cpu")


def rows_of(ngrams, seed: int) -> Rows:
    ngrams = sorted(set(ngrams))
    entries = sorted((HASHER.address(ngram), n) for n, ngram in enumerate(ngrams))
    values = torch.randn(len(entries), 3, generator=torch.Generator().manual_seed(seed))
    addresses = torch.tensor([address for address, _ in entries], dtype=torch.int64)
    places = torch.tensor([place for _, place in entries], dtype=torch.int64)
    return Rows(addresses, places, values, tuple(sorted({len(n) for n in ngrams})))


NGRAMS = st.lists(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=8).map(tuple), max_size=6
)
CODED = st.one_of(st.integers(0, VOCAB - 1), st.just(-1), st.integers(-1 - VOCAB, -2))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_step_reads_what_the_general_way_reads(data):
    tables = data.draw(st.lists(NGRAMS, min_size=1, max_size=3))
    prepared = Prepared.build([rows_of(t, n) for n, t in enumerate(tables)], CPU, HASHER, PREMIXED)
    batch, length = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 12))
    lines = st.lists(CODED, min_size=length, max_size=length)
    window = torch.tensor(data.draw(st.lists(lines, min_size=batch, max_size=batch)))
    last = data.draw(st.integers(1, length))
    is_shared = data.draw(st.booleans())
    if is_shared:
        owners = torch.arange(len(tables)).expand(batch, -1)
    else:
        depth = data.draw(st.integers(1, 3))
        owner = st.lists(st.integers(-1, len(tables) - 1), min_size=depth, max_size=depth)
        owners = torch.tensor(data.draw(st.lists(owner, min_size=batch, max_size=batch)))
    values, found = prepared.read(window, last, owners, is_shared=is_shared)
    rows = prepared.find(window, last, owners)
    assert torch.equal(found, rows >= 0)
    assert values.shape == (batch, last, 3)
    assert torch.equal(values[found], prepared.index.values[rows[found]])
    assert (prepared.stepper is None) == (not any(tables))


def test_mixing_is_undone_exactly():
    orders = torch.tensor([8, 5, 3, 1])
    ids = torch.randint(0, VOCAB, (7, 8))
    addresses = HASHER.addresses(PREMIXED[ids], orders, last=1)[:, 0]
    weights, terms = HASHER.weights(orders)
    sums = (PREMIXED[ids].unsqueeze(1) * weights).sum(-1) + terms
    assert torch.equal(HASHER.unmix(addresses), sums)


def test_entries_that_would_hide_each_other_leave_steps_to_the_general_way():
    index = RowIndex.build([rows_of([(1, 2)], 0), rows_of([(1, 2)], 1)], CPU)
    forged = RowIndex(
        index.keys,
        index.addresses,
        torch.zeros_like(index.owners),
        index.row_index,
        index.values,
        index.owner_keys,
        index.orders,
    )
    assert StepReader.build(index, HASHER, PREMIXED) is not None
    assert StepReader.build(forged, HASHER, PREMIXED) is None


def test_what_is_prepared_is_kept_for_the_rows_it_was_made_of():
    kept = PreparedTables()
    one, other = rows_of([(1, 2)], 0), rows_of([(1, 2)], 1)
    first = kept.of([one], CPU, HASHER, PREMIXED)
    assert kept.of([one], CPU, HASHER, PREMIXED) is first
    assert kept.of([other], CPU, HASHER, PREMIXED) is not first
    assert kept.of([one, other], CPU, HASHER, PREMIXED).rows == (one, other)
    for seed in range(40):
        kept.of([rows_of([(1, 2)], seed)], CPU, HASHER, PREMIXED)
    assert len(kept._kept) == 16
    assert kept.of([one], CPU, HASHER, PREMIXED) is not first


@pytest.mark.parametrize("inference", [True, False])
def test_what_was_prepared_in_inference_mode_serves_training_too(inference):
    with torch.inference_mode(inference):
        prepared = Prepared.build([rows_of([(1, 2)], 0)], CPU, HASHER, PREMIXED)
        prepared.read(torch.tensor([[1, 2]]), 1, torch.tensor([[0]]), is_shared=True)
    scale = torch.ones(1, requires_grad=True)
    values, _ = prepared.read(torch.tensor([[1, 2]]), 1, torch.tensor([[0]]), is_shared=True)
    (values * scale).sum().backward()
    assert scale.grad is not None

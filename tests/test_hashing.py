"""Promises of the suffix hash."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engram_transformers.errors import (
    EngramError,
    HashDtypeError,
    HashSeedError,
    HashShapeError,
    OrderError,
)
from engram_transformers.hashing import HIGHEST_ORDER, SuffixHasher

VOCAB = 500

seeds = st.integers(0, 2**64 - 1)
token_ids = st.integers(0, VOCAB - 1)


def premixed(hasher: SuffixHasher, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return pre-mixed rows of equal length, (batch, length) int64."""
    table = hasher.premix(torch.arange(VOCAB))
    return table[torch.tensor(rows, dtype=torch.int64).reshape(len(rows), -1)]


def last_address(hasher: SuffixHasher, ids: Sequence[int], order: int) -> int:
    return int(hasher.addresses(premixed(hasher, [ids]), [order], last=1))


@settings(max_examples=100, deadline=None)
@given(
    seed=seeds,
    batch=st.integers(1, 3),
    ids=st.lists(token_ids, min_size=1, max_size=40),
    orders=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    data=st.data(),
)
def test_tensor_addresses_equal_the_plain_python_reference_bit_for_bit(
    seed: int, batch: int, ids: list[int], orders: list[int], data: st.DataObject
) -> None:
    hasher = SuffixHasher(seed, max_order=40)
    rows = [ids[shift % len(ids) :] + ids[: shift % len(ids)] for shift in range(batch)]
    last = data.draw(st.integers(0, len(ids)))
    found = hasher.addresses(premixed(hasher, rows), orders, last=last)
    assert found.shape == (batch, last, len(orders))
    for sample, row in enumerate(rows):
        for column, position in enumerate(range(len(ids) - last, len(ids))):
            for index, order in enumerate(orders):
                if order <= position + 1:
                    expected = hasher.address(row[position + 1 - order : position + 1])
                    assert int(found[sample, column, index]) == expected


@settings(max_examples=50, deadline=None)
@given(
    seed=seeds,
    ngram=st.lists(token_ids, min_size=1, max_size=30),
    before=st.lists(token_ids, max_size=50),
    other=st.lists(token_ids, max_size=50),
)
def test_an_ngram_has_one_address_wherever_it_stands(
    seed: int, ngram: list[int], before: list[int], other: list[int]
) -> None:
    hasher = SuffixHasher(seed)
    first = last_address(hasher, before + ngram, len(ngram))
    assert first == last_address(hasher, other + ngram, len(ngram)) == hasher.address(ngram)


def test_an_address_does_not_depend_on_the_rest_of_the_batch_or_on_padding() -> None:
    hasher = SuffixHasher(1)
    ids = [5, 6, 7, 8]
    batch = premixed(hasher, [[0] * 60 + ids, [9] * 30 + [3] * 30 + ids])
    alone = hasher.addresses(premixed(hasher, [ids]), [4], last=1)
    assert torch.equal(hasher.addresses(batch, [4], last=1), alone.expand(2, 1, 1))


def test_long_sequences_wrap_as_plain_python_does() -> None:
    hasher = SuffixHasher(2**64 - 1, max_order=HIGHEST_ORDER)
    ids = torch.randint(0, VOCAB, (20_000,), generator=torch.Generator().manual_seed(0)).tolist()
    found = hasher.addresses(premixed(hasher, [ids]), [1, HIGHEST_ORDER])  # (1, length, 2)
    for end in (HIGHEST_ORDER, 9_999, 20_000):
        expected = [
            hasher.address(ids[end - 1 : end]),
            hasher.address(ids[end - HIGHEST_ORDER : end]),
        ]
        assert found[0, end - 1].tolist() == expected


@settings(max_examples=50, deadline=None)
@given(
    seed=seeds,
    rows=st.lists(st.lists(token_ids, min_size=1, max_size=40), min_size=1, max_size=4),
    data=st.data(),
)
def test_single_suffixes_have_the_address_of_their_ngram_whatever_stands_before(
    seed: int, rows: list[list[int]], data: st.DataObject
) -> None:
    hasher = SuffixHasher(seed)
    numbers = st.integers(0, len(rows) - 1)
    asked: list[tuple[int, int, int]] = []
    for number in data.draw(st.lists(numbers, min_size=1, max_size=6)):
        end = data.draw(st.integers(1, len(rows[number])))
        asked.append((number, end, data.draw(st.integers(1, end))))
    joined = premixed(hasher, [[i for row in rows for i in row]])[0]
    ends = torch.tensor([sum(map(len, rows[:n])) + end for n, end, _ in asked])
    found = hasher.addresses_at(joined, ends, torch.tensor([order for _, _, order in asked]))
    assert found.tolist() == [hasher.address(rows[n][end - o : end]) for n, end, o in asked]


def test_one_decoding_step_equals_the_same_position_of_the_whole_sequence() -> None:
    hasher = SuffixHasher(3)
    rows = premixed(hasher, [list(range(100)), list(range(100, 200))])
    whole = hasher.addresses(rows, [1, 3, 64])
    for last in (1, 2, 37):  # the last 37 of 100 positions have a suffix of order 64
        step = hasher.addresses(rows, [1, 3, 64], last=last)  # (2, last, 3)
        assert torch.equal(step, whole[:, -last:])


def test_prefix_values_are_running_sums_of_weighted_terms() -> None:
    hasher = SuffixHasher(4)
    rows = premixed(hasher, [[1, 2, 3, 4]])
    prefix = hasher.prefix(rows)
    first = rows[:, :1] * hasher._inverse  # pyright: ignore[reportPrivateUsage]
    assert torch.equal(prefix[:, :1], first)
    assert torch.equal(hasher.prefix(rows[:, :2]), prefix[:, :2])


@settings(max_examples=50, deadline=None)
@given(seed=seeds, ids=st.lists(token_ids, min_size=2, max_size=64), data=st.data())
def test_changing_one_id_changes_the_address(
    seed: int, ids: list[int], data: st.DataObject
) -> None:
    hasher = SuffixHasher(seed)
    place = data.draw(st.integers(0, len(ids) - 1))
    changed = ids.copy()
    changed[place] = (ids[place] + data.draw(st.integers(1, VOCAB - 1))) % VOCAB
    assert hasher.address(ids) != hasher.address(changed)


def test_the_order_of_tokens_and_the_length_are_part_of_the_address() -> None:
    hasher = SuffixHasher(5)
    assert hasher.address([1, 2]) != hasher.address([2, 1])
    runs = {hasher.address([1] * order) for order in range(1, 65)}
    assert len(runs) == 64
    found = hasher.addresses(premixed(hasher, [[1] * 64]), range(1, 65), last=1)
    assert set(found.flatten().tolist()) == runs


def test_equal_hashes_of_different_orders_get_different_addresses() -> None:
    hasher = SuffixHasher(6)
    zeros = torch.zeros(1, 10, dtype=torch.int64)  # pre-mixed to nothing: every H is 0
    assert len(set(hasher.addresses(zeros, range(1, 11), last=1).flatten().tolist())) == 10


def test_thue_morse_words_up_to_order_64_get_different_addresses() -> None:
    hasher = SuffixHasher(7)
    for order in (2, 4, 8, 16, 32, 64):
        parity = [place.bit_count() % 2 for place in range(order)]
        words = [[(a, b)[p] for p in parity] for a in range(20) for b in range(20) if a != b]
        assert len({hasher.address(word) for word in words}) == len(words)


def test_another_seed_gives_other_addresses_and_max_order_does_not() -> None:
    assert SuffixHasher(1).address([1, 2, 3]) != SuffixHasher(2).address([1, 2, 3])
    assert SuffixHasher(1).address([1, 2, 3]) == SuffixHasher(1, 9).address([1, 2, 3])


def test_addresses_stay_what_they_were_when_tables_were_saved() -> None:
    # Golden values: a change here makes every saved table unreadable.
    hasher = SuffixHasher(0)
    assert hasher.address([0]) == 2783794371741805763
    assert hasher.address([1, 2, 3]) == 7335408968939790927
    assert hasher.address([7] * 64) == -4546630221719151431


def test_every_bit_of_an_address_is_set_half_of_the_time() -> None:
    hasher = SuffixHasher(8)
    ids = torch.arange(VOCAB).repeat(20)[None]
    table = hasher.premix(torch.arange(VOCAB))
    found = hasher.addresses(table[ids], [1, 2, 3])[0, :VOCAB].flatten()  # 1,500 addresses
    bits = (found.unsqueeze(1) >> torch.arange(64)) & 1
    share = bits[2:].double().mean(0)
    assert share.min() > 0.4
    assert share.max() < 0.6


def test_premixing_is_one_to_one_and_goes_by_canonical_id() -> None:
    hasher = SuffixHasher(9)
    canonical = torch.tensor([0, 1, 0, 2, 1])
    table = hasher.premix(canonical)
    assert table.dtype == torch.int64
    assert table[0] == table[2]
    assert table[1] == table[4]
    assert hasher.premix(torch.arange(50_000)).unique().numel() == 50_000


@pytest.mark.parametrize(
    ("batch", "length", "last"), [(0, 0, None), (0, 5, 1), (2, 0, None), (2, 0, 0), (2, 5, 0)]
)
@pytest.mark.parametrize("orders", [[], [3], [1, 64]])
def test_empty_batches_and_sequences_give_empty_addresses(
    batch: int, length: int, last: int | None, orders: list[int]
) -> None:
    rows = torch.zeros(batch, length, dtype=torch.int64)
    found = SuffixHasher(0).addresses(rows, orders, last=last)
    assert found.shape == (batch, length if last is None else last, len(orders))
    assert found.dtype == torch.int64


def test_orders_may_be_a_tensor() -> None:
    hasher = SuffixHasher(0)
    rows = premixed(hasher, [list(range(80))])
    expected = hasher.addresses(rows, [2, 5, 64], last=3)
    assert torch.equal(hasher.addresses(rows, torch.tensor([2, 5, 64]), last=3), expected)


def test_hashers_are_values() -> None:
    hasher = SuffixHasher(11, 32)
    for twin in (SuffixHasher(11, 32), copy.deepcopy(hasher), pickle.loads(pickle.dumps(hasher))):
        assert twin == hasher
        assert hash(twin) == hash(hasher)
        assert twin.address([1, 2]) == hasher.address([1, 2])


def test_compiled_addresses_equal_eager_ones_without_graph_breaks() -> None:
    def call(hasher: SuffixHasher, rows: Tensor) -> Tensor:
        return hasher.addresses(rows, (2, 7), last=1)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    for seed, length in ((1, 9), (1, 12), (2**64 - 1, 30), (5, 7)):
        hasher = SuffixHasher(seed)
        rows = premixed(hasher, [list(range(length))] * 2)
        assert torch.equal(compiled(hasher, rows), call(hasher, rows))


@pytest.mark.gpu
def test_a_gpu_gives_the_same_bits() -> None:
    hasher = SuffixHasher(12)
    rows = torch.randint(-(2**63), 2**63 - 1, (3, 5_000))
    orders = list(range(1, 65))
    expected = hasher.addresses(rows, orders)
    assert torch.equal(hasher.addresses(rows.cuda(), orders).cpu(), expected)
    assert torch.equal(hasher.premix(rows[0].cuda()).cpu(), hasher.premix(rows[0]))


ROWS = torch.zeros(1, 5, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda h: h.addresses(ROWS, [0]), OrderError, "`order` is 0, but must be in 1 to 8"),
        (lambda h: h.addresses(ROWS, [3, 9]), OrderError, "`order` is 9"),
        (lambda h: h.addresses(ROWS, [1], last=6), HashShapeError, "last=6 .* sequence of 5"),
        (lambda h: h.addresses(ROWS, [1], last=-1), HashShapeError, "last=-1"),
        (lambda h: h.addresses(ROWS[0], [1]), HashShapeError, "`premixed` must have 2"),
        (lambda h: h.addresses(ROWS, torch.tensor(1)), HashShapeError, "`orders` must have 1"),
        (lambda h: h.addresses(ROWS.int(), [1]), HashDtypeError, "`premixed` is torch.int32"),
        (lambda h: h.addresses(ROWS, torch.tensor([1.0])), HashDtypeError, "`orders` is torch.fl"),
        (lambda h: h.prefix(ROWS.double()), HashDtypeError, "`premixed` is torch.float64"),
        (lambda h: h.prefix(ROWS[0]), HashShapeError, "`premixed` must have 2"),
        (lambda h: h.premix(ROWS[0].int()), HashDtypeError, "`canonical` is torch.int32"),
        (lambda h: h.premix(ROWS), HashShapeError, "`canonical` must have 1"),
        (lambda h: h.address([]), OrderError, "`order` is 0"),
        (lambda h: h.address(range(9)), OrderError, "`order` is 9"),
        (lambda h: SuffixHasher(-1), HashSeedError, "seed is -1, but must be in 0"),
        (lambda h: SuffixHasher(2**64), HashSeedError, "must be in 0 to"),
        (lambda h: SuffixHasher(0, 0), OrderError, "`max_order` is 0"),
        (lambda h: SuffixHasher(0, 513), OrderError, "`max_order` is 513, .* 1 to 512"),
    ],
)
def test_bad_input_raises_a_named_error(
    call: Callable[[SuffixHasher], object], error: type[EngramError], match: str
) -> None:
    with pytest.raises(error, match=match):
        call(SuffixHasher(0, max_order=8))

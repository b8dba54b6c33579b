"""Promises of a bank's addresses."""

from __future__ import annotations

import importlib.util
import pickle

import pytest
import torch
from banks import DATA, VOCABULARY, as_tensors, config_of, cuts, golden, own_texts, small, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_transformers.banks.addresses import (
    BankHash,
    bank_addresses,
    history_after,
    multipliers,
    numbered,
    table_addresses,
)
from engram_transformers.banks.errors import (
    BankConfigError,
    BankDtypeError,
    BankLayerError,
    BankShapeError,
    CanonicalIdError,
)
from engram_transformers.banks.sizes import bucket_sizes

GOLDEN = golden()
CASES = [(name, layer) for name, case in GOLDEN["addresses"].items() for layer in case["layers"]]


def reference(row: list[int], bank_hash: BankHash) -> list[list[int]]:
    """Compute the addresses of one text in plain Python: n-gram by n-gram."""
    config = bank_hash.config
    odd = multipliers(config, bank_hash.layer, bank_hash.vocabulary).tolist()
    padded = [config.pad_id] * (config.max_order - 1) + row
    rows: list[list[int]] = []
    for end in range(config.max_order, len(padded) + 1):
        found: list[int] = []
        for order, primes in enumerate(bucket_sizes(config)[bank_hash.layer], start=2):
            mix = 0
            for token, factor in zip(reversed(padded[end - order : end]), odd, strict=False):
                mix ^= token * factor
            found += [mix % prime for prime in primes]
        rows.append(found)
    return rows


@pytest.mark.parametrize(("name", "layer"), CASES)
def test_addresses_equal_the_published_arithmetic_exactly(name, layer):
    case = GOLDEN["addresses"][name]
    bank_hash = BankHash(config_of(case["fields"]), int(layer), case["fields"]["vocabulary"])
    expected = case["layers"][layer]
    assert bank_hash.primes.tolist() == expected["primes"]
    assert bank_hash.multipliers.tolist() == expected["multipliers"]
    ids = torch.tensor(case["canonical_ids"])
    assert bank_addresses(ids, None, bank_hash).tolist() == expected["addresses"]


def test_the_golden_file_is_what_its_script_makes():
    spec = importlib.util.spec_from_file_location("make", DATA / "make_bank_golden.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    made = make.golden()
    assert made["addresses"] == GOLDEN["addresses"]
    for name, case in made["outputs"].items():
        assert case.pop("output") == [
            [pytest.approx(line, abs=1e-12) for line in streams]
            for streams in GOLDEN["outputs"][name]["output"]
        ]
        assert case.items() <= GOLDEN["outputs"][name].items()


@settings(max_examples=100, deadline=None)
@given(
    batch=texts(),
    max_order=st.integers(2, 5),
    heads=st.integers(1, 3),
    seed=st.integers(0, 2**64 - 1),
    pad_id=st.integers(0, VOCABULARY - 1),
    vocabulary=st.sampled_from((VOCABULARY, 1 << 20, 1 << 40)),
    data=st.data(),
)
def test_any_cut_of_packed_texts_gives_the_addresses_of_each_text_alone(
    batch, max_order, heads, seed, pad_id, vocabulary, data
):
    rows, masks = batch
    rows = [[i if i % 2 else vocabulary - 1 - i for i in row] for row in rows]
    config = small(max_order=max_order, heads=heads, row_dim=heads, seed=seed, pad_id=pad_id)
    bank_hash = BankHash(config, 1, vocabulary)
    expected = [
        [
            line
            for begin, end in own_texts(row, mask)
            for line in reference(row[begin:end], bank_hash)
        ]
        for row, mask in zip(rows, masks, strict=True)
    ]
    ids, starts = as_tensors(rows, masks)
    assert bank_addresses(ids, None, bank_hash, starts=starts).tolist() == expected

    parts, history = [], None
    lengths = data.draw(cuts(ids.shape[1]))
    for part, mask in zip(ids.split(lengths, 1), starts.split(lengths, 1), strict=True):
        given = mask if data.draw(st.booleans()) or mask.any() else None
        parts.append(bank_addresses(part, history, bank_hash, starts=given))
        history = history_after(part, history, bank_hash, starts=given)
        assert history.shape == (len(rows), max_order - 1)
    assert torch.cat(parts, 1).tolist() == expected


def test_padding_on_the_left_changes_no_address():
    bank_hash = BankHash(small(max_order=4, pad_id=5), 1, VOCABULARY)
    ids = torch.tensor([[3, 1, 2, 8]])
    padded = torch.cat([torch.full((1, 6), 9), ids], dim=1)
    starts = torch.arange(10).unsqueeze(0) == 6
    found = bank_addresses(padded, None, bank_hash, starts=starts)
    assert torch.equal(found[:, 6:], bank_addresses(ids, None, bank_hash))
    history = history_after(padded[:, :8], None, bank_hash, starts=starts[:, :8])
    assert history.tolist() == [[5, 3, 1]]


def test_an_address_depends_on_the_ids_of_its_order_and_on_their_places_alone():
    config = small(memory_size=10_007, max_order=3, heads=1, row_dim=1)
    bank_hash = BankHash(config, 1, VOCABULARY)
    found = bank_addresses(torch.tensor([[1, 2, 3], [4, 2, 3], [4, 3, 2]]), None, bank_hash)
    (two, three), (same, other), (swapped, _) = found[:, -1].tolist()
    assert two == same != swapped
    assert three != other


def test_layers_have_addresses_of_their_own():
    config = small(layers=(1, 2), memory_size=1000)
    ids = torch.arange(VOCABULARY).unsqueeze(0)
    one, other = (bank_addresses(ids, None, BankHash(config, i, VOCABULARY)) for i in (1, 2))
    assert not torch.equal(one, other)
    assert not torch.equal(multipliers(config, 1, 13), multipliers(config, 2, 13))


def test_heads_stand_one_after_another_in_one_table():
    bank_hash = BankHash(small(memory_size=(7, 20)), 1, VOCABULARY)
    primes = bank_hash.primes.flatten()
    assert primes.tolist() == [7, 11, 23, 29]
    assert bank_hash.offsets.tolist() == [0, 7, 18, 41]
    assert bank_hash.rows == 70
    ends = torch.stack([torch.zeros(4, dtype=torch.int64), primes - 1])
    assert table_addresses(ends, bank_hash).tolist() == [[0, 7, 18, 41], [6, 17, 40, 69]]


@pytest.mark.parametrize("vocabulary", [1, 2, 3, 50_257, (1 << 62) - 1])
def test_multipliers_are_odd_and_no_product_leaves_63_bits(vocabulary):
    for layer in range(20):
        found = multipliers(small(layers=range(20), max_order=4), layer, vocabulary)
        assert found.shape == (4,)
        assert found.dtype == torch.int64
        assert all(number % 2 for number in found.tolist())
        assert (vocabulary - 1) * int(found.max()) < 2**63
        assert int(found.min()) > 0


def test_a_state_dict_holds_what_addresses_are_computed_from():
    saved, fresh = (BankHash(small(seed=seed), 1, VOCABULARY) for seed in (1, 2))
    ids = torch.arange(VOCABULARY).unsqueeze(0)
    assert not torch.equal(*(bank_addresses(ids, None, h) for h in (saved, fresh)))
    fresh.load_state_dict(saved.state_dict())
    copy = pickle.loads(pickle.dumps(saved.to(torch.bfloat16)))
    for other in (fresh, copy):
        assert torch.equal(*(bank_addresses(ids, None, h) for h in (saved, other)))
    assert repr(saved) == "BankHash(layer=1, vocabulary=13, rows=48)"


def test_ids_are_numbered_in_the_order_in_which_spellings_appear():
    numbers, count = numbered(torch.tensor([0, 1, 0, 3, 1, 5]))
    assert (numbers.tolist(), count) == ([0, 1, 0, 2, 1, 3], 4)


@pytest.mark.parametrize("seq", [0, 1])
def test_calls_of_no_or_one_token_are_allowed(seq):
    bank_hash = BankHash(small(), 1, VOCABULARY)
    ids, starts = torch.ones(2, seq, dtype=torch.int64), torch.ones(2, seq, dtype=torch.bool)
    assert bank_addresses(ids, None, bank_hash, starts=starts).shape == (2, seq, 4)
    assert (
        history_after(ids, None, bank_hash, starts=starts).tolist()
        == [[0] * (2 - seq) + [1] * seq] * 2
    )


IDS = torch.ones(2, 3, dtype=torch.int64)


@pytest.mark.parametrize("function", [bank_addresses, history_after])
@pytest.mark.parametrize(
    ("ids", "history", "starts", "error", "message"),
    [
        (
            IDS[0],
            None,
            None,
            BankShapeError,
            r"`canonical_ids` has shape \(3,\), but must have two",
        ),
        (IDS.int(), None, None, BankDtypeError, "`canonical_ids` is torch.int32"),
        (IDS - 2, None, None, CanonicalIdError, "`canonical_ids` holds the id -1, .* 0 to 12"),
        (IDS + 12, None, None, CanonicalIdError, "holds the id 13, .* give ids as `numbered`"),
        (IDS, IDS, None, BankShapeError, r"`history` has shape \(2, 3\), .* \(2, 2\)"),
        (IDS, IDS[:1, :2], None, BankShapeError, r"`history` has shape \(1, 2\)"),
        (IDS, IDS[:, :2].float(), None, BankDtypeError, "`history` is torch.float32"),
        (IDS, IDS[:, :2] - 2, None, CanonicalIdError, "`history` holds the id -1"),
        (IDS, None, IDS, BankDtypeError, "`starts` is torch.int64"),
        (IDS, None, IDS[:, :1] > 0, BankShapeError, r"`starts` has shape \(2, 1\)"),
    ],
)
def test_bad_tensors_are_refused(function, ids, history, starts, error, message):
    with pytest.raises(error, match=message):
        function(ids, history, BankHash(small(), 1, VOCABULARY), starts=starts)


@pytest.mark.parametrize(
    ("fields", "layer", "vocabulary", "error", "message"),
    [
        ({}, 2, 13, BankLayerError, "Layer 2 has no bank. Layers of this configuration: 1."),
        ({}, -1, 13, BankLayerError, "Layer -1 has no bank"),
        ({}, 1, 0, BankConfigError, "`vocabulary` is 0, but must be the number of canonical ids"),
        ({}, 1, 13.0, BankConfigError, "`vocabulary` is 13.0"),
        ({}, 1, 1 << 62, BankConfigError, "`vocabulary` is"),
        ({"pad_id": 13}, 1, 13, BankConfigError, "`pad_id` is 13, but must be .* 0 to 12"),
    ],
)
def test_layers_and_vocabularies_that_do_not_exist_are_refused(
    fields, layer, vocabulary, error, message
):
    for make in (BankHash, multipliers):
        with pytest.raises(error, match=message):
            make(small(**fields), layer, vocabulary)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_addresses():
    bank_hash = BankHash(small(max_order=5, memory_size=1000), 1, 1 << 17)
    ids = torch.randint(0, 1 << 17, (4, 200))
    starts = torch.rand(4, 200) < 0.1
    expected = bank_addresses(ids, None, bank_hash, starts=starts)
    found = bank_addresses(ids.cuda(), None, bank_hash.cuda(), starts=starts.cuda())
    assert torch.equal(found.cpu(), expected)

"""Promises of a bank's configuration and of its prime sizes."""

from __future__ import annotations

import dataclasses

import pytest
from banks import config_of, golden, small
from hypothesis import given
from hypothesis import strategies as st

from engram_transformers.banks.errors import BankConfigError, BankSizeError, BankWidthError
from engram_transformers.banks.sizes import BankConfig, bucket_sizes, is_prime
from engram_transformers.errors import ConfigError, EngramError

CASES = golden()["addresses"]


@pytest.mark.parametrize("name", CASES)
def test_sizes_are_the_published_ones(name):
    found = bucket_sizes(config_of(CASES[name]["fields"]))
    layers = CASES[name]["layers"]
    assert list(found) == CASES[name]["fields"]["layers"]
    for layer, sizes in found.items():
        assert [list(row) for row in sizes] == layers[str(layer)]["primes"]


@given(
    layers=st.lists(st.integers(0, 40), min_size=1, max_size=4, unique=True),
    sizes=st.lists(st.integers(4, 60), min_size=1, max_size=3),
    heads=st.integers(1, 4),
)
def test_no_prime_is_used_twice_over_all_layers_orders_and_heads(layers, sizes, heads):
    config = BankConfig(
        layers=layers,
        memory_size=tuple(sizes),
        max_order=len(sizes) + 1,
        heads=heads,
        row_dim=heads,
    )
    used = []
    for layer in layers:
        for size, primes in zip(sizes, bucket_sizes(config)[layer], strict=True):
            assert len(primes) == heads
            assert min(primes) >= size
            assert list(primes) == sorted(primes)
            used += primes
    assert len(set(used)) == len(used) == len(layers) * len(sizes) * heads
    assert all(map(is_prime, used))


def test_a_size_that_is_prime_is_used_itself():
    assert bucket_sizes(small(memory_size=11, heads=1, max_order=2)) == {1: ((11,),)}
    assert bucket_sizes(small(memory_size=1, heads=1, max_order=2)) == {1: ((2,),)}


def test_primes_are_those_of_the_sieve():
    sieve = [number > 1 for number in range(20_000)]
    for number in range(2, 142):
        sieve[number * number :: number] = [False] * len(sieve[number * number :: number])
    assert [is_prime(number) for number in range(20_000)] == sieve
    assert not is_prime(-7)


@pytest.mark.parametrize(
    ("number", "prime"),
    [
        (561, False),  # Carmichael numbers
        (825_265, False),
        (3_215_031_751, False),  # the least that passes for 2, 3, 5 and 7
        (3_825_123_056_546_413_051, False),  # the least that passes for the first nine primes
        (1_000_003 * 1_000_033, False),
        (2**61 - 1, True),
        (2**64 - 59, True),
        (2**64 - 57, False),
    ],
)
def test_numbers_that_fool_weaker_tests_are_told_apart(number, prime):
    assert is_prime(number) == prime


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"memory_size": 7, "heads": 8, "row_dim": 8}, BankSizeError, "heads, 8: ask for more"),
        ({"memory_size": (7, 1)}, BankSizeError, "`memory_size` is 1, but must be at least the"),
        ({"memory_size": 0}, BankConfigError, "`memory_size` is 0, but must be an integer from 1"),
        ({"memory_size": True}, BankConfigError, "`memory_size` is True"),
        ({"memory_size": 7.0}, BankConfigError, "`memory_size` is 7.0"),
        ({"memory_size": (7, "8")}, BankConfigError, "`memory_size` is '8'"),
        ({"memory_size": (1 << 40) + 1}, BankConfigError, "from 1 to 1099511627776"),
        ({"memory_size": (7, 7, 7)}, BankConfigError, "one number, or 2: one for each order"),
        ({"memory_size": ()}, BankConfigError, "one number, or 2"),
        ({"row_dim": 5}, BankWidthError, "a multiple of the 2 heads, such as 4 or 6"),
        ({"row_dim": 1}, BankWidthError, "a multiple of the 2 heads, such as 2"),
        ({"row_dim": 0}, BankConfigError, "`row_dim` is 0"),
        ({"heads": 0}, BankConfigError, "`heads` is 0"),
        ({"heads": 2.0}, BankConfigError, "`heads` is 2.0"),
        ({"max_order": 1}, BankConfigError, "`max_order` is 1, but must be an integer from 2"),
        ({"max_order": 513}, BankConfigError, "to 512"),
        ({"kernel_size": 0}, BankConfigError, "`kernel_size` is 0"),
        ({"streams": 0}, BankConfigError, "`streams` is 0"),
        ({"seed": -1}, BankConfigError, "`seed` is -1"),
        ({"seed": 1 << 64}, BankConfigError, "`seed` is"),
        ({"pad_id": -1}, BankConfigError, "`pad_id` is -1"),
        ({"layers": ()}, BankConfigError, "block indices such as"),
        ({"layers": 3}, BankConfigError, "block indices such as"),
        ({"layers": (1, -1)}, BankConfigError, "integers from 0: resolve negative ones first"),
        ({"layers": (1.0,)}, BankConfigError, "integers from 0"),
        ({"layers": (1, 2, 1)}, BankConfigError, "without repetition"),
    ],
)
def test_values_out_of_range_are_refused(fields, error, message):
    with pytest.raises(error, match=message) as seen:
        small(**fields)
    assert seen.type is error
    assert isinstance(seen.value, (EngramError, ConfigError, ValueError))
    assert seen.value.field in fields


@pytest.mark.parametrize(
    ("width", "fields", "message"),
    [
        (1023, {}, "`width` is 1023, but must be a multiple of the 2 orders, such as 1022 or 1024"),
        (1022, {}, "a multiple of the 16 heads of all orders, such as 1008 or 1024"),
        (1024, {"max_order": 4}, "a multiple of the 3 orders"),
        (1024, {"heads": 0}, "`heads` is 0"),
        (1024, {"max_order": 1}, "`max_order` is 1"),
        (0, {}, "`width` is 0"),
    ],
)
def test_a_width_that_orders_or_heads_do_not_divide_is_refused(width, fields, message):
    with pytest.raises(BankConfigError, match=message):
        BankConfig.of_width(width, layers=(1,), memory_size=100, **fields)


def test_a_width_is_shared_by_orders_and_heads():
    config = BankConfig.of_width(48, layers=[1], memory_size=[9, 8, 8], max_order=4, heads=4)
    assert (config.row_dim, config.head_dim, config.width, config.order_count) == (16, 4, 48, 3)
    assert config.sizes == config.memory_size == (9, 8, 8)


def test_a_configuration_is_hashable_and_cannot_be_changed():
    config = small(layers=[1, 2], memory_size=[7, 8])
    assert hash(config) == hash(small(layers=(1, 2), memory_size=(7, 8)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.heads = 3

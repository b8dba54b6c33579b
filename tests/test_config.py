"""Promises of `EngramConfig`."""

from __future__ import annotations

import dataclasses

import pytest

from engram_transformers import EngramConfig
from engram_transformers.errors import ConfigError, ConfigFieldError, EngramError


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EngramConfig().row_dim = 3  # pyright: ignore


@pytest.mark.parametrize(
    ("given", "layers"),
    [("auto", "auto"), (3, (3,)), ([1, -1], (1, -1)), ((2,), (2,)), (range(2), (0, 1))],
)
def test_layers_are_given_in_many_ways(given, layers):
    assert EngramConfig(layers=given).layers == layers


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": []}, r"`layers` is \[\], but must be block indices"),
        ({"layers": "first"}, "`layers` is 'first', but must be block indices"),
        ({"layers": {1: 2}}, "must be block indices"),
        ({"layers": [1.0]}, r"`layers` is \[1.0\], but must be integers"),
        ({"layers": [True]}, "must be integers"),
        ({"row_dim": 0}, "`row_dim` is 0, but must be an integer from 1 to 65536"),
        ({"row_dim": 16.0}, "`row_dim` is 16.0"),
        ({"row_dim": True}, "`row_dim` is True"),
        ({"max_order": 513}, "`max_order` is 513, but must be an integer from 1 to 512"),
        ({"max_order": 0}, "`max_order` is 0"),
        ({"seed": -1}, "`seed` is -1"),
        ({"seed": 1 << 64}, "`seed` is 18446744073709551616"),
        ({"gate_type": "open"}, "one of 'fixed', 'content', 'learned'"),
        ({"memory_size": 5}, "`memory_size` is 5, but must be at least 128: each head needs"),
        ({"memory_size": 127}, r"`memory_size` is 127, .* as an order has heads \(8\): ask for"),
        ({"memory_size": -1}, "`memory_size` is -1, but must be an integer from 0"),
        ({"memory_size": False}, "`memory_size` is False"),
        ({"bank_order": 1}, "`bank_order` is 1, but must be an integer from 2 to 512"),
        ({"bank_heads": 0}, "`bank_heads` is 0, but must be an integer from 1"),
        ({"bank_dim": 64.0}, "`bank_dim` is 64.0"),
        ({"bank_kernel_size": 0}, "`bank_kernel_size` is 0"),
        ({"bank_dim": 9, "memory_size": 999}, "`bank_dim` is 9, .* of the 2 orders, such as 8"),
        ({"bank_dim": 40, "memory_size": 999}, "of the 16 heads of all orders, such as 32 or 48"),
    ],
)
def test_values_out_of_range_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message) as seen:
        EngramConfig(**fields)
    assert isinstance(seen.value, EngramError)
    assert isinstance(seen.value, ValueError)
    assert (seen.value.field, seen.value.value) == next(iter(fields.items()))


@pytest.mark.parametrize("memory_size", [0, 128])
def test_the_sizes_of_a_bank_are_looked_at_where_there_is_one(memory_size):
    assert EngramConfig(memory_size=memory_size).memory_size == memory_size
    assert EngramConfig(bank_dim=9).bank_dim == 9


def test_the_edges_of_each_range_are_allowed():
    edges = EngramConfig(row_dim=1, max_order=512, seed=(1 << 64) - 1)
    assert EngramConfig(row_dim=1 << 16, max_order=1).seed == 0
    assert edges.max_order == 512


def test_from_fields_replaces_fields_of_a_configuration():
    base = EngramConfig(row_dim=8, seed=3)
    assert EngramConfig.from_fields(base, {"seed": 4}) == EngramConfig(row_dim=8, seed=4)
    assert EngramConfig.from_fields(None, {}) == EngramConfig()


def test_inject_layers_is_another_name_for_layers():
    fields = {"inject_layers": [0, 2]}
    assert EngramConfig.from_fields(None, fields).layers == (0, 2)
    assert fields == {"inject_layers": [0, 2]}
    with pytest.raises(ConfigFieldError, match=r"inject_layers. Known: layers \(given as well\)"):
        EngramConfig.from_fields(None, {"inject_layers": [0], "layers": [1]})


def test_unknown_fields_are_all_named():
    with pytest.raises(ConfigFieldError, match=r"Unknown.*: gate, rows. Known: layers, row_dim"):
        EngramConfig.from_fields(None, {"rows": 3, "gate": 1, "seed": 2})


def test_to_dict_gives_json_types_that_make_the_same_configuration():
    for config in (EngramConfig(), EngramConfig(layers=(1, 2), row_dim=8, gate_type="content")):
        fields = config.to_dict()
        assert not isinstance(fields["layers"], tuple)
        assert EngramConfig(**fields) == config


def test_what_has_no_bank_is_described_as_before_there_were_any():
    assert list(EngramConfig().to_dict()) == [
        "layers", "row_dim", "gate_type", "max_order", "seed", "memory_size",
    ]  # fmt: skip
    assert EngramConfig(**EngramConfig(bank_order=4).to_dict()).bank_order == 4
    rows = EngramConfig().row_fields()
    assert EngramConfig(memory_size=1000, bank_heads=2).row_fields() == rows
    assert list(rows) == ["row_dim", "gate_type", "max_order", "seed"]


def test_layers_do_not_decide_what_a_row_does():
    one, other = EngramConfig(layers=(1,)), EngramConfig(layers=(2,))
    assert one.row_fields() == other.row_fields()
    assert EngramConfig(seed=5).row_fields() != one.row_fields()

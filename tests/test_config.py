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
        ({"memory_size": 5}, "`memory_size` is 5, but must be 0: trained banks are not part"),
        ({"memory_size": False}, "`memory_size` is False"),
    ],
)
def test_values_out_of_range_are_refused(fields, message):
    with pytest.raises(ConfigError, match=message) as seen:
        EngramConfig(**fields)
    assert isinstance(seen.value, EngramError)
    assert isinstance(seen.value, ValueError)
    assert (seen.value.field, seen.value.value) == next(iter(fields.items()))


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


def test_layers_do_not_decide_what_a_row_does():
    one, other = EngramConfig(layers=(1,)), EngramConfig(layers=(2,))
    assert one.row_fields() == other.row_fields()
    assert EngramConfig(seed=5).row_fields() != one.row_fields()

"""Promises of stored rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from engram_transformers.errors import ConfigError
from engram_transformers.storage import (
    as_stored,
    decode_rows,
    encode_row_index,
    encode_rows,
    has_stray_codes,
    require_row_dtype,
)

DTYPES = ("int4", "int8", "float16", "bfloat16", "float32")
# Half of a step, relative to a row's largest number; and what float16 scales lose besides.
ERRORS = {
    "int4": 0.5 / 7 + 1e-3,
    "int8": 0.5 / 127 + 1e-3,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
    "float32": 0.0,
}


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_lose_little(dtype):
    values = torch.randn(50, 16) * 3
    error = (as_stored(values, dtype) - values).abs()
    assert bool((error <= ERRORS[dtype] * values.abs().amax(1, keepdim=True)).all())


@settings(max_examples=100, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES),
    scale=st.sampled_from([1e-7, 1e-3, 1.0, 300.0]),
    seed=st.integers(0, 1000),
)
def test_storing_what_was_stored_changes_no_bit(dtype, scale, seed):
    values = torch.randn(6, 8, generator=torch.Generator().manual_seed(seed)) * scale
    once = as_stored(values, dtype)
    assert torch.equal(as_stored(once, dtype), once)
    stored, again = encode_rows(once, dtype), encode_rows(once, dtype)
    assert all(torch.equal(stored[name], again[name]) for name in stored)
    assert torch.equal(decode_rows(stored, 8), once)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_zeros_and_no_rows_at_all_are_stored(dtype):
    assert torch.equal(as_stored(torch.zeros(2, 4), dtype), torch.zeros(2, 4))
    assert as_stored(torch.zeros(0, 4), dtype).shape == (0, 4)


def test_scales_are_never_zero_so_that_nothing_is_divided_by_it():
    values = torch.stack([torch.zeros(4), torch.full((4,), 1e-30), torch.ones(4)])
    assert bool((encode_rows(values, "int8")["scales"] > 0).all())


def test_int8_comes_with_one_scale_per_row():
    stored = encode_rows(torch.tensor([[127.0, -127.0, 1.0], [0.5, 0.25, 0.0]]), "int8")
    assert stored["rows"].dtype == torch.int8
    assert stored["scales"].dtype == torch.float16
    assert stored["rows"].tolist()[0] == [127, -127, 1]
    assert_close(decode_rows(stored, 3)[1], torch.tensor([0.5, 0.25, 0.0]), rtol=0.01, atol=0.003)
    assert list(encode_rows(torch.zeros(1, 2), "float16")) == ["rows"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_pass_straight_through(dtype):
    values = torch.randn(3, 4, requires_grad=True)
    stored = as_stored(values, dtype)
    assert_close(stored.detach(), as_stored(values.detach(), dtype))
    (stored * torch.arange(4.0)).sum().backward()
    assert torch.equal(values.grad, torch.arange(4.0).expand(3, 4))


def test_other_dtypes_are_refused():
    for dtype in DTYPES:
        require_row_dtype(dtype)
    with pytest.raises(ConfigError, match=r"`dtype` is 'int2'.*'int4', 'int8', 'float16'"):
        require_row_dtype("int2")


@pytest.mark.parametrize("row_dim", [1, 2, 7, 8])
def test_int4_puts_two_numbers_into_a_byte(row_dim):
    values = torch.randint(-7, 8, (5, row_dim)).float()
    values[:, 0] = 7  # the scale is 1
    stored = encode_rows(values, "int4")
    assert stored["rows"].shape == (5, (row_dim + 1) // 2)
    assert stored["rows"].dtype == torch.uint8
    assert stored["scales"].tolist() == [1.0] * 5
    assert torch.equal(decode_rows(stored, row_dim), values)
    assert not has_stray_codes(stored["rows"], row_dim)


def test_codes_that_no_row_is_stored_as_are_noticed():
    stored = encode_rows(torch.ones(2, 3), "int4")["rows"]
    below, beyond = stored.clone(), stored.clone()
    below[0, 0] = 0x0F  # -8 in the high half
    beyond[1, 1] = 0x1F  # the fourth number of three
    assert has_stray_codes(below, 3)
    assert has_stray_codes(beyond, 3)
    assert not has_stray_codes(stored, 3)


@pytest.mark.parametrize(
    ("rows", "dtype"), [(256, torch.uint8), (257, torch.int16), (1 << 15, torch.int16)]
)
def test_row_numbers_take_as_few_bytes_as_they_can(rows, dtype):
    row_index = torch.arange(rows).flip(0)
    stored = encode_row_index(row_index, rows)
    assert stored.dtype == dtype
    assert torch.equal(stored.to(torch.int64), row_index)
    assert encode_row_index(torch.arange(rows), rows) is None
    assert encode_row_index(torch.zeros(3, dtype=torch.int64), (1 << 15) + 1).dtype == torch.int32

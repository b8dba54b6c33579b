"""Promises of looking into 4-bit weights; the package itself: see `test_contract_quantised`."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from engram_transformers.four_bits import four_bit_samples, is_four_bits, logical_shape


def weight_of(data: torch.Tensor, shape: tuple[int, int], *, packed: bool) -> torch.nn.Parameter:
    weight = torch.nn.Parameter(data, requires_grad=False)
    weight.quant_state = SimpleNamespace(shape=torch.Size(shape), packing_format_for_cpu=packed)
    return weight


def as_quantised(codes: torch.Tensor) -> torch.nn.Parameter:
    flat = codes.reshape(-1)
    return weight_of((flat[::2] << 4 | flat[1::2])[:, None], tuple(codes.shape), packed=False)


def as_laid_out_anew(codes: torch.Tensor) -> torch.nn.Parameter:
    """For 32 rows and 2 columns at a time: codes row by row, the later half in the high bits."""
    rows, columns = codes.shape
    found: list[int] = []
    for block in range(0, rows, 32):
        for column in range(0, columns, 2):
            group = codes[block : block + 32, column : column + 2].reshape(-1).tolist()
            found += [low | high << 4 for low, high in zip(group[:32], group[32:], strict=True)]
    data = torch.tensor(found, dtype=torch.uint8).view(rows, columns // 2)
    return weight_of(data, (rows, columns), packed=True)


@pytest.mark.parametrize("shape", [(64, 64), (32, 2), (96, 70)])
def test_codes_are_the_same_in_both_layouts(shape):
    codes = torch.randint(0, 16, shape, dtype=torch.uint8)
    flat = codes.reshape(-1)
    expected = flat[:: max(flat.numel() // 16, 1)][:16]
    for weight in (as_quantised(codes), as_laid_out_anew(codes)):
        assert is_four_bits(weight)
        assert logical_shape(weight) == shape
        assert torch.equal(four_bit_samples(weight, 16), expected)
    every = four_bit_samples(as_laid_out_anew(codes), flat.numel())
    assert torch.equal(every, flat)


def test_other_weights_keep_their_shape():
    weight = torch.nn.Parameter(torch.zeros(3, 2))
    assert not is_four_bits(weight)
    assert logical_shape(weight) == (3, 2)

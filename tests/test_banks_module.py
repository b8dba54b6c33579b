"""Promises of the module of a bank."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from banks import (
    SIZE,
    VOCABULARY,
    as_tensors,
    config_of,
    cuts,
    golden,
    memory,
    own_texts,
    small,
    texts,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engram_transformers.banks.addresses import bank_addresses, table_addresses
from engram_transformers.banks.module import BankMemory

GOLDEN = golden()["outputs"]


def inputs(module: BankMemory, batch: int = 2, seq: int = 11) -> tuple[torch.Tensor, torch.Tensor]:
    """Return hidden states with streams, and addresses."""
    hidden = torch.randn(batch, seq, module.config.streams, SIZE)
    ids = torch.randint(0, VOCABULARY, (batch, seq))
    return hidden, bank_addresses(ids, None, module.bank_hash)


def run(module: BankMemory, hidden, addresses, state=None, starts=None):
    """Return what is added, and the state for the next call."""
    added, given = module(hidden, addresses, state, starts)
    return added, module.state_after(state, given, starts)


def in_chunks(module: BankMemory, hidden, addresses, starts, lengths: list[int]):
    """Return the output and the last state of a sequence that comes in chunks."""
    parts, state = [], None
    for chunk, rows, mask in zip(
        *(whole.split(lengths, 1) for whole in (hidden, addresses, starts)), strict=True
    ):
        part, state = run(module, chunk, rows, state, mask if mask.any() else None)
        parts.append(part)
    return torch.cat(parts, 1), state


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", GOLDEN)
def test_outputs_equal_the_published_arithmetic(name, dtype):
    case = GOLDEN[name]
    weights = {key: torch.tensor(value, dtype=dtype) for key, value in case["weights"].items()}
    hidden = torch.tensor([case["hidden_states"]], dtype=dtype)
    module = BankMemory(config_of(case["fields"]), 1, hidden.shape[-1], case["vocabulary"]).to(
        dtype
    )
    module.load_state_dict(
        {
            **{f"bank_hash.{key}": value for key, value in module.bank_hash.state_dict().items()},
            "table.weight": weights["table"],
            "value_projection.weight": weights["value_weight"],
            "value_projection.bias": weights["value_bias"],
            "key_projection.weight": weights["key_weight"].flatten(0, 1),
            "key_projection.bias": weights["key_bias"].flatten(),
            "key_norm": weights["key_norm"],
            "hidden_norm": weights["hidden_norm"],
            "convolution_norm": weights["convolution_norm"],
            "convolution": weights["convolution"].movedim(2, 0),
        }
    )
    addresses = bank_addresses(torch.tensor([case["canonical_ids"]]), None, module.bank_hash)
    found, state = run(module, hidden, addresses)
    expected = torch.tensor([case["output"]], dtype=torch.float64)
    assert found.dtype == state.dtype == dtype
    assert torch.allclose(found.double(), expected, rtol=0, atol=1e-6)


def test_the_layers_of_torch_give_the_same():
    module = memory(streams=3)
    hidden, addresses = inputs(module)
    rows = module.table(table_addresses(addresses, module.bank_hash)).flatten(2)
    norms = [nn.RMSNorm(SIZE) for _ in range(6)]
    gated = []
    for stream in range(3):
        norms[stream].weight.data = module.key_norm.data[stream]
        norms[stream + 3].weight.data = module.hidden_norm.data[stream]
        part = slice(stream * SIZE, stream * SIZE + SIZE)
        weight, bias = module.key_projection.weight[part], module.key_projection.bias[part]
        key = norms[stream](nn.functional.linear(rows, weight, bias))
        score = (key * norms[stream + 3](hidden[:, :, stream])).sum(-1, keepdim=True) / SIZE**0.5
        gate = torch.sigmoid(score.abs().clamp_min(1e-6).sqrt() * score.sign())
        gated.append(gate * module.value_projection(rows))
    values = torch.stack(gated, 2)  # (batch, seq, streams, size)
    normed = nn.functional.rms_norm(values, (SIZE,), eps=1e-5) * module.convolution_norm
    convolution = nn.Conv1d(3 * SIZE, 3 * SIZE, 4, groups=3 * SIZE, bias=False, dilation=3)
    convolution.weight.data = module.convolution.data.movedim(0, 2).flatten(0, 1).unsqueeze(1)
    channels = nn.functional.pad(normed.flatten(2).transpose(1, 2), (9, 0))
    convolved = convolution(channels).transpose(1, 2).view_as(values)
    found, state = run(module, hidden, addresses)
    assert torch.allclose(found, values + nn.functional.silu(convolved), atol=1e-6)
    assert torch.allclose(state, normed[:, -9:], atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    batch=texts(longest=24),
    streams=st.integers(1, 2),
    kernel_size=st.integers(1, 4),
    max_order=st.integers(2, 4),
    data=st.data(),
)
@torch.no_grad()
def test_any_cut_of_packed_texts_gives_the_output_of_each_text_alone(
    batch, streams, kernel_size, max_order, data
):
    # In float64, so that the tolerance leaves room for nothing but rounding.
    module = memory(streams=streams, kernel_size=kernel_size, max_order=max_order).double()
    ids, starts = as_tensors(*batch)
    hidden = torch.randn(*ids.shape, streams, SIZE, dtype=torch.float64)
    addresses = bank_addresses(ids, None, module.bank_hash, starts=starts)
    whole, last = run(module, hidden, addresses, None, starts)
    for sample, (row, mask) in enumerate(zip(*batch, strict=True)):
        for begin, end in own_texts(row, mask):
            own = bank_addresses(ids[sample : sample + 1, begin:end], None, module.bank_hash)
            alone, _ = run(module, hidden[sample : sample + 1, begin:end], own)
            assert torch.allclose(whole[sample, begin:end], alone[0], rtol=0, atol=1e-12)

    found, state = in_chunks(module, hidden, addresses, starts, data.draw(cuts(ids.shape[1])))
    assert torch.allclose(found, whole, rtol=0, atol=1e-12)
    assert state.shape == (len(ids), module.state_length, streams, SIZE)
    assert torch.allclose(state, last, rtol=0, atol=1e-12)


@pytest.mark.parametrize("lengths", [[1] * 30, [7, 1, 0, 12, 10], [29, 1]])
@pytest.mark.parametrize("streams", [1, 3])
@torch.no_grad()
def test_any_cut_gives_the_same_output_in_single_precision(streams, lengths):
    module = memory(streams=streams)
    hidden, addresses = inputs(module, batch=3, seq=30)
    starts = torch.rand(3, 30) < 0.1
    whole, last = run(module, hidden, addresses, None, starts)
    found, state = in_chunks(module, hidden, addresses, starts, lengths)
    # Relative as well: outputs are as large as 8, where float32 is 1e-6 apart.
    assert torch.allclose(found, whole, rtol=1e-6, atol=1e-6)
    assert torch.allclose(state, last, rtol=1e-6, atol=1e-6)


def test_the_gate_has_the_published_step_where_its_score_changes_sign():
    module = memory(filled=False, streams=1)
    nn.init.ones_(module.key_projection.bias)
    nn.init.zeros_(module.key_projection.weight)
    module.double()
    rows = torch.zeros(1, 1, 8, dtype=torch.float64)
    around = torch.tensor([1.0, -1, 1, -1, 1, -1], dtype=torch.float64).view(1, 1, 1, SIZE)
    # Where rounding moves the score across zero, it moves the gate by 5e-4.
    for tilt, gate in ((-1e-9, -1e-3), (1e-9, 1e-3)):
        expected = 1 / (1 + math.exp(-gate))
        assert module._gate(around + tilt, rows).item() == pytest.approx(expected, abs=1e-12)


def test_padding_on_the_left_changes_nothing_even_if_it_is_not_a_number():
    module = memory()
    hidden, addresses = inputs(module, batch=1, seq=7)
    padding = torch.full((1, 5, 1, SIZE), torch.nan)
    starts = torch.arange(12).unsqueeze(0) == 5
    rows = torch.cat([torch.zeros(1, 5, 4, dtype=torch.int64), addresses], 1)
    found, state = run(module, torch.cat([padding, hidden], 1), rows, None, starts)
    alone, expected = run(module, hidden, addresses)
    assert torch.allclose(found[:, 5:], alone, rtol=0, atol=1e-6)
    assert torch.allclose(state, expected, rtol=0, atol=1e-6)


def test_what_comes_later_or_in_another_sample_changes_nothing():
    module = memory()
    hidden, addresses = inputs(module)
    before, _ = run(module, hidden, addresses)
    hidden[:, 6:], addresses[:, 6:] = 5.0, 0
    hidden[1], addresses[1] = -1.0, 1
    after, _ = run(module, hidden, addresses)
    assert torch.allclose(after[0, :6], before[0, :6], rtol=0, atol=1e-6)
    assert not torch.allclose(after[0, 6:], before[0, 6:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("streams", [1, 2])
def test_the_identity_start_adds_exactly_nothing(streams, dtype):
    module = memory(start="identity", filled=False, streams=streams).to(dtype)
    hidden, addresses = inputs(module)
    hidden = (1000 * hidden).to(dtype)
    added, state = run(module, hidden, addresses)
    assert torch.equal(hidden + added, hidden)
    assert not added.any()
    assert not state.any()


def test_the_first_step_from_the_identity_reaches_the_rows_that_were_read_and_no_others():
    module = memory(start="identity", filled=False)
    hidden, addresses = inputs(module)
    (run(module, hidden, addresses)[0] * torch.randn_like(hidden)).sum().backward()
    read = torch.zeros(module.bank_hash.rows, dtype=torch.bool)
    read[table_addresses(addresses, module.bank_hash)] = True
    gradient = module.table.weight.grad
    assert not read.all()
    assert torch.equal(gradient.abs().sum(1) > 0, read)
    assert module.value_projection.bias.grad.abs().min() > 0
    assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)


def test_from_the_identity_every_parameter_learns_and_the_loss_falls():
    module = memory(start="identity", filled=False, streams=2)
    hidden, addresses = inputs(module)
    wanted = torch.randn_like(hidden)
    optimiser = torch.optim.Adam(module.parameters(), lr=0.02)
    losses = []
    for _ in range(80):
        loss = (run(module, hidden, addresses)[0] - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        assert all(p.grad.isfinite().all() for p in module.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert {name for name, p in module.named_parameters() if not p.grad.any()} == set()


def test_the_paper_start_reads_normal_rows_through_silent_filters():
    module = memory(filled=False, memory_size=500)
    rows = module.table.weight.detach()
    assert rows.std().item() == pytest.approx(1, abs=0.05)
    assert rows.mean().item() == pytest.approx(0, abs=0.05)
    assert not module.convolution.any()
    assert module.value_projection.bias.any()
    hidden, addresses = inputs(module)
    assert run(module, hidden, addresses)[0].abs().min() > 0
    torch.manual_seed(3)
    assert not BankMemory(small(), 1, SIZE, VOCABULARY).table.weight.any()


def test_one_stream_may_be_left_out_of_the_shape():
    module = memory()
    hidden, addresses = inputs(module)
    found, state = run(module, hidden.squeeze(2), addresses)
    expected, same = run(module, hidden, addresses)
    assert torch.equal(found, expected.squeeze(2))
    assert torch.equal(state, same)
    strided = hidden.squeeze(2).transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(run(module, strided, addresses)[0], found)


def test_half_precision_and_autocast_stay_close_to_full():
    module = memory()
    hidden, addresses = inputs(module)
    full, _ = run(module, hidden, addresses)
    half, state = run(copy.deepcopy(module).bfloat16(), hidden.bfloat16(), addresses)
    assert (half.dtype, state.dtype) == (torch.bfloat16, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, _ = run(module, hidden, addresses)
    assert cast.dtype == torch.float32
    scale = full.abs().max()
    assert (half - full).abs().max() < 0.03 * scale
    assert (cast - full).abs().max() < 0.03 * scale


def test_an_empty_call_adds_nothing_and_keeps_the_state():
    module = memory()
    hidden, addresses = inputs(module)
    _, state = run(module, hidden, addresses)
    starts = torch.zeros(2, 0, dtype=torch.bool)
    added, after = run(module, hidden[:, :0], addresses[:, :0], state, starts)
    assert added.shape == (2, 0, 1, SIZE)
    assert torch.equal(after, state)


def test_gradients_flow_through_the_state():
    module = memory().double()
    hidden, addresses = inputs(module, batch=1, seq=8)
    hidden = hidden.double()
    whole = torch.autograd.grad(run(module, hidden, addresses)[0].sum(), module.table.weight)[0]
    first, state = run(module, hidden[:, :3], addresses[:, :3])
    second, _ = run(module, hidden[:, 3:], addresses[:, 3:], state)
    parts = torch.autograd.grad(first.sum() + second.sum(), module.table.weight)[0]
    assert torch.allclose(parts, whole)


def test_printing_shows_the_sizes():
    assert "hidden_size=6, streams=1" in repr(memory())

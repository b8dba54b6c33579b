"""Promises of the memory of one layer."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from reference import added
from torch.testing import assert_close

from engram_transformers import EngramConfig
from engram_transformers.memory import EngramMemory

GATES = ["fixed", "content", "learned"]
DIM, ROW_DIM = 32, 8


def memory_of(gate_type: str, **fields) -> EngramMemory:
    return EngramMemory(EngramConfig(row_dim=ROW_DIM, gate_type=gate_type, **fields), DIM, 3)


@pytest.fixture(params=GATES)
def memory(request) -> EngramMemory:
    return memory_of(request.param)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_where_nothing_is_found_every_bit_passes(memory, dtype):
    hidden = torch.randn(2, 5, DIM).to(dtype)
    hidden[0, 0, 0], hidden[0, 0, 1] = -0.0, float("nan")
    found = torch.zeros(2, 5, dtype=torch.bool)
    found[1, 2] = True
    rows = torch.full((2, 5, ROW_DIM), float("nan"))  # what is not read can't do harm
    rows[1, 2] = 1.0
    output = memory(hidden, rows, found)
    assert output.dtype == dtype
    bits = torch.int32 if dtype == torch.float32 else torch.int16
    passed = output[~found].view(bits)
    assert torch.equal(passed, hidden[~found].view(bits))
    assert bool(output[found].isfinite().all())
    assert not torch.equal(output[found], hidden[found])


@pytest.mark.parametrize("gate_type", GATES)
def test_what_is_added_is_what_the_formulas_say(gate_type):
    memory = memory_of(gate_type, seed=5)
    hidden, rows = torch.randn(2, 4, DIM) * 50, torch.randn(2, 4, ROW_DIM)
    with torch.no_grad():
        seen = memory.contribution(hidden, rows)
    # A learned gate starts as the content gate.
    config = EngramConfig(row_dim=ROW_DIM, gate_type=memory.config.gate_type, seed=5)
    assert_close(seen, added(config, hidden, rows), rtol=1e-4, atol=1e-3)


def test_gates_are_between_closed_and_open():
    hidden, rows = torch.randn(100, DIM), torch.randn(100, ROW_DIM)
    assert torch.equal(memory_of("fixed").gate(hidden, rows), torch.ones(100, 1))
    content = memory_of("content").gate(hidden, rows)
    assert content.shape == (100, 1)
    assert 0 < content.min() < 0.5 < content.max() < 1


def test_a_row_that_points_at_the_hidden_state_opens_the_gate():
    memory = memory_of("content")
    row = torch.randn(ROW_DIM)
    _, key_map = memory.maps(torch.device("cpu"))
    along = key_map @ row
    opened, closed = memory.gate(along, row), memory.gate(-along, row)
    score = DIM**0.5
    assert_close(opened, torch.sigmoid(torch.tensor([score**0.5])), rtol=1e-4, atol=1e-4)
    assert_close(closed, 1 - opened, rtol=1e-4, atol=1e-4)


def test_what_is_added_follows_the_scale_of_the_hidden_state(memory):
    hidden, rows = torch.randn(3, DIM), torch.randn(3, ROW_DIM)
    with torch.no_grad():
        small, large = memory.contribution(hidden, rows), memory.contribution(hidden * 1000, rows)
    assert_close(large, small * 1000, rtol=1e-3, atol=1e-2)


def test_only_learned_gates_have_parameters():
    for gate_type in ("fixed", "content"):
        assert list(memory_of(gate_type).state_dict()) == []
    names = [name for name, _ in memory_of("learned").named_parameters()]
    assert names == ["key_projection", "key_norm", "query_norm"]


def test_learned_gates_and_rows_get_gradients():
    memory = memory_of("learned").requires_grad_()
    rows = torch.randn(1, 2, ROW_DIM, requires_grad=True)
    memory(torch.randn(1, 2, DIM), rows, torch.ones(1, 2, dtype=torch.bool)).sum().backward()
    for value in (rows, *memory.parameters()):
        assert value.grad is not None
        assert bool((value.grad != 0).any())


def test_maps_are_made_once_and_not_pickled(memory):
    cpu = torch.device("cpu")
    assert memory.maps(cpu)[0] is memory.maps(cpu)[0]
    for other in (copy.deepcopy(memory), pickle.loads(pickle.dumps(memory))):
        assert other._maps == {}
        assert torch.equal(other.maps(cpu)[0], memory.maps(cpu)[0])
    assert len(pickle.dumps(memory_of("fixed"))) < 2000


def test_a_memory_shows_what_it_is(memory):
    assert f"layer=3, row_dim={ROW_DIM}, gate={memory.config.gate_type}" in repr(memory)

"""Promises about the layouts of hidden states: every position reads its own row in all of them."""

from __future__ import annotations

import pytest
import torch

from engram_transformers.config import EngramConfig
from engram_transformers.errors import HistoryError, UnsupportedModelError
from engram_transformers.layouts import Layout, find_hidden_states, replace_hidden_states
from engram_transformers.memory import EngramMemory

BATCH, SEQ, DIM, STREAMS = 2, 5, 8, 3
HIT = (1, 3)

LAYOUTS = {
    "plain": ("llama", (BATCH, SEQ, DIM), lambda h: h[1, 3]),
    "streams": ("deepseek_v4", (BATCH, SEQ, STREAMS, DIM), lambda h: h[1, 3]),
    "streams side by side": ("qwen4_exp", (BATCH, SEQ, STREAMS * DIM), lambda h: h[1, 3]),
    "streams first": ("gemma3n_text", (STREAMS, BATCH, SEQ, DIM), lambda h: h[:, 1, 3]),
    "positions first": ("xlnet", (SEQ, BATCH, DIM), lambda h: h[3, 1]),
    "as many samples as positions": ("xlnet", (SEQ, SEQ, DIM), lambda h: h[3, 1]),
}


def read(model_type, hidden_states, batch=BATCH):
    memory = EngramMemory(EngramConfig(row_dim=4), DIM, 0)
    rows = torch.randn(batch, SEQ, 4)
    found = torch.zeros(batch, SEQ, dtype=torch.bool)
    found[HIT] = True
    aligned = Layout(model_type, DIM).align(hidden_states, rows, found)
    return memory(*aligned).view(hidden_states.shape), memory, rows


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_row_of_a_position_changes_all_streams_there_and_nothing_else(name):
    model_type, shape, at_hit = LAYOUTS[name]
    hidden_states = torch.randn(shape)
    batch = SEQ if shape == (SEQ, SEQ, DIM) else BATCH
    after, memory, rows = read(model_type, hidden_states, batch)
    assert after.shape == hidden_states.shape
    before_here, after_here = (at_hit(h).reshape(-1, DIM) for h in (hidden_states, after))
    for one, other in zip(before_here, after_here, strict=True):
        expected = one + memory.contribution(one, rows[HIT])
        torch.testing.assert_close(other, expected)
    undone = after.clone()
    at_hit(undone).copy_(at_hit(hidden_states))
    assert torch.equal(undone, hidden_states)


@pytest.mark.parametrize("name", LAYOUTS)
def test_hidden_states_are_arranged_by_position_and_back(name):
    model_type, shape, at_hit = LAYOUTS[name]
    layout, hidden_states = Layout(model_type, DIM), torch.randn(shape)
    batch = SEQ if shape == (SEQ, SEQ, DIM) else BATCH
    positions = layout.by_position(hidden_states, batch, SEQ)
    streams = STREAMS if "streams" in name else 1
    assert positions.shape == (batch, SEQ, streams, DIM)
    assert torch.equal(positions[HIT], at_hit(hidden_states).reshape(streams, DIM))
    back = layout.like(positions, hidden_states)
    assert torch.equal(back, hidden_states)
    assert back.stride() == hidden_states.stride()


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        ((BATCH, SEQ + 1, DIM), HistoryError, "their positions can't be told apart"),
        ((BATCH, SEQ, STREAMS, 2 * DIM), UnsupportedModelError, "hold no streams of width 8"),
        ((BATCH, SEQ, DIM + 1), UnsupportedModelError, "hold no streams of width 8"),
        ((SEQ, DIM), UnsupportedModelError, "hold no streams of width 8"),
    ],
)
def test_what_has_no_positions_is_not_arranged(shape, error, message):
    with pytest.raises(error, match=message):
        Layout("llama", DIM).by_position(torch.zeros(shape), BATCH, SEQ)


@pytest.mark.parametrize(
    ("model_type", "shape"),
    [("llama", (BATCH, SEQ + 1, DIM)), ("xlnet", (BATCH, SEQ, DIM)), ("llama", (SEQ, BATCH, DIM))],
)
def test_positions_that_do_not_line_up_are_refused(model_type, shape):
    with pytest.raises(HistoryError, match="their positions can't be told apart"):
        read(model_type, torch.randn(shape))


@pytest.mark.parametrize("shape", [(BATCH, SEQ, DIM + 1), (SEQ, DIM), (1, 1, BATCH, SEQ, DIM)])
def test_other_layouts_are_refused(shape):
    with pytest.raises(UnsupportedModelError, match="hold no streams of width 8"):
        read("llama", torch.randn(shape))


def test_hidden_states_are_taken_from_and_put_into_either_kind_of_argument():
    hidden_states, other = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    found, keyword = find_hidden_states((hidden_states, None), {"a": 1}, "llama")
    assert found is hidden_states
    assert replace_hidden_states((found, None), {"a": 1}, keyword, other) == (
        (other, None),
        {"a": 1},
    )
    for name in ("hidden_states", "x"):
        found, keyword = find_hidden_states((), {name: hidden_states}, "llama")
        assert found is hidden_states
        assert replace_hidden_states((), {name: found}, keyword, other) == ((), {name: other})


@pytest.mark.parametrize("args", [(), (None,), ((),), (torch.zeros(1, 2, dtype=torch.int64),)])
def test_a_block_without_hidden_states_is_refused(args):
    with pytest.raises(UnsupportedModelError, match="called without hidden states"):
        find_hidden_states(args, {}, "llama")

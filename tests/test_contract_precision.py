"""The contract in other precisions: autocast, bfloat16, float16, inference mode."""

from __future__ import annotations

import copy

import pytest
import torch
from patched import TRIGGER, WIDE_ROWS, assert_writes, at_trigger, logits_of, patched
from tables import LAYERS
from torch.testing import assert_close

from engram_transformers import use_tables


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


@pytest.fixture
def model(tiny_model, tokenizer):
    return patched(tiny_model, tokenizer)


@pytest.mark.parametrize("gate_type", ["fixed", "content", "learned"])
def test_autocast_reads_rows_and_leaves_the_rest(tiny_model, tokenizer, ids, gate_type):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with torch.no_grad():
            before = tiny_model(ids).logits
        model = patched(tiny_model, tokenizer, gate_type=gate_type)
        made = at_trigger(model, ids)
        fired = logits_of(model, ids, made.table)
        assert torch.equal(logits_of(model, ids), before)
    assert torch.equal(fired[:, :-1], before[:, :-1])
    assert not torch.equal(fired[:, -1], before[:, -1])
    exact = logits_of(model, ids, made.table)
    assert_close(fired.float(), exact, rtol=0.1, atol=0.5)


def test_bfloat16_generation_reads_as_recomputation_does(tiny_model, tokenizer, ids):
    model = patched(tiny_model.bfloat16(), tokenizer)
    table = at_trigger(model, ids).table
    settings = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    settings["attention_mask"] = torch.ones_like(ids)
    with use_tables(model, table):
        said = model.generate(ids, **settings)
        first = model(ids).logits[0, -1].argmax()
    assert said[0, ids.shape[1]] == first
    assert not torch.equal(logits_of(model, ids, table), logits_of(model, ids))


@pytest.mark.parametrize(
    ("dtype", "gate_type"),
    [(torch.bfloat16, "fixed"), (torch.float16, "content"), (torch.float64, "learned")],
)
def test_a_model_may_change_its_dtype_after_add_engram(
    tiny_model, tokenizer, ids, gate_type, dtype
):
    """As if it had been patched in that dtype, bit for bit."""
    other = patched(copy.deepcopy(tiny_model).to(dtype), tokenizer, gate_type=gate_type).to(dtype)
    model = patched(tiny_model, tokenizer, gate_type=gate_type).to(dtype)
    table = at_trigger(model, ids).table
    fired, base = logits_of(model, ids, table), logits_of(model, ids)
    assert fired.dtype == dtype
    assert torch.equal(base, logits_of(other, ids))
    assert torch.equal(fired, logits_of(other, ids, table))
    assert torch.equal(fired[:, :-1], base[:, :-1])
    assert not torch.equal(fired[:, -1], base[:, -1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_table_is_read_in_another_dtype_than_it_was_written_in(tiny_llama, tokenizer, ids, dtype):
    model = patched(tiny_llama, tokenizer)
    table = at_trigger(model, ids).table
    exact = logits_of(model, ids, table)
    assert_close(logits_of(model.to(dtype), ids, table).float(), exact, rtol=0.1, atol=0.5)


def test_facts_are_written_in_half_precision(tiny_llama, tokenizer):
    assert_writes(patched(tiny_llama, tokenizer, row_dim=WIDE_ROWS).bfloat16(), tokenizer)


@pytest.mark.parametrize("gate_type", ["fixed", "content", "learned"])
def test_float16_autocast_reads_rows_too(tiny_llama, tokenizer, ids, gate_type):
    model = patched(tiny_llama, tokenizer, gate_type=gate_type)
    table = at_trigger(model, ids).table
    exact = logits_of(model, ids, table)
    with torch.autocast("cpu", dtype=torch.float16):
        fired, base = logits_of(model, ids, table), logits_of(model, ids)
    assert torch.equal(fired[:, :-1], base[:, :-1])
    assert not torch.equal(fired[:, -1], base[:, -1])
    assert_close(fired.float(), exact, rtol=0.1, atol=0.1)


def test_facts_are_written_under_autocast(tiny_llama, tokenizer):
    model = patched(tiny_llama, tokenizer, row_dim=WIDE_ROWS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_writes(model, tokenizer)


# Inference mode


def test_inference_mode_reads_the_same(model, ids):
    table = at_trigger(model, ids).table
    fired = logits_of(model, ids, table)
    settings = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    settings["attention_mask"] = torch.ones_like(ids)
    with torch.inference_mode(), use_tables(model, table):
        assert torch.equal(model(ids).logits, fired)
        said = model.generate(ids, **settings)
    with use_tables(model, table):
        assert torch.equal(model.generate(ids, **settings), said)


def test_a_model_that_was_first_used_in_inference_mode_can_be_written_to_and_trained(
    tiny_llama, tokenizer, ids
):
    with torch.inference_mode():
        model = patched(tiny_llama, tokenizer, row_dim=WIDE_ROWS)
        table = at_trigger(model, ids, layer=LAYERS[-1]).table
        fired = logits_of(model, ids, table)
    assert_writes(model, tokenizer)
    with use_tables(model, table):
        output = model(ids, labels=ids)
    output.loss.backward()
    assert torch.equal(output.logits, fired)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_fact_is_written_within_inference_mode(tiny_llama, tokenizer):
    model = patched(tiny_llama, tokenizer, row_dim=WIDE_ROWS)
    with torch.inference_mode():
        assert_writes(model, tokenizer)

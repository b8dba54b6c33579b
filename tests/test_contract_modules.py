"""The contract when a model's modules are changed after `add_engram`."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from patched import TRIGGER, WIDE_ROWS, assert_writes, at_trigger, logits_of, patched
from torch import nn
from torch.nn.utils import parametrize

from engram_transformers import UserTable, remove_engram, use_tables
from engram_transformers.architectures import find_blocks
from engram_transformers.attachment import find_attachment, require_attachment
from engram_transformers.errors import TableMismatchError, TokenizerMismatchError


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


@pytest.fixture
def model(tiny_model, tokenizer):
    return patched(tiny_model, tokenizer)


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return patched(tiny_llama, tokenizer, row_dim=WIDE_ROWS)


# Embeddings


def test_tying_weights_again_changes_nothing(model, ids):
    table = at_trigger(model, ids).table
    fired = logits_of(model, ids, table)
    model.tie_weights()
    assert torch.equal(logits_of(model, ids, table), fired)


def test_an_output_head_of_ones_own_is_written_through(llama, tokenizer):
    head = nn.Linear(tiny.HIDDEN_SIZE, tiny.VOCAB_SIZE, bias=True)
    with torch.no_grad():
        head.weight.copy_(llama.get_output_embeddings().weight)
    llama.set_output_embeddings(head)
    assert_writes(llama, tokenizer)


def test_an_output_head_that_is_tied_afterwards_is_written_through(llama, tokenizer):
    llama.get_output_embeddings().weight = llama.get_input_embeddings().weight
    assert_writes(llama, tokenizer)


@pytest.mark.parametrize("size", [tiny.VOCAB_SIZE + 10, tiny.VOCAB_SIZE - 10])
def test_resized_embeddings_are_refused_until_the_memories_are_added_again(
    llama, tokenizer, ids, size
):
    made = at_trigger(llama, ids)
    fired = logits_of(llama, ids, made.table)
    ids = ids.clamp_max(size - 1)
    # Active already, or entered after it: never rows at addresses of unknown tokens.
    with use_tables(llama, made.table):
        llama.resize_token_embeddings(size, mean_resizing=False)
        with pytest.raises(TokenizerMismatchError, match=rf"for 300 tokens.*has {size}.*remove"):
            llama(ids)
    with pytest.raises((TableMismatchError, TokenizerMismatchError)):
        logits_of(llama, ids, made.table)
    with pytest.raises(TokenizerMismatchError, match="remove_engram"):
        UserTable(llama, "ann").write([("Where do I live?", "Here")])
    last = torch.full((1, 4), size - 1)
    assert logits_of(llama, last).shape[-1] == size  # nothing active: the bare model
    remove_engram(llama)
    assert find_attachment(llama) is None
    if size > tiny.VOCAB_SIZE:  # fewer than the tokenizer has tokens: not a fit any more
        patched(llama, tokenizer, row_dim=WIDE_ROWS)
        again = at_trigger(llama, ids)
        seen = logits_of(llama, ids, again.table)[..., : tiny.VOCAB_SIZE]
        assert torch.equal(seen, fired)
        assert not torch.equal(logits_of(llama, last), logits_of(llama, ids[:, :4]))
        assert_writes(llama, tokenizer)


# Parametrisations


class Same(nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight * 1.0


def norm_of(block: nn.Module) -> nn.Module:
    return next(child for child in block.children() if "Norm" in type(child).__name__)


def test_a_parametrised_block_reads_the_same(model, ids):
    """Parametrising changes a module's class."""
    made = at_trigger(model, ids)
    base, fired = logits_of(model, ids), logits_of(model, ids, made.table)
    block = find_blocks(model)[1][1]
    block.register_parameter("extra", nn.Parameter(torch.zeros(1)))
    parametrize.register_parametrization(block, "extra", Same())
    parametrize.register_parametrization(norm_of(block), "weight", Same())
    assert type(block).__name__.startswith("Parametrized")
    assert torch.equal(logits_of(model, ids), base)
    assert torch.equal(logits_of(model, ids, at_trigger(model, ids).table), fired)
    remove_engram(model)
    assert not any("engram" in name for name, _ in model.named_modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_parametrised_model_reads_the_same(llama, ids):
    fired = logits_of(llama, ids, at_trigger(llama, ids).table)
    llama.register_parameter("extra", nn.Parameter(torch.zeros(1)))
    parametrize.register_parametrization(llama, "extra", Same())
    assert type(llama).__name__ == "ParametrizedLlamaForCausalLM"
    table = at_trigger(llama, ids).table
    assert torch.equal(logits_of(llama, ids, table), fired)
    with use_tables(llama, table), torch.no_grad():
        assert torch.equal(llama(input_ids=ids).logits, fired)


def test_parametrising_a_weight_makes_another_model_and_undoing_it_the_old_one(
    llama, ids, tokenizer
):
    made = at_trigger(llama, ids)
    fired = logits_of(llama, ids, made.table)
    linear: Any = llama.model.layers[2].mlp.up_proj
    parametrize.register_parametrization(linear, "weight", Same())
    with pytest.raises(TableMismatchError, match="weights"):
        logits_of(llama, ids, made.table)
    assert torch.equal(logits_of(llama, ids, at_trigger(llama, ids).table), fired)
    assert_writes(llama, tokenizer)
    parametrize.remove_parametrizations(linear, "weight")
    assert torch.equal(logits_of(llama, ids, made.table), fired)


# Wrappers


def test_a_compiled_wrapper_is_patched_as_the_model_within_it(llama, tokenizer, ids):
    table = at_trigger(llama, ids).table
    fired = logits_of(llama, ids, table)
    inner = tiny.tiny_model("llama")
    wrapper: Any = torch.compile(inner, backend="eager")
    assert patched(wrapper, tokenizer, row_dim=WIDE_ROWS) is wrapper
    assert require_attachment(wrapper).model is inner
    assert torch.equal(logits_of(inner, ids, table), fired)
    assert remove_engram(wrapper) is wrapper
    assert not any("engram" in name for name, _ in inner.named_modules())
    assert not any(module._forward_pre_hooks for module in inner.modules())
    assert not wrapper._forward_pre_hooks

"""Promises about which models are supported, and where their blocks are."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, BertConfig, BertModel, OPTConfig

from engram_transformers import add_engram
from engram_transformers.architectures import (
    SUPPORTED_MODEL_TYPES,
    block_owner,
    find_blocks,
    hidden_states_of,
    unwrap,
)
from engram_transformers.errors import UnsupportedModelError


def test_every_supported_type_is_tested():
    types = {tiny.tiny_model(family).config.model_type for family in tiny.FAMILIES}
    assert types == SUPPORTED_MODEL_TYPES


def test_the_decoder_blocks_are_found(tiny_model):
    name, blocks = find_blocks(tiny_model)
    assert len(blocks) == tiny.BLOCKS
    assert tiny_model.get_submodule(name) is blocks
    owner = block_owner(tiny_model, name)
    assert any(child is blocks for child in owner.children())
    assert owner is tiny_model.base_model


# PEFT (0.19) asks transformers (5.23) in a way that is going out of use.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_peft_wrapper_is_looked_into(tiny_llama):
    config = LoraConfig(target_modules=["q_proj"])
    wrapped = get_peft_model(tiny_llama, config)
    assert unwrap(wrapped) is tiny_llama
    assert unwrap(tiny_llama) is tiny_llama


def refused(model, message):
    before = [sorted(module.__dict__) for module in model.modules()]
    with pytest.raises(UnsupportedModelError, match=message) as seen:
        add_engram(model, tiny.tiny_tokenizer())
    assert [sorted(module.__dict__) for module in model.modules()] == before
    return seen.value


def test_other_types_are_refused_with_the_list_of_supported_ones():
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 300}
    opt = OPTConfig(**small, ffn_dim=16, word_embed_proj_dim=16)
    error = refused(AutoModelForCausalLM.from_config(opt), "'opt' is not supported.*gemma2, gemma3")
    assert error.model_type == "opt"
    refused(BertModel(BertConfig(**small, intermediate_size=16)), "'bert' is not supported")
    refused(nn.Linear(2, 2), "'Linear' is not supported")


def test_a_model_without_a_head_is_refused():
    refused(AutoModel.from_config(tiny.tiny_model("llama").config), "LlamaModel can't generate")


def test_what_is_no_module_is_refused():
    with pytest.raises(
        UnsupportedModelError, match="'str' is not supported: it is not a torch mod"
    ):
        add_engram("a name")  # pyright: ignore


@pytest.mark.parametrize(("change", "count"), [("none", 0), ("two", 2)])
def test_a_list_of_blocks_that_is_not_clear_is_refused(tiny_llama, change, count):
    if change == "two":
        tiny_llama.model.more = nn.ModuleList(nn.Linear(1, 1) for _ in range(tiny.BLOCKS))
    else:
        tiny_llama.model.layers = tiny_llama.model.layers[:-1]
    refused(
        tiny_llama, rf"{count} lists of {tiny.BLOCKS} modules were found where one was expected"
    )


def test_lists_within_blocks_are_not_taken_for_the_blocks(tiny_llama):
    for block in tiny_llama.model.layers:
        block.experts = nn.ModuleList(nn.Linear(1, 1) for _ in range(tiny.BLOCKS))
    name, _ = find_blocks(copy.deepcopy(tiny_llama))
    assert name == "model.layers"


def test_hidden_states_are_taken_from_either_kind_of_argument():
    hidden_states = torch.zeros(1, 2, 3)
    assert hidden_states_of((hidden_states, None), {}, "M") == (hidden_states, False)
    assert hidden_states_of((), {"hidden_states": hidden_states}, "M") == (hidden_states, True)


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((None,), {}), ((torch.zeros(2, 3),), {}), (((),), {})]
)
def test_blocks_that_are_called_otherwise_are_refused(args, kwargs):
    with pytest.raises(UnsupportedModelError, match=r"not called with one \(batch, seq, dim\)"):
        hidden_states_of(args, kwargs, "M")

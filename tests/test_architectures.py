"""Promises about which models are supported, and where their blocks are."""

from __future__ import annotations

import copy

import pytest
import tiny
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModel, BertConfig, BertModel, PreTrainedConfig

from engram_transformers import add_engram
from engram_transformers.architectures import (
    block_owner,
    find_blocks,
    hidden_size_of,
    unwrap,
    vocab_size_of,
)
from engram_transformers.errors import UnsupportedModelError


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


def test_models_that_are_no_language_models_are_refused():
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 300}
    error = refused(BertModel(BertConfig(**small, intermediate_size=16)), "'bert' is not supported")
    assert error.model_type == "bert"
    refused(nn.Linear(2, 2), "'Linear' is not supported: Linear can't generate")


def test_a_model_that_takes_no_token_ids_is_refused(tiny_llama):
    class Silent(type(tiny_llama)):
        def forward(self, inputs_embeds):
            return super().forward(inputs_embeds=inputs_embeds)

    refused(Silent(tiny_llama.config), "Silent.forward takes no input_ids")


def test_a_model_without_a_head_is_refused():
    refused(AutoModel.from_config(tiny.tiny_model("llama").config), "LlamaModel can't generate")


def test_what_is_no_module_is_refused():
    with pytest.raises(
        UnsupportedModelError, match="'str' is not supported: it is not a torch mod"
    ):
        add_engram("a name")  # pyright: ignore


def test_a_model_without_a_list_of_the_right_length_is_refused_with_the_way_out(tiny_llama):
    tiny_llama.model.layers = tiny_llama.model.layers[:-1]
    refused(tiny_llama, r"no list of 4 blocks.*add_engram\(model, blocks='model.layers'\)")
    add_engram(tiny_llama, tiny.tiny_tokenizer(), blocks="model.layers", layers=-1)


def test_a_configuration_that_names_no_depth_is_refused(tiny_llama):
    tiny_llama.config = PreTrainedConfig()
    refused(tiny_llama, "its configuration has none of num_hidden_layers")


def test_layers_that_are_split_over_lists_are_refused(tiny_llama):
    norms = (nn.Sequential(nn.LayerNorm(4)) for _ in range(tiny.BLOCKS))
    tiny_llama.model.more = nn.ModuleList(norms)
    refused(tiny_llama, "split over the lists model.layers, model.more")


def test_a_block_that_stands_in_two_places_is_refused(tiny_llama):
    tiny_llama.model.layers[2] = tiny_llama.model.layers[0]
    refused(tiny_llama, r"model.layers\[2\] is the same module as model.layers\[0\]")


def test_types_that_are_known_not_to_work_are_refused_with_the_reason(tiny_llama):
    tiny_llama.config.model_type = "prophetnet"
    refused(tiny_llama, "'prophetnet' is not supported: it runs several streams")


def test_the_list_of_blocks_can_be_named(tiny_llama):
    layers = tiny_llama.model.layers
    assert find_blocks(tiny_llama, "model.layers") == ("model.layers", layers)
    assert find_blocks(tiny_llama, layers) == ("model.layers", layers)
    for wrong in ("model", "model.nothing", nn.ModuleList([nn.Linear(1, 1)])):
        with pytest.raises(UnsupportedModelError, match="no ModuleList of this model; it has mod"):
            add_engram(tiny_llama, tiny.tiny_tokenizer(), blocks=wrong)


def test_of_several_lists_the_one_within_the_decoder_is_taken(tiny_llama):
    tiny_llama.tower = nn.Module()
    tiny_llama.tower.layers = nn.ModuleList(
        nn.Sequential(nn.Linear(500, 500)) for _ in range(tiny.BLOCKS)
    )
    assert find_blocks(tiny_llama)[0] == "model.layers"


def test_sizes_are_read_from_the_model(tiny_model):
    assert hidden_size_of(tiny_model) == tiny.HIDDEN_SIZE
    assert vocab_size_of(tiny_model) == tiny.VOCAB_SIZE


def test_sizes_that_nothing_tells_are_refused(tiny_llama):
    tiny_llama.config = PreTrainedConfig()
    with pytest.raises(UnsupportedModelError, match="names no hidden_size"):
        hidden_size_of(tiny_llama)
    tiny_llama.get_input_embeddings = lambda: None
    with pytest.raises(UnsupportedModelError, match="name a vocab_size"):
        vocab_size_of(tiny_llama)


def test_lists_within_blocks_are_not_taken_for_the_blocks(tiny_llama):
    for block in tiny_llama.model.layers:
        block.experts = nn.ModuleList(nn.Linear(1, 1) for _ in range(tiny.BLOCKS))
    name, _ = find_blocks(copy.deepcopy(tiny_llama))
    assert name == "model.layers"

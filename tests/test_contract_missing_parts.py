"""No silent no-op: a patch of which parts are gone, and calls of unknown ids, are refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny
import torch
from failures import FAMILIES, stacked
from patched import TRIGGER, logits_of, patched
from tables import LAYERS, frequent_ngrams, make_table
from torch import nn
from transformers import DynamicCache, StaticCache

from engram_transformers import use_tables
from engram_transformers.attachment import SUBMODULE, require_attachment
from engram_transformers.errors import (
    CacheHistoryError,
    DamagedPatchError,
    HistoryError,
    PatchError,
    SkippedBlockError,
)


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


@pytest.fixture(params=FAMILIES)
def base(request):
    """A model of each way to nest blocks and to call them."""
    return tiny.tiny_model(request.param)


@pytest.fixture
def model(base, tokenizer):
    return patched(base, tokenizer)


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return patched(tiny_llama, tokenizer)


# Blocks and memories that are gone


@pytest.mark.parametrize("layer", LAYERS)
def test_a_block_that_lost_its_memory_is_refused(model, ids, layer):
    tables = stacked(model, ids)
    block = require_attachment(model).block_list[layer]
    memory = getattr(block, SUBMODULE)
    for wrong in (None, nn.Identity()):
        delattr(block, SUBMODULE)
        if wrong is not None:
            block.add_module(SUBMODULE, wrong)
        with pytest.raises(PatchError):
            logits_of(model, ids, tables)
        with pytest.raises(PatchError):
            logits_of(model, ids, tables)
        setattr(block, SUBMODULE, memory)
    logits_of(model, ids, tables)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("copied", [False, True])
def test_a_block_that_was_replaced_is_refused(base, tokenizer, ids, layer, copied):
    bare = copy.deepcopy(base)
    model = patched(base, tokenizer)
    tables = stacked(model, ids)
    logits_of(model, ids, tables)
    blocks = require_attachment(model).block_list
    if copied:
        blocks[layer] = copy.deepcopy(blocks[layer])
    else:
        blocks[layer] = bare.get_submodule(require_attachment(model).blocks_name)[layer]
    with pytest.raises(DamagedPatchError, match=r"decoder block \d was (replaced|removed)"):
        logits_of(model, ids, tables)


@pytest.mark.parametrize("copied", [False, True])
def test_a_list_of_blocks_that_was_replaced_is_refused(base, tokenizer, ids, copied):
    bare = copy.deepcopy(base)
    model = patched(base, tokenizer)
    tables = stacked(model, ids)
    logits_of(model, ids, tables)
    name = require_attachment(model).blocks_name
    blocks = copy.deepcopy(model.get_submodule(name)) if copied else bare.get_submodule(name)
    model.set_submodule(name, blocks)
    with pytest.raises(DamagedPatchError, match=r"decoder block \d was (replaced|removed)"):
        logits_of(model, ids, tables)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_block_that_was_taken_out_is_refused(llama, ids, layer):
    tables = stacked(llama, ids)
    logits_of(llama, ids, tables)
    blocks = llama.model.layers
    llama.model.layers = nn.ModuleList(b for n, b in enumerate(blocks) if n != layer)
    llama.model.config.num_hidden_layers = len(blocks) - 1
    with pytest.raises(DamagedPatchError, match=r"decoder block \d"):
        logits_of(llama, ids, tables)


class Without(nn.ModuleList):
    """A list of blocks that leaves one out when a model runs over them."""

    left_out: nn.Module

    def __getitem__(self, place: Any) -> Any:
        if not isinstance(place, slice):
            return super().__getitem__(place)
        return [block for block in list(self)[place] if block is not self.left_out]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_block_that_is_passed_by_is_refused(llama, ids, layer):
    """It is in place and hooked, but the model does not run it."""
    tables = stacked(llama, ids)
    llama.model.layers.__class__ = Without
    llama.model.layers.left_out = llama.model.layers[layer]
    with pytest.raises(SkippedBlockError, match=f"did not run decoder block {layer}") as seen:
        logits_of(llama, ids, tables)
    assert seen.value.layer == layer


def test_blocks_in_another_order_are_refused(llama, ids):
    tables = stacked(llama, ids)
    logits_of(llama, ids, tables)
    blocks = llama.model.layers
    blocks[0], blocks[LAYERS[0]] = blocks[LAYERS[0]], blocks[0]
    with pytest.raises(DamagedPatchError, match=r"decoder block \d"):
        logits_of(llama, ids, tables)


# Ids that are unknown


@pytest.mark.parametrize("form", ["one dimension", "three dimensions", "a list"])
def test_ids_of_another_shape_are_refused(llama, ids, form):
    """By us, before the model has seen them."""
    tables = stacked(llama, ids)
    wrong: Any = {
        "one dimension": ids[0],
        "three dimensions": ids.unsqueeze(0),
        "a list": ids.tolist(),
    }[form]
    with use_tables(llama, tables), torch.no_grad(), pytest.raises(HistoryError):
        llama(wrong)


def test_blocks_that_are_run_without_their_model_are_refused(llama, ids):
    """As a hand-written forward does, which no hook of the model sees."""
    tables = stacked(llama, ids)

    def by_hand() -> torch.Tensor:
        hidden_states = llama.model.embed_tokens(ids)
        places = torch.arange(ids.shape[1]).unsqueeze(0)
        turns = llama.model.rotary_emb(hidden_states, places)
        for block in llama.model.layers:
            hidden_states = block(hidden_states, position_embeddings=turns)
        return llama.lm_head(llama.model.norm(hidden_states))

    with torch.no_grad():
        torch.testing.assert_close(by_hand(), llama(ids).logits)
        with use_tables(llama, tables), pytest.raises(HistoryError, match="outside of its model"):
            by_hand()
        with use_tables(llama, tables), pytest.raises(HistoryError, match="outside of its model"):
            type(llama.model).forward(llama.model, ids)


# Caches that lost their history


@pytest.mark.parametrize("kind", ["dynamic", "static"])
def test_a_cache_that_lost_its_history_is_refused(model, ids, kind):
    made = make_table(model, frequent_ngrams(model), distinct_rows=8)
    cache: Any = DynamicCache(config=model.config)
    if kind == "static":
        cache = StaticCache(config=model.config, max_cache_len=32)
    with use_tables(model, made.table), torch.no_grad():
        model(ids, past_key_values=cache)
        for name in [name for name in cache.__dict__ if "engram" in name]:
            delattr(cache, name)
        with pytest.raises(CacheHistoryError, match=rf"holds {ids.shape[1]} tokens.* saw 0"):
            model(ids[:, :1], past_key_values=cache)


def test_a_cache_made_of_anothers_keys_is_refused(llama, ids):
    made = make_table(llama, frequent_ngrams(llama), distinct_rows=8)
    cache, other = DynamicCache(), DynamicCache()
    with use_tables(llama, made.table), torch.no_grad():
        llama(ids, past_key_values=cache)
        for layer, one in enumerate(cache.layers):
            other.update(one.keys, one.values, layer)
        with pytest.raises(CacheHistoryError, match="saw 0"):
            llama(ids[:, :1], past_key_values=other)


def test_a_cache_that_was_filled_around_the_hooks_is_refused(llama, ids):
    made = make_table(llama, frequent_ngrams(llama), distinct_rows=8)
    cache = DynamicCache()
    with torch.no_grad():
        type(llama.model).forward(llama.model, ids, past_key_values=cache)
        with use_tables(llama, made.table), pytest.raises(CacheHistoryError, match="saw 0"):
            llama(ids[:, :1], past_key_values=cache)

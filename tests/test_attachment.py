"""Promises of the patch itself: what it learns of a call, and what it refuses."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tables import LAYERS, ROW_DIM, canonical, make_table, watching
from torch import nn
from transformers import DynamicCache

from engram_transformers import add_engram, use_tables
from engram_transformers.attachment import find_attachment, require_attachment
from engram_transformers.calls import current_call
from engram_transformers.errors import NotPatchedError, UnsupportedCacheError

IDS = torch.tensor([[20, 21, 22, 23]])


@pytest.fixture
def model(tiny_llama, tiny_tokenizer):
    return add_engram(tiny_llama, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def table(model):
    return make_table(model, [canonical(model, [21, 22])]).table


def test_a_patch_is_found_through_wrappers(model):
    class Wrapper(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, ids: torch.Tensor) -> Any:
            return self.inner(ids)

    wrapped = Wrapper(model)
    assert find_attachment(wrapped) is find_attachment(model)
    assert find_attachment(nn.Linear(1, 1)) is None
    with pytest.raises(NotPatchedError, match="Linear has no engram memories"):
        require_attachment(nn.Linear(1, 1))
    with (
        use_tables(wrapped, make_table(model, [canonical(model, [21])]).table),
        watching(model) as reads,
        torch.no_grad(),
    ):
        wrapped(IDS)
    assert reads.found[0].tolist() == [[False, True, False, False]]


@pytest.mark.parametrize("how", ["keyword", "position", "mask by position", "tuple"])
def test_ids_are_learnt_however_they_are_passed(model, table, how):
    mask = torch.ones_like(IDS)
    with use_tables(model, table), watching(model) as reads, torch.no_grad():
        if how == "keyword":
            model(input_ids=IDS, attention_mask=mask)
        elif how == "position":
            model(IDS)
        elif how == "mask by position":
            model(IDS, mask)
        else:
            model(IDS, return_dict=False)
    assert reads.found[0].tolist() == [[False, False, True, False]]


def test_a_mask_by_position_is_read(model, table):
    mask = torch.tensor([[0, 0, 1, 1]])
    with use_tables(model, table), watching(model) as reads, torch.no_grad():
        model(IDS, mask)
    assert not bool(reads.found[0].any())


def test_a_cache_in_a_tuple_output_gets_the_history(model, table):
    with use_tables(model, table), torch.no_grad():
        cache = model(IDS[:, :2], return_dict=False, use_cache=True)[1]
        assert isinstance(cache, DynamicCache)
        with watching(model) as reads:
            model(IDS[:, 2:], past_key_values=cache, return_dict=False)
    assert reads.found[0].tolist() == [[True, False]]


def test_ids_in_another_integer_dtype_are_read(model, table):
    with use_tables(model, table), watching(model) as reads, torch.no_grad():
        model(IDS.int())
    assert bool(reads.found[0].any())


def test_a_paged_cache_of_an_unknown_kind_is_refused(model, table):
    attachment = require_attachment(model)
    arguments = {"input_ids": IDS, "write_index": [torch.tensor([0])]}
    with (
        use_tables(model, table),
        pytest.raises(UnsupportedCacheError, match="NoneType: continuous batching reads tables"),
    ):
        attachment.before_model(model, (), arguments)
    assert current_call(attachment) is None


def test_a_tuple_of_keys_and_values_is_refused(model, table):
    attachment = require_attachment(model)
    arguments = {"input_ids": IDS, "past_key_values": ((torch.zeros(1), torch.zeros(1)),)}
    with (
        use_tables(model, table),
        pytest.raises(UnsupportedCacheError, match="cache of type tuple"),
    ):
        attachment.before_model(model, (), arguments)
    assert current_call(attachment) is None


def test_no_call_is_left_after_a_forward(model, table):
    attachment = require_attachment(model)
    seen: list[bool] = []

    def look(*_: Any) -> None:
        seen.append(current_call(attachment) is not None)

    handle = model.model.layers[2].register_forward_pre_hook(look)
    with use_tables(model, table), torch.no_grad():
        model(IDS)
    handle.remove()
    assert seen == [True]
    assert current_call(attachment) is None


def test_evaluation_mode_lasts_for_the_block_and_each_module_gets_its_mode_back(model):
    model.train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    with require_attachment(model).evaluating():
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(KeyError), require_attachment(model).evaluating():
        raise KeyError
    assert [module.training for module in model.modules()] == modes


def test_only_learned_gates_have_a_fingerprint(tiny_llama, tiny_tokenizer):
    for gate_type in ("fixed", "content"):
        model = add_engram(copy.deepcopy(tiny_llama), tiny_tokenizer, gate_type=gate_type)
        assert require_attachment(model).gate_fingerprint() is None
    attachment = require_attachment(add_engram(tiny_llama, tiny_tokenizer, gate_type="learned"))
    before = attachment.gate_fingerprint()
    assert before is not None
    with torch.no_grad():
        attachment.memories[3].query_norm += 1
    assert attachment.gate_fingerprint() not in (None, before)


def test_the_models_fingerprint_is_computed_again_when_a_weight_changes(model):
    attachment = require_attachment(model)
    before = attachment.model_fingerprint()
    assert attachment.model_fingerprint() == before
    with torch.no_grad():
        model.lm_head.weight.mul_(1.1)
    assert attachment.model_fingerprint() != before

"""No silent no-op: whatever fails or goes missing of the patch, a call that should read says so.

Each test plants a failure and makes the first call that would read a row: it raises, or computes
what it should. An unchanged output is never accepted. Where the failure is taken back, the next
call is right again. What is missing: see `test_contract_missing_parts`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tiny
import torch
from failures import FAMILIES, PlantedError, fail, stacked
from patched import TRIGGER, logits_of, patched
from tables import LAYERS
from torch import nn
from transformers import DynamicCache, StaticCache

import engram_transformers.attachment as attachment_module
import engram_transformers.prepared as prepared
from engram_transformers import EngramError, use_tables
from engram_transformers.active import Frame
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import DamagedPatchError
from engram_transformers.index import RowIndex
from engram_transformers.layouts import Layout
from engram_transformers.memory import EngramMemory
from engram_transformers.prepared import Prepared
from engram_transformers.stepping import StepReader


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


# Steps that fail

STEPS_OF_A_CALL = {
    "codes the ids": (attachment_module, "encode"),
    "recalls the history": (attachment_module, "recall"),
    "remembers the ids on a new cache": (attachment_module, "remember_created"),
    "finds the hidden states": (attachment_module, "find_hidden_states"),
    "replaces the hidden states": (attachment_module, "replace_hidden_states"),
    "looks whether there are rows": (Frame, "has_rows"),
    "checks the call": (Frame, "require_readable"),
    "reads": (Frame, "read"),
    "prepares the tables": (Prepared, "build"),
    "reads what is prepared": (Prepared, "read"),
    "builds the index": (RowIndex, "build"),
    "prepares a shorter way": (StepReader, "build"),
    "reads in the shorter way": (StepReader, "read"),
    "lines up the positions": (Layout, "align"),
    "runs the memory": (EngramMemory, "forward"),
    "opens the gate": (EngramMemory, "gate"),
    "makes the projections": (EngramMemory, "maps"),
}


@pytest.mark.parametrize("step", [(prepared, "suffixes"), (RowIndex, "find")])
def test_an_error_in_a_step_for_long_texts_is_raised(tiny_llama, tokenizer, ids, step, monkeypatch):
    llama = patched(tiny_llama, tokenizer)
    tables = stacked(llama, ids)
    expected = logits_of(llama, ids, tables)
    monkeypatch.setattr(StepReader, "suits", lambda *_: False)
    assert torch.equal(logits_of(llama, ids, tables), expected)
    monkeypatch.setattr(*step, fail)
    with pytest.raises(PlantedError):
        logits_of(llama, ids, tables)


@pytest.mark.parametrize("step", STEPS_OF_A_CALL)
def test_an_error_in_any_step_is_raised_and_leaves_nothing_behind(
    tiny_llama, tokenizer, ids, step, monkeypatch
):
    llama = patched(tiny_llama, tokenizer, gate_type="content")
    tables = stacked(llama, ids)
    base, expected = logits_of(llama, ids), logits_of(llama, ids, tables)
    cache = DynamicCache()
    with monkeypatch.context() as patch:
        patch.setattr(*STEPS_OF_A_CALL[step], fail)
        fresh = stacked(llama, ids)  # nothing of them is kept from an earlier call
        with pytest.raises(PlantedError):
            logits_of(llama, ids, fresh)
        if step != "remembers the ids on a new cache":  # this one is given
            with pytest.raises(PlantedError), use_tables(llama, fresh):
                llama(ids, past_key_values=cache)
    assert torch.equal(logits_of(llama, ids, tables), expected)
    assert torch.equal(logits_of(llama, ids), base)
    assert not torch.equal(base, expected)


def test_an_error_in_reading_a_single_step_is_raised(llama, ids, monkeypatch):
    tables = stacked(llama, ids)
    expected = logits_of(llama, ids, tables)[:, -1]
    cache = DynamicCache()
    with use_tables(llama, tables), torch.no_grad():
        llama(ids[:, :-1], past_key_values=cache)
        with monkeypatch.context() as patch:
            patch.setattr(StepReader, "read", fail)
            with pytest.raises(PlantedError):
                llama(ids[:, -1:], past_key_values=cache)
        cache = DynamicCache()
        llama(ids[:, :-1], past_key_values=cache)
        seen = llama(ids[:, -1:], past_key_values=cache).logits[:, -1]
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)


def test_an_error_in_a_step_of_static_caches_is_raised(llama, ids, monkeypatch):
    tables = stacked(llama, ids)
    with monkeypatch.context() as patch:
        patch.setattr(attachment_module, "commit", fail)
        cache = StaticCache(config=llama.config, max_cache_len=32)
        with pytest.raises(PlantedError), use_tables(llama, tables):
            llama(ids, past_key_values=cache)
    with use_tables(llama, tables), torch.no_grad():
        cache = StaticCache(config=llama.config, max_cache_len=32)
        seen = llama(ids, past_key_values=cache).logits
    torch.testing.assert_close(seen, logits_of(llama, ids, tables), rtol=1e-4, atol=1e-4)


def hooks_of(model: nn.Module) -> list[tuple[dict[int, Callable[..., Any]], int]]:
    """Every hook that patching registered: the dictionary it is in, and its number there."""
    attachment = require_attachment(model)
    return [
        (hooks, number)
        for module in model.modules()
        for hooks in (module._forward_pre_hooks, module._forward_hooks)
        for number, hook in hooks.items()
        if getattr(hook, "__self__", None) is attachment
    ]


def test_an_error_in_any_hook_is_raised_and_leaves_nothing_behind(model, ids):
    tables = stacked(model, ids)
    base, expected = logits_of(model, ids), logits_of(model, ids, tables)
    hooks = hooks_of(model)
    assert len(hooks) >= 2 * 2 + len(LAYERS)
    for where, number in hooks:
        hook = where[number]
        where[number] = fail
        with pytest.raises(PlantedError):
            logits_of(model, ids, tables)
        where[number] = hook
        assert torch.equal(logits_of(model, ids, tables), expected)
        assert torch.equal(logits_of(model, ids), base)


# Hooks that are gone


def test_a_model_that_lost_a_hook_is_refused(model, ids):
    tables = stacked(model, ids)
    expected = logits_of(model, ids, tables)
    for where, number in hooks_of(model):
        with use_tables(model, tables):
            hook = where.pop(number)
            for _ in range(2):
                with pytest.raises(DamagedPatchError, match="was removed"):
                    model(ids)
        with pytest.raises(DamagedPatchError, match="was removed"):
            logits_of(model, ids, tables)
        where[number] = hook
    assert torch.equal(logits_of(model, ids, tables), expected)


@pytest.mark.parametrize(
    "kinds",
    [["_forward_pre_hooks"], ["_forward_hooks"], ["_forward_pre_hooks", "_forward_hooks"]],
)
def test_a_model_that_lost_many_hooks_is_refused(model, ids, kinds):
    """Also where no hook of ours is left that could notice within a forward."""
    tables = stacked(model, ids)
    logits_of(model, ids, tables)
    for kind in kinds:
        for module in model.modules():
            getattr(module, kind).clear()
    with pytest.raises(DamagedPatchError, match="was removed"):
        logits_of(model, ids, tables)


@pytest.mark.parametrize("how", ["interrupted", "unhooked"])
def test_a_call_that_was_not_ended_does_not_lend_its_ids_to_another(llama, ids, how):
    """The inner model, called by itself, must not take it for its own outer call."""
    tables = stacked(llama, ids)
    other = ids.flip(1)  # as long as the first, so that its ids would fit
    expected = logits_of(llama, other, tables)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt  # after which torch runs no hooks

    if how == "unhooked":
        llama._forward_hooks.clear()
        with torch.no_grad():
            llama(ids)
    else:
        handle = llama.model.layers[2].register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            logits_of(llama, ids, tables)
        handle.remove()
    try:
        with use_tables(llama, tables), torch.no_grad():
            hidden_states = llama.model(other).last_hidden_state
    except EngramError:
        return
    assert torch.equal(llama.lm_head(hidden_states), expected)

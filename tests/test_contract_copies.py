"""The contract for copies: deep copies, pickles, files."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref

import pytest
import tiny
import torch
from patched import TRIGGER, at_trigger, logits_of, patched
from safetensors.torch import load_model, save_model
from tables import frequent_ngrams, make_table
from transformers import DynamicCache

from engram_transformers import UserTable, remove_engram, use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import ModelGoneError, NotPatchedError, TableMismatchError


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
    return patched(tiny_llama, tokenizer)


def test_a_deep_copy_reads_its_own_memories(model, ids):
    made, base = at_trigger(model, ids), logits_of(model, ids)
    fired = logits_of(model, ids, made.table)
    other = copy.deepcopy(model)
    assert require_attachment(other) is not require_attachment(model)
    assert require_attachment(other).model is other
    with use_tables(model, made.table):  # the original's tables are not the copy's
        assert torch.equal(other(ids).logits, base)
        assert torch.equal(model(ids).logits, fired)
    assert torch.equal(logits_of(other, ids, made.table), fired)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    assert torch.equal(logits_of(model, ids, made.table), fired)
    with pytest.raises(TableMismatchError, match="weights"), use_tables(other, made.table):
        pass


def test_engram_is_removed_from_a_copy_alone(model, ids):
    made, base = at_trigger(model, ids), logits_of(model, ids)
    fired = logits_of(model, ids, made.table)
    other = remove_engram(copy.deepcopy(model))
    assert not any("engram" in name for name, _ in other.named_modules())
    assert not any(module._forward_pre_hooks for module in other.modules())
    assert torch.equal(other(ids).logits, base)
    assert torch.equal(logits_of(model, ids, made.table), fired)
    third = copy.deepcopy(model)
    remove_engram(model)
    assert torch.equal(logits_of(third, ids, made.table), fired)


def test_a_copied_cache_goes_its_own_way(llama, ids):
    made = make_table(llama, frequent_ngrams(llama), distinct_rows=16, scale=1.0)
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    cache = DynamicCache()
    with use_tables(llama, made.table), torch.no_grad():
        llama(ids[:, :-1], past_key_values=cache)
        other = copy.deepcopy(cache)
        llama(torch.tensor([[9, 10, 11]]), past_key_values=cache)
        from_copy = llama.generate(ids, past_key_values=other, **settings)
        assert torch.equal(from_copy, llama.generate(ids, use_cache=False, **settings))


def test_a_pickled_model_comes_back_patched(model, ids, tmp_path):
    made = at_trigger(model, ids)
    fired = logits_of(model, ids, made.table)
    torch.save(model, tmp_path / "model.pt")
    for loaded in (
        torch.load(tmp_path / "model.pt", weights_only=False),
        pickle.loads(pickle.dumps(model)),
    ):
        assert torch.equal(logits_of(loaded, ids, made.table), fired)
        remove_engram(loaded)
        with pytest.raises(NotPatchedError):
            require_attachment(loaded)


def test_a_pickled_table_is_bound_again_by_hand(llama, ids):
    made = at_trigger(llama, ids)
    fired = logits_of(llama, ids, made.table)
    table: UserTable = pickle.loads(pickle.dumps(made.table))
    with pytest.raises(ModelGoneError, match=r"no live model.*table.bind\(model\)"):
        table.write([("a prompt", "an answer")])
    assert torch.equal(logits_of(llama, ids, table), fired)  # reading needs no binding
    assert table.bind(llama) is table
    assert table.attachment is require_attachment(llama)


def test_a_table_does_not_keep_its_model_alive(ids, tokenizer):
    model = patched(tiny.tiny_model("llama"), tokenizer)
    table = UserTable(model, "somebody")
    seen = weakref.ref(model)
    del model

    gc.collect()
    assert seen() is None
    with pytest.raises(ModelGoneError, match="somebody"):
        table.attachment  # noqa: B018


# Files of weights


@pytest.mark.parametrize("gate_type", ["fixed", "content"])
def test_weights_saved_from_a_patched_model_are_those_of_the_base(
    tiny_model, tokenizer, ids, gate_type, tmp_path
):
    """In both directions, strictly: a patched model has the base's keys, shapes and aliases."""
    fresh = copy.deepcopy(tiny_model)
    model = patched(tiny_model, tokenizer, gate_type=gate_type)
    made = at_trigger(model, ids)
    fired, base = logits_of(model, ids, made.table), logits_of(model, ids)
    save_model(model, str(tmp_path / "patched.safetensors"))
    save_model(fresh, str(tmp_path / "base.safetensors"))
    written = (tmp_path / "patched.safetensors").read_bytes()
    assert written == (tmp_path / "base.safetensors").read_bytes()
    with torch.no_grad():
        for parameter in (*fresh.parameters(), *model.parameters()):
            parameter.mul_(1.5)
    assert load_model(fresh, str(tmp_path / "patched.safetensors")) == (set(), [])
    assert torch.equal(fresh(ids).logits, base)
    assert load_model(model, str(tmp_path / "base.safetensors")) == (set(), [])
    assert torch.equal(logits_of(model, ids, made.table), fired)


@pytest.mark.parametrize("assign", [False, True])
def test_state_dicts_are_exchanged_with_the_base_strictly(model, ids, assign):
    made = at_trigger(model, ids)
    fired = logits_of(model, ids, made.table)
    base = remove_engram(copy.deepcopy(model))
    expected = base(ids).logits
    for target, source in ((model, base), (base, model)):
        state = {name: value.clone() for name, value in source.state_dict().items()}
        with torch.no_grad():
            for parameter in target.parameters():
                parameter.mul_(1.5)
        target.load_state_dict(state, strict=True, assign=assign)
        target.tie_weights()
    assert torch.equal(base(ids).logits, expected)
    assert torch.equal(logits_of(model, ids, made.table), fired)


def test_saved_state_of_a_learned_gate_restores_it(tiny_llama, tokenizer, ids, tmp_path):
    model = patched(tiny_llama, tokenizer, gate_type="learned")
    with torch.no_grad():
        for memory in require_attachment(model).memories.values():
            memory.query_norm.mul_(0.5)
    table = at_trigger(model, ids).table
    fired = logits_of(model, ids, table)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other = patched(tiny.tiny_model("llama"), tokenizer, gate_type="learned")
    with pytest.raises(TableMismatchError, match="learned gate differ"):
        logits_of(other, ids, table)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), strict=True)
    assert torch.equal(logits_of(other, ids, table), fired)


def test_shared_memory_reads_the_same(model, ids):
    table = at_trigger(model, ids).table
    fired = logits_of(model, ids, table)
    assert torch.equal(logits_of(model.share_memory(), ids, table), fired)


def test_training_and_evaluation_mode_reach_the_memories(llama, ids):
    table = at_trigger(llama, ids).table
    fired = logits_of(llama, ids, table)
    memories = require_attachment(llama).memories.values()
    assert all(memory.training for memory in memories) == llama.train().training
    assert torch.equal(logits_of(llama, ids, table), fired)  # the tiny Llama has no dropout
    llama.eval()
    assert not any(memory.training for memory in memories)

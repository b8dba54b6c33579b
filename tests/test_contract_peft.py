"""The contract with PEFT: LoRA and its kin before and after `add_engram`."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from patched import TRIGGER, WIDE_ROWS, assert_writes, at_trigger, logits_of, patched
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from tables import LAYERS
from torch.testing import assert_close

from engram_transformers import (
    attach_shared_lora,
    detach_shared_lora,
    remove_engram,
    use_tables,
)
from engram_transformers.errors import NotPatchedError, TableMismatchError
from engram_transformers.lora import ENGRAM_MODULES

# PEFT (0.21) asks transformers (5.23) in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
# PEFT (0.18) looks at the base's Conv1D weights of GPT-2 only after a warning.
LORA = {"r": 4, "lora_alpha": 64, "target_modules": "all-linear", "init_lora_weights": False}


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


def with_lora(model: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Conv1D
        return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **{**LORA, **options}))


def test_lora_after_add_engram_leaves_the_memories_alone(model, ids):
    made = at_trigger(model, ids)
    wrapped = with_lora(model)
    assert not any("engram" in name for name, _ in wrapped.named_parameters())
    base = logits_of(wrapped, ids)
    fired = logits_of(wrapped, ids, made.table)
    assert torch.equal(fired[:, :-1], base[:, :-1])
    assert not torch.equal(fired[:, -1], base[:, -1])
    with wrapped.disable_adapter():
        without = logits_of(wrapped, ids, made.table)
    back = wrapped.unload()
    assert torch.equal(logits_of(back, ids, made.table), without)
    assert not torch.equal(without, fired)


def test_lora_before_add_engram_gives_the_same(tiny_model, tokenizer, ids):
    torch.manual_seed(5)
    first = with_lora(patched(copy.deepcopy(tiny_model), tokenizer))
    torch.manual_seed(5)
    second = patched(with_lora(tiny_model), tokenizer)
    table = at_trigger(first, ids).table
    settings = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    settings["attention_mask"] = torch.ones_like(ids)
    said = []
    for model in (first, second):
        with use_tables(model, table):
            said.append(model.generate(input_ids=ids, **settings))
            assert torch.equal(said[-1], model.generate(input_ids=ids, use_cache=False, **settings))
        assert not torch.equal(logits_of(model, ids, table), logits_of(model, ids))
    assert torch.equal(*said)
    remove_engram(second)
    assert not any(module._forward_pre_hooks for module in second.modules())
    with pytest.raises(NotPatchedError):
        use_tables(second, None).__enter__()


def test_a_learned_gate_needs_the_exclusion_that_lora_offers(tiny_llama, tokenizer):
    """Its weights are parameters, not linear modules: LoRA does not touch them either way."""
    model = patched(tiny_llama, tokenizer, gate_type="learned")
    for options in ({}, {"exclude_modules": ENGRAM_MODULES}):
        wrapped = with_lora(copy.deepcopy(model), **options)
        names = [name for name, _ in wrapped.named_parameters() if "engram" in name]
        assert len(names) == 3 * len(LAYERS)
        assert not any("lora" in name for name in names)


@pytest.fixture
def adapter(tmp_path, request) -> Callable[[str], str]:
    """Save a random LoRA for a family and return its folder."""

    def save(family: str, seed: int = 0) -> str:
        torch.manual_seed(seed)
        wrapped: PeftModel = with_lora(tiny.tiny_model(family), target_modules=["q_proj", "v_proj"])
        folder = tmp_path / f"adapter-{seed}"
        wrapped.save_pretrained(str(folder))
        return str(folder)

    return save


@pytest.mark.parametrize("before", [True, False])
def test_rows_written_with_a_shared_lora_need_it(tokenizer, ids, adapter, before):
    model: Any = tiny.tiny_model("llama")
    folder = adapter("llama")
    base = model(ids).logits
    if before:
        attach_shared_lora(model, folder)
        patched(model, tokenizer)
    else:
        patched(model, tokenizer)
        attach_shared_lora(model, folder)
    adapted = logits_of(model, ids)
    assert not torch.equal(adapted, base)
    made = at_trigger(model, ids)
    assert made.table.binding.lora is not None
    assert made.table.binding.lora.reference == Path(folder).name
    fired = logits_of(model, ids, made.table)
    detach_shared_lora(model)
    assert torch.equal(logits_of(model, ids), base)
    with pytest.raises(TableMismatchError, match=r"written with the shared LoRA.*not attached"):
        logits_of(model, ids, made.table)
    attach_shared_lora(model, adapter("llama", 1))
    with pytest.raises(TableMismatchError, match=r"written with the shared LoRA.*attached is"):
        logits_of(model, ids, made.table)
    detach_shared_lora(model)
    attach_shared_lora(model, folder)
    assert torch.equal(logits_of(model, ids, made.table), fired)


def test_rows_written_without_a_lora_may_be_read_with_one(llama, ids, adapter):
    made = at_trigger(llama, ids)
    attach_shared_lora(llama, adapter("llama"))
    assert not torch.equal(logits_of(llama, ids, made.table), logits_of(llama, ids))
    with pytest.raises(TableMismatchError, match="facts written without a LoRA"):
        made.table.write([("Where do I live?", "Here")])


# DoRA, merging, several adapters


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("use_dora", [False, True])
def test_an_adapter_changes_no_bit_of_what_a_row_adds(tiny_llama, tokenizer, ids, before, use_dora):
    """The same, whether the adapter or the memory came first."""
    torch.manual_seed(5)
    other = with_lora(tiny.tiny_model("llama"), use_dora=use_dora)
    base = other(ids).logits
    torch.manual_seed(5)
    if before:
        model = patched(with_lora(tiny_llama, use_dora=use_dora), tokenizer)
    else:
        model = with_lora(patched(tiny_llama, tokenizer), use_dora=use_dora)
    assert any("magnitude" in name for name, _ in model.named_parameters()) == use_dora
    assert not any("engram" in name for name, _ in model.named_parameters())
    made = at_trigger(model, ids)
    fired = logits_of(model, ids, made.table)
    assert torch.equal(logits_of(model, ids), base)
    assert torch.equal(fired[:, :-1], base[:, :-1])
    assert not torch.equal(fired[:, -1], base[:, -1])


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("use_dora", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_merged_adapter_makes_another_model_that_reads_new_tables(
    tokenizer, ids, family, use_dora, before
):
    base_model = tiny.tiny_model(family)
    if before:
        wrapped = patched(with_lora(base_model, use_dora=use_dora), tokenizer)
    else:
        wrapped = with_lora(patched(base_model, tokenizer), use_dora=use_dora)
    made = at_trigger(wrapped, ids)
    fired = logits_of(wrapped, ids, made.table)
    merged = wrapped.merge_and_unload()
    assert merged is base_model
    with pytest.raises(TableMismatchError, match=r"with weights(?s:.*)not attached"):
        logits_of(merged, ids, made.table)
    again = at_trigger(merged, ids)
    assert_close(logits_of(merged, ids, again.table), fired, rtol=1e-4, atol=1e-4)
    remove_engram(merged)
    assert not any("engram" in name for name, _ in merged.named_modules())
    assert not any(module._forward_pre_hooks for module in merged.modules())


def test_merging_and_unmerging_lets_old_tables_be_read_again(llama, ids):
    wrapped = with_lora(llama)
    made = at_trigger(wrapped, ids)
    fired = logits_of(wrapped, ids, made.table)
    wrapped.merge_adapter()
    with pytest.raises(TableMismatchError, match="weights"):
        logits_of(wrapped, ids, made.table)
    merged = logits_of(wrapped, ids, at_trigger(wrapped, ids).table)
    assert_close(merged, fired, rtol=1e-4, atol=1e-4)
    wrapped.unmerge_adapter()
    assert_close(logits_of(wrapped, ids, made.table), fired, rtol=1e-4, atol=1e-4)


def test_each_of_several_adapters_has_tables_of_its_own(llama, ids):
    wrapped = with_lora(llama)
    first = at_trigger(wrapped, ids)
    fired = logits_of(wrapped, ids, first.table)
    second_lora = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], r=4)
    wrapped.add_adapter("second", second_lora)
    assert torch.equal(logits_of(wrapped, ids, first.table), fired)  # added, not yet active
    wrapped.set_adapter("second")
    with pytest.raises(TableMismatchError, match=r"shared LoRA.*attached is"):
        logits_of(wrapped, ids, first.table)
    second = at_trigger(wrapped, ids, seed=1)
    assert not torch.equal(logits_of(wrapped, ids, second.table), fired)
    wrapped.base_model.set_adapter(["default", "second"])
    for table in (first.table, second.table):
        with pytest.raises(TableMismatchError, match=r"shared LoRA.*attached is"):
            logits_of(wrapped, ids, table)
    wrapped.delete_adapter("second")
    wrapped.set_adapter("default")
    assert torch.equal(logits_of(wrapped, ids, first.table), fired)
    with (
        wrapped.disable_adapter(),
        pytest.raises(TableMismatchError, match="which is not attached"),
    ):
        logits_of(wrapped, ids, first.table)


@pytest.mark.parametrize("gate_type", ["fixed", "content", "learned"])
def test_a_saved_adapter_holds_nothing_of_the_memories(tokenizer, ids, tmp_path, gate_type):
    torch.manual_seed(5)
    wrapped = with_lora(patched(tiny.tiny_model("llama"), tokenizer, gate_type=gate_type))
    made = at_trigger(wrapped, ids)
    fired = logits_of(wrapped, ids, made.table)
    wrapped.save_pretrained(str(tmp_path))
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        assert file.keys()
        assert not any("engram" in key for key in file.keys())  # noqa: SIM118
    fresh = tiny.tiny_model("llama")
    loaded = PeftModel.from_pretrained(patched(fresh, tokenizer, gate_type=gate_type), tmp_path)
    assert torch.equal(logits_of(loaded, ids, made.table), fired)


def test_facts_are_written_under_an_adapter(tiny_llama, tokenizer):
    model = patched(with_lora(tiny_llama), tokenizer, row_dim=WIDE_ROWS)
    assert_writes(model, tokenizer)

"""Promises of fingerprints: the same for the same base model, and for nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from zoo import species

from engram_transformers import add_engram
from engram_transformers.fingerprint import (
    adapter_fingerprint,
    merged_adapters,
    model_fingerprint,
)

# PEFT (0.19) asks transformers (5.23) in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def with_lora(model: Any, seed: int = 0, name: str = "default") -> Any:
    torch.manual_seed(seed)
    config = LoraConfig(
        task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False, lora_alpha=64
    )
    return get_peft_model(model, config, adapter_name=name)


def test_models_of_other_families_and_weights_differ():
    seen = {model_fingerprint(tiny.tiny_model(family)) for family in tiny.FAMILIES}
    seen.add(model_fingerprint(tiny.tiny_model("llama", seed=1)))
    assert len(seen) == len(tiny.FAMILIES) + 1


def test_one_model_has_one_fingerprint(tiny_model, tiny_tokenizer):
    before = model_fingerprint(tiny_model)
    assert len(before) == 32
    assert model_fingerprint(copy.deepcopy(tiny_model)) == before
    assert model_fingerprint(tiny_model.bfloat16()) == before
    add_engram(tiny_model, tiny_tokenizer, gate_type="learned")
    assert model_fingerprint(tiny_model) == before


@pytest.mark.parametrize("name", ["q_proj", "down_proj", "input_layernorm"])
def test_any_weight_that_is_trained_makes_another_model(tiny_llama, name):
    before = model_fingerprint(tiny_llama)
    weight = next(p for n, p in reversed(list(tiny_llama.named_parameters())) if name in n)
    with torch.no_grad():
        weight.mul_(1.05)
    assert model_fingerprint(tiny_llama) != before


def test_adapters_beside_the_weights_change_nothing_and_merged_ones_do(tiny_llama):
    before = model_fingerprint(tiny_llama)
    assert adapter_fingerprint(tiny_llama) is None
    assert merged_adapters(tiny_llama) == ()
    wrapped = with_lora(tiny_llama)
    assert model_fingerprint(wrapped) == before
    assert model_fingerprint(wrapped.get_base_model()) == before
    assert adapter_fingerprint(wrapped) is not None
    wrapped.merge_adapter()
    assert len(merged_adapters(wrapped)) == tiny.BLOCKS
    assert model_fingerprint(wrapped) != before
    assert adapter_fingerprint(wrapped) is None  # part of the weights now


def test_an_adapter_is_known_by_its_weights_and_not_by_its_name(tiny_llama):
    one = with_lora(copy.deepcopy(tiny_llama), name="one")
    same = with_lora(copy.deepcopy(tiny_llama), name="other")
    different = with_lora(copy.deepcopy(tiny_llama), seed=1, name="one")
    assert adapter_fingerprint(one) == adapter_fingerprint(same)
    assert adapter_fingerprint(one) == adapter_fingerprint(one.get_base_model())
    assert adapter_fingerprint(one) != adapter_fingerprint(different)


def test_only_adapters_that_are_switched_on_count(tiny_llama):
    wrapped = with_lora(tiny_llama, name="one")
    first = adapter_fingerprint(wrapped)
    torch.manual_seed(4)
    config = LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    wrapped.add_adapter("two", config)
    assert adapter_fingerprint(wrapped) == first
    wrapped.set_adapter("two")
    assert adapter_fingerprint(wrapped) not in (None, first)
    with wrapped.disable_adapter():
        assert adapter_fingerprint(wrapped) is None


def test_weights_that_a_model_divides_to_run_are_the_same_weights():
    model = species()["RwkvForCausalLM"].build()
    before, weights = model_fingerprint(model), copy.deepcopy(model.state_dict())
    ids = torch.tensor([[5, 6, 7]])
    model(ids)
    assert any(not torch.equal(w, weights[name]) for name, w in model.state_dict().items())
    assert model_fingerprint(model) == before
    model.train()(ids)
    assert model_fingerprint(model) == before
    with torch.no_grad():
        model.eval()(ids)
        model.rwkv.blocks[-1].attention.output.weight.mul_(2)
    assert model_fingerprint(model) != before

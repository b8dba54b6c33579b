"""Promises of the shared LoRA: attached once for all, detached exactly, refused by name."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from tables import LAYERS, ROW_DIM, make_table

from engram_transformers import (
    UserTable,
    add_engram,
    attach_shared_lora,
    detach_shared_lora,
    remove_engram,
    use_tables,
)
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import EngramError, SharedLoraError
from engram_transformers.fingerprint import adapter_fingerprint
from engram_transformers.lora import SharedLora, public_name

# PEFT (0.19) asks transformers (5.23) in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

IDS = torch.tensor([[20, 21, 22, 23]])


def save_adapter(folder: Path, family: str = "llama", config: Any = None, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = config or LoraConfig(
        task_type="CAUSAL_LM", target_modules=["q_proj"], init_lora_weights=False, lora_alpha=64
    )
    get_peft_model(tiny.tiny_model(family), config).save_pretrained(str(folder))
    return folder


@pytest.fixture
def adapter(tmp_path) -> Path:
    return save_adapter(tmp_path / "adapter")


@pytest.fixture
def model(tiny_llama, tiny_tokenizer):
    return add_engram(tiny_llama, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@torch.no_grad()
def logits_of(model: Any) -> torch.Tensor:
    return model(IDS).logits


def refused(model: Any, adapter: object, message: str) -> None:
    """Check that an adapter is refused and that the model is as it was."""
    names = [name for name, _ in model.named_modules()]
    before, fingerprint = logits_of(model), adapter_fingerprint(model)
    with pytest.raises(SharedLoraError, match=message) as seen:
        attach_shared_lora(model, adapter)  # pyright: ignore
    assert isinstance(seen.value, EngramError)
    assert [name for name, _ in model.named_modules()] == names
    assert adapter_fingerprint(model) == fingerprint
    assert torch.equal(logits_of(model), before)


def test_attaching_and_detaching_gives_the_model_back(model, adapter):
    before = logits_of(model)
    assert attach_shared_lora(model, adapter) is model
    shared = require_attachment(model).shared_lora
    assert shared == SharedLora("adapter", adapter_fingerprint(model) or "")
    assert str(shared) == f"adapter ({shared.fingerprint[:12]})"
    assert not any(".engram." in name for name, _ in model.named_parameters())
    assert not torch.equal(logits_of(model), before)
    assert detach_shared_lora(model) is model
    assert require_attachment(model).shared_lora is None
    assert torch.equal(logits_of(model), before)
    attach_shared_lora(model, adapter)
    assert require_attachment(model).shared_lora == shared


def test_an_adapter_attached_before_add_engram_is_known_after_it(
    tiny_llama, tiny_tokenizer, adapter
):
    attach_shared_lora(tiny_llama, adapter)
    adapted = logits_of(tiny_llama)
    add_engram(tiny_llama, tiny_tokenizer)
    shared = require_attachment(tiny_llama).shared_lora
    assert shared is not None
    assert shared.reference == "adapter"
    remove_engram(tiny_llama)
    assert torch.equal(logits_of(tiny_llama), adapted)
    detach_shared_lora(tiny_llama)
    assert adapter_fingerprint(tiny_llama) is None


def test_a_folder_is_recorded_by_its_name_and_a_repository_by_its_id(tmp_path):
    """A table is published with it: where a folder lies is nobody's business."""
    assert public_name(tmp_path / ".") == tmp_path.name
    assert public_name("somebody/skill") == "somebody/skill"
    assert public_name("") == ""


def test_a_second_adapter_is_refused(model, adapter, tmp_path):
    attach_shared_lora(model, adapter)
    refused(model, save_adapter(tmp_path / "other", seed=1), "An adapter is active already")


def test_an_adapter_that_peft_put_there_is_refused(model, adapter):
    wrapped = get_peft_model(model, LoraConfig(target_modules=["v_proj"]))
    refused(wrapped, adapter, r"active already \(.*or PEFT's own way if it came from there")


def test_what_is_no_lora_is_refused(model, tmp_path):
    refused(model, tmp_path / "nothing", "is not a PEFT adapter")
    ia3 = IA3Config(target_modules=["q_proj"], feedforward_modules=[])
    refused(model, save_adapter(tmp_path / "ia3", config=ia3), "ia3 is a IA3 adapter, not a LoRA")


def test_an_adapter_of_another_architecture_is_refused(model, tmp_path):
    config = LoraConfig(target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True)
    refused(model, save_adapter(tmp_path / "gpt2", "gpt2", config), "can't be attached to Llama")


@pytest.mark.parametrize(
    ("trained", "loaded", "warns"),
    [
        ("ann/model", "ann/model", False),
        ("ann/model", "bob/model", True),
        ("ann/model", "", False),  # made from a configuration
        ("", "bob/model", False),
        ("model", "bob/model", False),  # trained from a folder
        ("ann/model", "here/model", False),  # a folder
        ("ann/model", "/home/bob/model", False),
    ],
)
def test_an_adapter_of_another_repository_is_attached_with_a_warning(
    model, adapter, recwarn, tmp_path, monkeypatch, trained, loaded, warns
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "model").mkdir(parents=True)
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = trained
    (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    model.name_or_path = loaded
    attach_shared_lora(model, adapter)
    said = [str(one.message) for one in recwarn if "was trained for" in str(one.message)]
    assert said == [f"{adapter} was trained for {trained}, and the model is {loaded}."] * warns


def test_an_adapter_without_weights_is_refused(model, adapter, monkeypatch):
    """Whatever PEFT may load: if no adapter is active after it, nothing is recorded."""
    monkeypatch.setattr(type(model), "load_adapter", lambda self, *args, **kwargs: None)
    refused(model, adapter, "has no weights that fit LlamaForCausalLM")
    assert require_attachment(model).shared_lora is None


def test_detaching_nothing_is_refused(model):
    with pytest.raises(SharedLoraError, match="No shared LoRA is attached"):
        detach_shared_lora(model)


def test_without_peft_the_refusal_says_what_to_install(model, adapter, monkeypatch):
    found = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "peft":
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SharedLoraError, match=r'pip install "engram-transformers\[peft\]"'):
        attach_shared_lora(model, adapter)


def test_a_table_attaches_and_records_it(model, adapter):
    table = UserTable(model, "ann")
    shared = table.attach_shared_lora(adapter)
    assert table.binding.lora == shared == require_attachment(model).shared_lora
    assert shared.reference == "adapter"
    with use_tables(model, table):
        pass


def test_a_table_with_facts_does_not_change_its_lora(model, adapter):
    table = make_table(model, [(1, 2)], owner="ann").table
    binding = table.binding
    with pytest.raises(SharedLoraError, match="'ann' has facts that were written without"):
        table.attach_shared_lora(adapter)
    assert table.binding == binding
    assert adapter_fingerprint(model) is None

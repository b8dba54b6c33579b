"""Promises of bindings: a table fits the model it was written for, or is refused with reasons."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from tables import LAYERS, ROW_DIM, make_table

from engram_transformers import UserTable, add_engram, remove_engram, use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.binding import Binding
from engram_transformers.errors import TableMismatchError
from engram_transformers.lora import SharedLora

# PEFT (0.19) asks transformers (5.23) in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.fixture
def model(tiny_llama, tiny_tokenizer):
    return add_engram(tiny_llama, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def table(model) -> UserTable:
    return make_table(model, [(5, 6, 7)], owner="ann").table


def refused(model: Any, table: UserTable) -> TableMismatchError:
    """Check that a table is refused, by reading and by binding, and say why."""
    state, binding, version = table.rows, table.binding, table.version
    with pytest.raises(TableMismatchError) as seen, use_tables(model, table):
        pass
    with pytest.raises(TableMismatchError), use_tables(model, [[table], None]):
        pass
    with pytest.raises(TableMismatchError):
        table.bind(model)
    assert (table.rows, table.binding, table.version) == (state, binding, version)
    assert seen.value.owner == "ann"
    return seen.value


def test_a_binding_survives_json(model):
    binding = Binding.of(require_attachment(model))
    assert Binding.from_dict(binding.to_dict()) == binding
    fields = {**binding.to_dict(), "lora": {"reference": "folder", "fingerprint": "00"}}
    assert Binding.from_dict(fields).lora == SharedLora("folder", "00")


def test_a_table_fits_any_model_with_the_same_weights(table, tiny_tokenizer):
    for dtype in (torch.float32, torch.bfloat16):
        other = tiny.tiny_model("llama").to(dtype)
        add_engram(other, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)
        with use_tables(other, table):
            pass
        assert table.bind(other).attachment is require_attachment(other)


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_a_table_of_another_model_is_refused(table, tiny_tokenizer, family):
    other = tiny.tiny_model(family, seed=1)
    add_engram(other, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    error = refused(other, table)
    assert len(error.differences) == 1
    assert "it was written for LlamaForCausalLM with weights" in error.differences[0]
    assert f"this is {type(other).__name__} with" in error.differences[0]


def test_a_table_of_another_tokenizer_is_refused(model, table, tiny_tokenizer):
    remove_engram(model)
    tiny_tokenizer.add_tokens(["<|new|>"])
    add_engram(model, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    error = refused(model, table)
    assert len(error.differences) == 1
    assert error.differences[0].startswith("its tokenizer is ")


@pytest.mark.parametrize(
    ("fields", "difference"),
    [
        ({"row_dim": 32}, "its row_dim is 16, this model's is 32"),
        ({"seed": 4}, "its seed is 0, this model's is 4"),
        ({"max_order": 9}, "its max_order is 64, this model's is 9"),
        ({"gate_type": "content"}, "its gate_type is 'fixed', this model's is 'content'"),
        ({"layers": [0, 2]}, "it is read at layer 1, this model has memories at [0, 2]"),
    ],
)
def test_a_table_of_another_configuration_is_refused(
    model, table, tiny_tokenizer, fields, difference
):
    remove_engram(model)
    add_engram(model, tiny_tokenizer, **{"layers": LAYERS, "row_dim": ROW_DIM, **fields})
    assert refused(model, table).differences == (difference,)


def test_all_differences_are_named_at_once(table, tiny_tokenizer):
    other = tiny.tiny_model("qwen3")
    tiny_tokenizer.add_tokens(["<|new|>"])
    add_engram(other, tiny_tokenizer, layers=[0], row_dim=8, seed=3, gate_type="learned")
    error = refused(other, table)
    assert len(error.differences) == 6
    assert all(difference in str(error) for difference in error.differences)
    assert "write the facts to a new table" in str(error)


def test_a_learned_gate_with_other_weights_is_refused(tiny_llama, tiny_tokenizer):
    fields = {"layers": LAYERS, "row_dim": ROW_DIM, "gate_type": "learned"}
    model = add_engram(tiny_llama, tiny_tokenizer, **fields)
    table = make_table(model, [(5, 6, 7)], owner="ann").table
    memory = require_attachment(model).memories[LAYERS[0]]
    with torch.no_grad():
        memory.key_norm += 0.5
    assert refused(model, table).differences == ("the weights of the learned gate differ",)
    with torch.no_grad():
        memory.key_norm -= 0.5
    with use_tables(model, table):
        pass


def test_merging_an_adapter_makes_another_model(model, table):
    torch.manual_seed(0)
    config = LoraConfig(target_modules="all-linear", init_lora_weights=False, lora_alpha=64)
    wrapped: Any = get_peft_model(model, config)
    with use_tables(wrapped, table):  # an adapter beside the weights leaves them as they are
        pass
    wrapped.merge_adapter()
    error = refused(wrapped, table)
    assert "with weights" in error.differences[0]


def test_training_makes_another_model(model, table):
    with use_tables(model, table):
        pass
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight += 1
    assert "with weights" in refused(model, table).differences[0]


def test_an_unknown_adapter_is_named_by_its_fingerprint(model):
    torch.manual_seed(0)
    config = LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    wrapped = get_peft_model(model, config)
    lora = Binding.of(require_attachment(wrapped)).lora
    assert lora is not None
    assert lora.reference == ""
    assert str(lora) == f"an adapter ({lora.fingerprint[:12]})"


def test_writing_with_an_adapter_into_a_table_without_is_refused(model, table):
    config = LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    wrapped = get_peft_model(model, config)
    attachment = require_attachment(wrapped)
    table.binding.require(attachment, "ann", LAYERS[0])
    with pytest.raises(TableMismatchError, match="facts written without a LoRA, attached is an"):
        table.binding.require(attachment, "ann", LAYERS[0], writing=True)

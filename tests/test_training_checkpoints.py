"""Checkpoints of trained banks: what they hold, what is refused, and going on from them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import tiny
import torch
from bank_training import (
    bank_weights,
    base_weights,
    corpus,
    is_same,
    make_trainer,
    with_new_banks,
)
from banked import fill_banks
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from engram_transformers.attachment import require_attachment
from engram_transformers.banks.errors import RowStateError
from engram_transformers.errors import EngramError
from engram_transformers.lora import ENGRAM_MODULES
from engram_transformers.training.bank_files import (
    SETTINGS_NAME,
    WEIGHTS_NAME,
    load_banks,
    require_fitting_banks,
    save_banks,
)
from engram_transformers.training.errors import BankFilesError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning"),
]
SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 5}
DROPOUT = 0.3


def new_model(what="banks", **fields):
    """With dropout, so that random numbers must be resumed, too."""
    model = with_new_banks(**fields)
    model.config.attention_dropout = DROPOUT
    for block in model.model.layers:
        block.self_attn.attention_dropout = DROPOUT
    if what == "lora":
        torch.manual_seed(3)
        config = LoraConfig(
            task_type="CAUSAL_LM", target_modules="all-linear", exclude_modules=ENGRAM_MODULES
        )
        # Of another name than "default": PEFT keeps it in a folder, and wakes it when it is loaded.
        model = get_peft_model(model, config, adapter_name="other")
    return model


def all_of(trainer):
    """Return all weights, and the optimiser's state."""
    weights = {**bank_weights(trainer.model), **base_weights(trainer.model)}
    states = trainer.optimizer.state_dict()["state"]
    kept = {f"{n}.{name}": value for n, state in states.items() for name, value in state.items()}
    return {**weights, **kept}


# Resuming


@pytest.mark.parametrize("row_optimiser", ["adam", "adagrad"])
@pytest.mark.parametrize(
    ("what", "freeze_base"), [("banks", True), ("banks", False), ("lora", True), ("lora", False)]
)
def test_resumed_training_ends_as_one_run_bit_for_bit(tmp_path, what, freeze_base, row_optimiser):
    options = {"freeze_base": freeze_base, "row_optimiser": row_optimiser}
    settings = {**SAVING, "gradient_accumulation_steps": 2, "max_grad_norm": 0.02}  # all clip
    whole = make_trainer(tmp_path / "whole", new_model(what), options=options, **settings)
    whole.train()
    again = make_trainer(tmp_path / "again", new_model(what), options=options, **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert is_same(all_of(again), all_of(whole))
    seen, expected = again.state.log_history[-2], whole.state.log_history[-2]
    names = [name for name in expected if name.startswith("engram/")]
    assert {n: seen[n] for n in names} == {n: expected[n] for n in names} != {}
    half = load_file(tmp_path / "whole" / "checkpoint-2" / WEIGHTS_NAME)
    assert not torch.equal(half["1.table.weight"], bank_weights(whole.model)["1.table.weight"])
    frozen = make_trainer(tmp_path / "other", new_model(what), options=options)
    learned = not is_same(base_weights(again.model), base_weights(frozen.model))
    assert learned == (not freeze_base)


def test_a_checkpoint_is_that_of_the_base_with_the_banks_beside_it(tmp_path):
    trainer = make_trainer(tmp_path, **SAVING)
    trainer.train()
    folder = tmp_path / "checkpoint-4"
    bare = tiny.tiny_model("llama")
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert is_same(dict(loaded.state_dict()), dict(bare.state_dict()))
    model = with_new_banks()
    load_banks(model, folder)
    trainer.save_model(str(tmp_path / "last"))
    assert (tmp_path / "last" / SETTINGS_NAME).exists()
    load_banks(model, tmp_path / "last")
    assert is_same(bank_weights(model), bank_weights(trainer.model))


def test_the_best_banks_are_loaded_in_the_end(tmp_path):
    settings = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2}
    # The worst counts as the best, so that it is not the last one.
    settings |= {"metric_for_best_model": "eval_loss", "greater_is_better": True}
    settings |= {"learning_rate": 1e-2, **SAVING, "max_steps": 4}
    options = {"eval_dataset": corpus(4)}
    trainer = make_trainer(tmp_path, options=options, **settings)
    trainer.train()
    assert Path(trainer.state.best_model_checkpoint).name == "checkpoint-2"
    best, last = (
        load_file(tmp_path / f"checkpoint-{n}" / WEIGHTS_NAME)["1.table.weight"] for n in (2, 4)
    )
    assert torch.equal(bank_weights(trainer.model)["1.table.weight"], best)
    assert not torch.equal(best, last)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"memory_size": 800}, "`memory_size` of layer 1 was 100, but is 200"),
        ({"layers": [1]}, r"its banks are on layers \[1, 3\], those here on \[1\]"),
        ({"bank_heads": 4}, "`heads` of layer 3 was 2, but is 4"),
        ({"seed": 1}, "`seed` of layer 1 was 0, but is 1"),
    ],
    ids=["size", "layers", "heads", "seed"],
)
def test_resuming_with_other_banks_is_refused_and_changes_nothing(tmp_path, fields, problem):
    make_trainer(tmp_path, **SAVING).train()
    other = with_new_banks(**fields)
    other.lm_head.weight.data.fill_(1.0)  # as no checkpoint has it
    before, base = bank_weights(other), base_weights(other)
    trainer = make_trainer(tmp_path / "other", other)
    with pytest.raises(BankFilesError, match=problem) as caught:
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert isinstance(caught.value, (EngramError, ValueError))
    assert caught.value.path == str(tmp_path / "checkpoint-2")
    assert is_same(bank_weights(other), before)
    assert is_same(base_weights(other), base)
    assert not any(
        weight.requires_grad for weight in require_attachment(other).banks[1].parameters()
    )


def test_resuming_with_another_optimiser_of_rows_is_refused(tmp_path):
    make_trainer(tmp_path, **SAVING).train()
    trainer = make_trainer(tmp_path / "other", options={"row_optimiser": "adagrad"})
    with pytest.raises(RowStateError, match="this optimiser keeps `rows`, `sum`"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_resuming_a_run_without_banks_is_refused(tmp_path):
    make_trainer(tmp_path, **SAVING).train()
    (tmp_path / "checkpoint-2" / SETTINGS_NAME).unlink()
    with pytest.raises(BankFilesError, match="is missing: it was saved without banks"):
        make_trainer(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


# Files


def filled(**fields):
    model = with_new_banks(**fields)
    fill_banks(model)
    return model


def test_saved_banks_are_loaded_bit_for_bit(tmp_path):
    model, other = filled(), with_new_banks()
    assert save_banks(model, tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    load_banks(other, tmp_path / "new" / "folder")
    assert is_same(bank_weights(other), bank_weights(model))
    files = sorted(path.name for path in (tmp_path / "new" / "folder").iterdir())
    assert files == [SETTINGS_NAME, WEIGHTS_NAME]
    written = json.loads((tmp_path / "new" / "folder" / SETTINGS_NAME).read_text("utf-8"))
    config = require_attachment(model).banks[3].config
    expected = {"hidden_size": 64, **dataclasses.asdict(config)}
    assert written["banks"]["3"] == json.loads(json.dumps(expected))


@pytest.mark.parametrize("damage", ["json", "list", "format", "cut", "no weights", "key", "shape"])
def test_damaged_files_are_refused(tmp_path, damage):
    save_banks(filled(), tmp_path)
    settings, weights = tmp_path / SETTINGS_NAME, tmp_path / WEIGHTS_NAME
    if damage == "json":
        settings.write_text("{", "utf-8")
    elif damage == "list":
        settings.write_text("[]", "utf-8")
    elif damage == "format":
        settings.write_text(settings.read_text("utf-8").replace('"format": 1', '"format": 2'))
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "no weights":
        weights.unlink()
    else:
        tensors = load_file(weights)
        gone = tensors.pop("1.key_norm")
        if damage == "shape":
            tensors["1.key_norm"] = gone[:, 1:].contiguous()
        save_file(tensors, weights)
    expected = {
        "json": "can't be read",
        "list": "does not describe banks",
        "format": "its format is 2, but this release reads 1",
        "cut": "engram_banks.safetensors can't be read",
        "no weights": "engram_banks.safetensors can't be read",
        "key": r"`1.key_norm` is missing, but must be \(1, 64\)",
        "shape": r"`1.key_norm` is \(1, 63\), but must be \(1, 64\)",
    }
    model = with_new_banks()
    before = bank_weights(model)
    with pytest.raises(BankFilesError, match=expected[damage]):
        load_banks(model, tmp_path)
    assert is_same(bank_weights(model), before)


def test_banks_of_another_tokenizer_are_refused(tmp_path):
    model = filled()
    save_banks(model, tmp_path)
    require_attachment(model).tokenizer_fingerprint = "another"
    with pytest.raises(BankFilesError, match="trained with another tokenizer"):
        require_fitting_banks(model, tmp_path)

"""Checkpoints of trained banks: what they hold, what is refused, and going on from them."""

from __future__ import annotations

import warnings
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
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from engram_transformers import load_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.banks.description import CONFIG_NAME
from engram_transformers.banks.errors import RowStateError
from engram_transformers.banks.file_errors import (
    BankFileError,
    BankMismatchError,
    OtherCheckpointWarning,
)
from engram_transformers.errors import EngramError
from engram_transformers.lora import ENGRAM_MODULES

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning"),
]
SAVING = {"save_strategy": "steps", "save_steps": 2, "max_steps": 5}
DROPOUT = 0.3


def saved_weights(folder):
    with warnings.catch_warnings():  # a base that was trained, too, is another one
        warnings.simplefilter("ignore", OtherCheckpointWarning)
        return bank_weights(load_engram(with_new_banks(), folder))


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
    half = saved_weights(tmp_path / "whole" / "checkpoint-2")
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
    load_engram(model, folder)
    trainer.save_model(str(tmp_path / "last"))
    load_engram(model, tmp_path / "last")
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
    best, last = (saved_weights(tmp_path / f"checkpoint-{n}")["1.table.weight"] for n in (2, 4))
    assert torch.equal(bank_weights(trainer.model)["1.table.weight"], best)
    assert not torch.equal(best, last)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"memory_size": 800}, "their memory_size is 400, this model's is 800"),
        ({"layers": [1]}, r"their layers is \(1, 3\), this model's is \(1,\)"),
        ({"bank_heads": 4}, "their bank_heads is 2, this model's is 4"),
        ({"seed": 1}, "their seed is 0, this model's is 1"),
    ],
    ids=["size", "layers", "heads", "seed"],
)
def test_resuming_with_other_banks_is_refused_and_changes_nothing(tmp_path, fields, problem):
    make_trainer(tmp_path, **SAVING).train()
    other = with_new_banks(**fields)
    other.lm_head.weight.data.fill_(1.0)  # as no checkpoint has it
    before, base = bank_weights(other), base_weights(other)
    trainer = make_trainer(tmp_path / "other", other)
    with pytest.raises(BankMismatchError, match=problem) as caught:
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
    (tmp_path / "checkpoint-2" / CONFIG_NAME).unlink()
    with pytest.raises(BankFileError, match=f"{CONFIG_NAME} is missing"):
        make_trainer(tmp_path).train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))

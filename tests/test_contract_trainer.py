"""The contract under transformers' Trainer and TRL's SFTTrainer."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from patched import TRIGGER, at_trigger, logits_of, patched
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import Trainer, TrainingArguments

from engram_transformers import use_tables

# What transformers (5.23), PEFT (0.21) and TRL (1.16) say of each other.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning"),
]

TEXTS = [f"{TRIGGER}{answer}" for answer in (" cumin.", " cardamom.", " pepper.", " sage.")]
SFT_MISSING = (
    importlib.util.find_spec("trl") is None or importlib.util.find_spec("datasets") is None
)
SETTINGS: dict[str, Any] = {
    "report_to": [],
    "use_cpu": True,
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    "per_device_train_batch_size": 2,
    "per_device_eval_batch_size": 2,
    "learning_rate": 1e-3,
    "logging_steps": 1000,
    "max_steps": 4,
    "save_strategy": "steps",
    "save_steps": 2,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "load_best_model_at_end": True,
    # The worst checkpoint counts as the best, so that it is not the last one.
    "metric_for_best_model": "eval_loss",
    "greater_is_better": True,
}


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return patched(tiny_llama, tokenizer)


def make_trainer(model: Any, tokenizer: Any, folder: Path) -> Any:
    data = [tokenizer(text, return_tensors="pt")["input_ids"][0, :12] for text in TEXTS]
    examples: Any = [{"input_ids": one, "labels": one} for one in data]
    settings = TrainingArguments(str(folder), **SETTINGS)
    return Trainer(model, settings, train_dataset=examples, eval_dataset=examples[:2])


def make_sft_trainer(model: Any, tokenizer: Any, folder: Path) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    data = Dataset.from_list([{"text": text} for text in TEXTS])
    settings = SFTConfig(str(folder), max_length=32, bf16=False, **SETTINGS)
    return SFTTrainer(
        model,
        args=settings,
        train_dataset=data,
        eval_dataset=data.select(range(2)),
        processing_class=tokenizer,
    )


TRAINERS = [
    pytest.param(make_trainer, id="transformers"),
    pytest.param(
        make_sft_trainer,
        id="trl",
        marks=pytest.mark.skipif(SFT_MISSING, reason="TRL is not installed"),
    ),
]


def patched_to_train(tokenizer: Any, lora: bool, **fields: Any) -> Any:
    model = patched(tiny.tiny_model("llama"), tokenizer, **fields)
    if not lora:
        return model
    torch.manual_seed(3)
    return get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear"))


def train(
    make: Callable[[Any, Any, Path], Any],
    tokenizer: Any,
    folder: Path,
    lora: bool,
    *,
    resume: str | None = None,
    **fields: Any,
) -> Any:
    """Train a fresh model with a table active, and return the trainer."""
    torch.manual_seed(0)
    model = patched_to_train(tokenizer, lora, **fields)
    ids = tokenizer(TRIGGER, return_tensors="pt")["input_ids"]
    table = at_trigger(model, ids).table
    trainer = make(model, tokenizer, folder)
    with use_tables(model, table):
        trainer.train(resume_from_checkpoint=resume)
    return trainer


def losses_of(trainer: Any) -> list[float]:
    return [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]


def saved_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    (file,) = checkpoint.glob("*.safetensors")
    return load_file(file)


def keys_without_engram(folder: Path, lora: bool) -> list[str]:
    """Return the names of the weights that a checkpoint of the bare model holds."""
    bare: Any = tiny.tiny_model("llama")
    if not lora:
        return sorted(bare.state_dict())
    config = LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")
    get_peft_model(bare, config).save_pretrained(str(folder))
    return sorted(saved_weights(folder))


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("make", TRAINERS)
def test_training_is_resumed_from_clean_checkpoints_and_ends_with_the_best(
    tokenizer, tmp_path, make, lora
):
    whole = train(make, tokenizer, tmp_path / "whole", lora)
    losses = losses_of(whole)
    assert losses[1] < losses[0]
    keys = keys_without_engram(tmp_path / "bare", lora)
    assert sorted(saved_weights(tmp_path / "whole" / "checkpoint-4")) == keys
    assert Path(whole.state.best_model_checkpoint).name == "checkpoint-2"
    # The best one is loaded: its loss, with the table, is what was seen then.
    with use_tables(whole.model, at_trigger_of(whole.model, tokenizer)):
        assert whole.evaluate()["eval_loss"] == pytest.approx(losses[0], rel=1e-5)
    assert whole.evaluate()["eval_loss"] != pytest.approx(losses[0], rel=1e-3)
    half = tmp_path / "whole" / "checkpoint-2"
    resumed = train(make, tokenizer, tmp_path / "again", lora, resume=str(half))
    first = saved_weights(tmp_path / "whole" / "checkpoint-4")
    second = saved_weights(tmp_path / "again" / "checkpoint-4")
    assert_close(second, first, rtol=1e-5, atol=1e-6)
    assert losses_of(resumed)[-1] == pytest.approx(losses[1], rel=1e-5)


def at_trigger_of(model: Any, tokenizer: Any) -> Any:
    return at_trigger(model, tokenizer(TRIGGER, return_tensors="pt")["input_ids"]).table


def test_the_trainer_predicts_with_active_tables(llama, ids, tokenizer, tmp_path):
    made = at_trigger(llama, ids)
    trainer = make_trainer(llama, tokenizer, tmp_path)
    data = [{"input_ids": ids[0], "labels": ids[0]}] * 2
    with use_tables(llama, made.table):
        seen = trainer.predict(data).predictions
    expected = logits_of(llama, ids, made.table)
    assert_close(torch.from_numpy(seen[0]), expected[0], rtol=1e-4, atol=1e-4)


def test_resumed_training_of_a_model_with_a_learned_gate_gives_what_one_run_gives(
    tokenizer, tmp_path
):
    train(make_trainer, tokenizer, tmp_path / "whole", False, gate_type="learned")
    half = str(tmp_path / "whole" / "checkpoint-2")
    folder = tmp_path / "again"
    train(make_trainer, tokenizer, folder, False, resume=half, gate_type="learned")
    first = saved_weights(tmp_path / "whole" / "checkpoint-4")
    assert sorted(first) == keys_without_engram(tmp_path, lora=False)
    assert_close(saved_weights(folder / "checkpoint-4"), first, rtol=1e-5, atol=1e-6)

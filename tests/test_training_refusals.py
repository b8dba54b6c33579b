"""What EngramTrainer refuses, by name and before anything is changed."""

from __future__ import annotations

import pytest
import tiny
import torch
from bank_training import make_trainer, with_new_banks
from peft import LoraConfig, get_peft_model
from transformers import Trainer, TrainingArguments

import engram_transformers
from engram_transformers import EngramTrainer, engram_disabled, offload_banks, remove_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.banks.errors import BankConfigError
from engram_transformers.banks.file_errors import NoBanksError
from engram_transformers.errors import EngramError, MissingExtraError
from engram_transformers.training.errors import (
    UnsupportedTrainingError,
    UntrainableBankError,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")


def test_a_model_without_banks_is_refused(tmp_path):
    args = TrainingArguments(str(tmp_path), report_to=[], use_cpu=True)
    for model in (tiny.tiny_model("llama"), remove_engram(with_new_banks())):
        with pytest.raises(NoBanksError, match="LlamaForCausalLM has no banks: add_engram"):
            EngramTrainer(model, args)
    with pytest.raises(NoBanksError, match="None has no banks"):
        EngramTrainer(args=args, model_init=with_new_banks)
    with pytest.raises(ValueError, match="give the model itself, not its name") as caught:
        EngramTrainer("some/model", args)
    assert isinstance(caught.value, EngramError)
    assert caught.value.model_name == "'some/model'"


def test_accelerate_is_asked_for_by_name(tmp_path, monkeypatch):
    args = TrainingArguments(str(tmp_path), report_to=[], use_cpu=True)
    monkeypatch.setattr("engram_transformers.extras.is_installed", lambda package: False)
    with pytest.raises(MissingExtraError, match="accelerate"):
        EngramTrainer(with_new_banks(), args)


def test_banks_that_were_taken_off_are_missed_when_training_begins(tmp_path):
    trainer = make_trainer(tmp_path)
    remove_engram(trainer.model)
    with pytest.raises(NoBanksError, match="has no banks"):
        trainer.train()


def test_banks_of_few_bits_are_refused(tmp_path):
    model = with_new_banks().to(torch.bfloat16)
    with pytest.raises(UntrainableBankError, match=r"of layer 1.*bfloat16, which loses small"):
        make_trainer(tmp_path, model)


def test_offloaded_banks_are_refused_until_they_are_back(tmp_path):
    model = offload_banks(with_new_banks())
    with pytest.raises(UntrainableBankError, match=r"table of layer 1.*it is offloaded"):
        make_trainer(tmp_path, model)
    trainer = make_trainer(tmp_path, offload_banks(model, to="device"))
    offload_banks(model)
    with pytest.raises(UntrainableBankError, match=r"table of layer 1.*it is offloaded"):
        trainer.train()


def test_adapters_on_a_bank_are_refused(tmp_path):
    model = get_peft_model(
        with_new_banks(), LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear")
    )
    with pytest.raises(UntrainableBankError, match=r"value_projection of layer 1.*exclude_modules"):
        make_trainer(tmp_path, model)


def test_banks_that_are_off_are_refused(tmp_path):
    trainer = make_trainer(tmp_path)
    with (
        engram_disabled(trainer.model),
        pytest.raises(UnsupportedTrainingError, match="engram_disabled: they would not be read"),
    ):
        trainer.train()


def test_an_optimiser_of_the_caller_is_refused(tmp_path):
    model = with_new_banks()
    optimiser = torch.optim.SGD(model.parameters())
    with pytest.raises(UnsupportedTrainingError, match="an optimiser of your own: rows need"):
        make_trainer(tmp_path, model, options={"optimizers": (optimiser, None)})


def test_a_gate_that_checkpoints_would_lose_is_refused(tmp_path):
    model = with_new_banks(gate_type="learned")
    require_attachment(model).memories[1].requires_grad_(True)
    trainer = make_trainer(tmp_path, model, options={"freeze_base": False})
    with pytest.raises(UnsupportedTrainingError, match="trainable gate"):
        trainer.train()


def test_several_devices_in_one_process_are_refused(tmp_path):
    args = TrainingArguments(str(tmp_path), report_to=[], use_cpu=True)
    args._n_gpu = 2
    with pytest.raises(UnsupportedTrainingError, match="one process has 2 devices"):
        EngramTrainer(with_new_banks(), args)


@pytest.mark.parametrize(
    "options",
    [{"row_optimiser": "sgd"}, {"row_learning_rate_factor": 0.0}],
    ids=lambda options: next(iter(options)),
)
def test_options_are_checked(tmp_path, options):
    with pytest.raises(BankConfigError, match=next(iter(options))):
        make_trainer(tmp_path, options=options)


@pytest.mark.parametrize("way", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_sharding_is_refused(tmp_path, way):
    class Sharded(Trainer):
        def create_accelerator_and_postprocess(self):
            super().create_accelerator_and_postprocess()
            self.place_model_on_device = False

        def add_callback(self, callback):
            super().add_callback(callback)
            setattr(self, way, True)  # as these plugins do, without them

    class Mixed(engram_transformers.EngramTrainerMixin, Sharded):
        pass

    with pytest.raises(UnsupportedTrainingError, match=r"can't be trained with (FSDP|DeepSpeed)"):
        make_trainer(tmp_path, trainer=Mixed)

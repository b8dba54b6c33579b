"""A loss or gradient that is not a number stops training, with the batch kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bank_training import bank_weights, corpus, is_same, make_trainer
from safetensors import safe_open
from safetensors.torch import load_file

from engram_transformers import EngramError, EngramTrainer
from engram_transformers.training.errors import NonFiniteError
from engram_transformers.training.stopping import StepWatch

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning")


class Poisoned(EngramTrainer):
    """Multiplies the loss of some micro-batches, counted from 1, or a gradient."""

    at: tuple[int, ...] = ()
    factor = float("nan")
    gradient = False

    def training_step(self, *args, **kwargs):
        self.seen = getattr(self, "seen", 0) + 1
        loss = super().training_step(*args, **kwargs)
        if self.gradient and self.seen in self.at:
            weight = next(weight for weight in self.model.parameters() if weight.requires_grad)
            weight.grad = torch.full_like(weight, self.factor)
        return loss

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.batches = [*getattr(self, "batches", []), inputs["input_ids"].clone()]
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        return loss * self.factor if self.seen in self.at and not self.gradient else loss


@pytest.mark.parametrize("max_norm", [1.0, 0.0])
@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_training_before_it_is_learned(tmp_path, factor, max_norm):
    class Bad(Poisoned):
        at = (6,)

    Bad.factor = factor
    settings = {"gradient_accumulation_steps": 2, "max_grad_norm": max_norm}
    good = make_trainer(tmp_path, max_steps=2, lr_scheduler_type="constant", **settings)
    good.train()
    trainer = make_trainer(
        tmp_path, trainer=Bad, max_steps=4, lr_scheduler_type="constant", **settings
    )
    with pytest.raises(NonFiniteError, match=r"The loss is (nan|inf) at step 3") as caught:
        trainer.train()
    error = caught.value
    assert isinstance(error, EngramError)
    assert isinstance(error, FloatingPointError)
    assert (error.step, error.what) == (3, "loss")
    assert str(error.path) in str(error)
    assert Path(error.path).parent == tmp_path
    saved = load_file(error.path)  # the micro-batch at fault alone
    assert sorted(saved) == ["input_ids.0", "labels.0"]
    assert torch.equal(saved["input_ids.0"], trainer.batches[5])
    with safe_open(error.path, framework="pt") as file:
        assert file.metadata()["step"] == "3"
    assert is_same(bank_weights(trainer.model), bank_weights(good.model))
    assert not any(weight.requires_grad for weight in bank_requirers(trainer.model))


def bank_requirers(model):
    return [weight for name, weight in model.named_parameters() if "engram_bank" in name]


@pytest.mark.parametrize("max_norm", [1.0, 0.0])
def test_a_norm_that_is_no_number_stops_training_with_all_micro_batches(tmp_path, max_norm):
    class Bad(Poisoned):
        at = (2,)
        gradient = True

    trainer = make_trainer(
        tmp_path, trainer=Bad, gradient_accumulation_steps=2, max_grad_norm=max_norm
    )
    before = bank_weights(trainer.model)
    with pytest.raises(NonFiniteError, match="norm of the gradients is nan at step 1") as caught:
        trainer.train()
    saved = load_file(caught.value.path)
    assert [torch.equal(saved[f"input_ids.{n}"], trainer.batches[n]) for n in (0, 1)] == [True] * 2
    assert is_same(bank_weights(trainer.model), before)


def test_the_watch_begins_anew_after_an_error(tmp_path):
    class Bad(Poisoned):
        at = (1,)

    trainer = make_trainer(tmp_path, trainer=Bad)
    with pytest.raises(NonFiniteError):
        trainer.train()
    trainer.train()


def test_a_batch_that_cannot_be_saved_is_told(tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    watch = StepWatch()
    given = {"input_ids": corpus(1)[0]["input_ids"], "text": ["left out"]}
    watch.note(given, torch.tensor(float("inf")))
    with pytest.raises(NonFiniteError, match="its batch could not be saved") as caught:
        watch.require_finite(None, tmp_path / "file", 7, None)
    assert caught.value.path is None


def test_finite_steps_go_on():
    watch = StepWatch()
    watch.require_finite(None, "nowhere", 1, None)
    watch.note({}, torch.tensor(1.0))
    watch.require_finite(torch.tensor(2.0), "nowhere", 1, None)

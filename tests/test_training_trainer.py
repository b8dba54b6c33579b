"""EngramTrainer: what learns, what stays, and what is put back."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from bank_training import (
    LENGTH,
    bank_weights,
    base_weights,
    corpus,
    is_same,
    make_trainer,
    with_new_banks,
)
from peft import LoraConfig, get_peft_model
from torch import nn

import engram_transformers
from engram_transformers import EngramTrainer, engram_disabled
from engram_transformers.attachment import require_attachment
from engram_transformers.banks.optimiser import RowAdagrad, RowAdam
from engram_transformers.lora import ENGRAM_MODULES

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning"),
]

LEARNING = {"max_steps": 40, "learning_rate": 2e-2, "per_device_train_batch_size": 8}


def losses(model, data):
    model.eval()
    with torch.no_grad():
        ids = torch.stack([example["input_ids"] for example in data])
        return float(model(input_ids=ids, labels=ids).loss)


def flags(model):
    return {name: weight.requires_grad for name, weight in model.named_parameters()}


def with_lora(model):
    torch.manual_seed(3)
    config = LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", exclude_modules=ENGRAM_MODULES
    )
    return get_peft_model(model, config)


# What learns


@pytest.mark.filterwarnings("ignore:Of the n-grams read")  # few, of many kinds
def test_a_bank_learns_a_corpus_by_heart_and_the_base_stays_bit_for_bit(tmp_path):
    model, data = with_new_banks(memory_size=4000), corpus(8, kinds=200)
    before, base = losses(model, data), base_weights(model)
    trainer = make_trainer(tmp_path, model, data, **LEARNING)
    trainer.train()
    assert losses(model, data) < before / 3
    assert is_same(base_weights(model), base)
    with engram_disabled(model):
        assert losses(model, data) == pytest.approx(before)


def test_only_rows_that_were_read_are_changed_and_remembered(tmp_path):
    model = with_new_banks(memory_size=4000)
    trainer = make_trainer(tmp_path, model, max_steps=2)
    before = bank_weights(model)
    read = {layer: set() for layer in require_attachment(model).banks}
    for layer, bank in require_attachment(model).banks.items():

        def note(_, args, layer=layer, bank=bank):
            read[layer] |= set((args[1] + bank.bank_hash.offsets).flatten().tolist())

        bank.register_forward_pre_hook(note)
    trainer.train()
    rows = trainer.optimizer.optimizer.rows
    for layer, bank in require_attachment(model).banks.items():
        changed = (bank.table.weight != before[f"{layer}.table.weight"]).any(1)
        touched = set(rows.touched_rows(bank.table.weight).tolist())
        assert touched == read[layer]
        assert rows.count_touched(bank.table.weight) == len(touched) < bank.bank_hash.rows / 2
        assert set(changed.nonzero().flatten().tolist()) <= touched
        assert int(changed.sum()) > 0.8 * len(touched)


@pytest.mark.parametrize("freeze_base", [True, False])
@pytest.mark.parametrize("what", ["base", "lora"])
def test_what_else_learns_is_up_to_freeze_base(tmp_path, what, freeze_base):
    model = with_new_banks()
    if what == "lora":
        model = with_lora(model)
    before, other = bank_weights(model), base_weights(model)
    found = flags(model)
    make_trainer(tmp_path, model, options={"freeze_base": freeze_base}).train()
    assert not is_same(bank_weights(model), before)
    changed = {n for n, w in base_weights(model).items() if not torch.equal(w, other[n])}
    if freeze_base:
        assert not changed
    elif what == "lora":
        assert changed
        assert all("lora_" in name for name in changed)
    else:
        assert len(changed) == len(other)
    assert flags(model) == found


def test_all_is_put_back_when_training_fails(tmp_path):
    model = with_new_banks()
    bank = require_attachment(model).banks[1]
    bank.key_norm.requires_grad_(True)
    found, hooks = flags(model), dict(bank._forward_pre_hooks)

    class Failing(EngramTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            super().compute_loss(model, inputs, *args, **kwargs).backward()
            assert bank.table.weight.grad.is_sparse
            raise KeyError("as in a user's own loss")

    with pytest.raises(KeyError, match="user's own"):
        make_trainer(tmp_path, model, trainer=Failing).train()
    assert flags(model) == found
    assert not bank.table.sparse
    assert bank.table.weight.grad is None
    assert bank._forward_pre_hooks == hooks
    assert not hasattr(model, "_ddp_params_and_buffers_to_ignore")


def test_it_can_train_twice(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.train()
    first = bank_weights(trainer.model)
    trainer.train()
    assert not is_same(bank_weights(trainer.model), first)


def test_a_row_s_path_is_that_of_the_joint_optimiser_with_the_factor(tmp_path):
    rates = []

    class Noting(EngramTrainer):
        def finish_gradients(self, *args, **kwargs):
            rates.append([group["lr"] for group in self.optimizer.param_groups])
            return super().finish_gradients(*args, **kwargs)

    trainer = make_trainer(tmp_path, trainer=Noting)
    trainer.train()
    assert [step[0] for step in rates] == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])
    assert all(step[-1] == pytest.approx(5 * step[0]) for step in rates)
    joint = trainer.optimizer.optimizer
    decays = {
        name: group["weight_decay"]
        for group in joint.dense.param_groups
        for name in group["param_names"]
    }
    assert len(decays) == 2 * 8
    for name, decay in decays.items():
        no_decay = "norm" in name or "bias" in name
        assert decay == (0.0 if no_decay else 0.01), name
    assert isinstance(joint.rows, RowAdam)
    assert all(not group.get("weight_decay") for group in joint.rows.param_groups)


def test_adagrad_can_be_chosen(tmp_path):
    options = {"row_optimiser": "adagrad", "row_learning_rate_factor": 20.0}
    trainer = make_trainer(tmp_path, options=options)
    before = bank_weights(trainer.model)
    trainer.train()
    rows = trainer.optimizer.optimizer.rows
    assert isinstance(rows, RowAdagrad)
    assert rows.param_groups[0]["initial_lr"] == pytest.approx(2e-2)
    assert not is_same(bank_weights(trainer.model), before)


# Import


def test_importing_the_library_imports_no_trainer():
    code = (
        "import sys, engram_transformers as e; from engram_transformers import UserTable\n"
        "assert not {'accelerate', 'peft', 'trl'} & set(sys.modules)\n"
        "e.EngramTrainer; assert 'accelerate' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_missed_as_of_any_module():
    with pytest.raises(AttributeError, match="no attribute 'EngramTrainr'"):
        _ = engram_transformers.EngramTrainr


def test_examples_are_of_one_length():
    assert {len(example["input_ids"]) for example in corpus()} == {LENGTH}
    assert isinstance(with_new_banks(), nn.Module)

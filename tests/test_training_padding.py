"""Padding in training: no row of its own is read, remembered or moved, and nothing else changes."""

from __future__ import annotations

import pytest
import torch
from bank_training import LENGTH, bank_weights, corpus, is_same, make_trainer, with_new_banks
from banked import fill_banks

from engram_transformers.attachment import require_attachment
from engram_transformers.banks import calls

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning")

QUIET = {"telemetry": False}  # few texts have no n-gram twice


def padded(data, *, left, count=5):
    """Return examples with padding on one side."""

    def joined(values, fill):
        rest = torch.full((count,), fill)
        return torch.cat([rest, values] if left else [values, rest])

    return [
        {
            "input_ids": joined(one["input_ids"], 2),
            "labels": joined(one["labels"], -100),
            "attention_mask": joined(torch.ones(LENGTH, dtype=torch.int64), 0),
        }
        for one in data
    ]


def touched(trainer):
    rows = trainer.optimizer.optimizer.rows
    tables = [bank.table.weight for bank in require_attachment(trainer.model).banks.values()]
    return [rows.touched_rows(table).tolist() for table in tables]


@pytest.mark.parametrize("left", [True, False])
def test_rows_that_only_padding_would_read_are_not_remembered(tmp_path, left):
    found = []
    for data in (corpus(4), padded(corpus(4), left=left)):
        trainer = make_trainer(
            tmp_path, with_new_banks(memory_size=4000), data, max_steps=2, options=QUIET
        )
        trainer.train()
        found.append(touched(trainer))
    assert found[0] == found[1]
    assert all(rows for rows in found[0])


def a_batch(*, left=True):
    first, second = corpus(2)
    (short,) = padded([{name: one[3:] for name, one in first.items()}], left=left, count=3)
    short["attention_mask"] = (short["input_ids"] != 2).long()
    second["attention_mask"] = torch.ones_like(second["input_ids"])
    return {name: torch.stack([short[name], second[name]]) for name in short}


def outcome(model, batch):
    """Return logits, and for each layer the gradients of rows, row by row."""
    banks = require_attachment(model).banks
    for bank in banks.values():
        bank.requires_grad_(True)
        bank.table.weight.grad = None
    result = model(**batch)
    result.loss.backward()
    gradients = {layer: bank.table.weight.grad for layer, bank in banks.items()}
    return result.logits.detach(), gradients


@pytest.mark.parametrize("left", [True, False])
def test_outputs_and_gradients_are_the_same_bits(monkeypatch, left):
    model, batch = with_new_banks(), a_batch(left=left)
    fill_banks(model)
    with torch.no_grad():
        frozen = model(**batch).logits
    logits, gradients = outcome(model, batch)
    assert torch.equal(logits, frozen)
    monkeypatch.setattr(calls, "_without_padding", lambda addresses, *_: addresses)
    before, earlier = outcome(model, batch)
    assert torch.equal(logits, before)
    assert all(torch.equal(gradients[layer], earlier[layer]) for layer in gradients)


def test_a_batch_of_padding_alone_is_read_as_before():
    model = with_new_banks()
    fill_banks(model)
    batch = {"input_ids": torch.full((2, 4), 2), "attention_mask": torch.zeros(2, 4).long()}
    with torch.no_grad():
        frozen = model(**batch).logits
    require_attachment(model).banks[1].requires_grad_(True)
    assert torch.equal(model(**batch).logits.detach(), frozen)


def test_the_first_step_changes_the_same_weights_to_the_same_bits(tmp_path):
    ends = []
    for spared in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not spared:
                patch.setattr(calls, "_without_padding", lambda addresses, *_: addresses)
            trainer = make_trainer(
                tmp_path, None, padded(corpus(4), left=True), max_steps=1, options=QUIET
            )
            trainer.train()
            ends.append(bank_weights(trainer.model))
    assert is_same(*ends)

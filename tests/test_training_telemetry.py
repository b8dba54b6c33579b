"""What logs say of banks: counted by hand here, estimated there."""

from __future__ import annotations

import warnings

import pytest
import torch
from bank_training import LAYERS, bank_weights, corpus, is_same, make_trainer, with_new_banks
from banked import block_inputs, fill_banks

from engram_transformers import EngramTrainer
from engram_transformers.attachment import require_attachment
from engram_transformers.banks.addresses import numbered
from engram_transformers.training.callback import RareNGramsWarning
from engram_transformers.training.distinct import DistinctCounter

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning")


def logged(trainer):
    """Return the entries of telemetry, one dictionary for each log."""
    return [
        {name[7:]: value for name, value in entry.items() if name.startswith("engram/")}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


def ngrams(model, data):
    """Return the n-grams of the canonical ids of some texts, with repetitions, order by order."""
    numbers, padding = numbered(require_attachment(model).canonical)
    texts = [numbers[example["input_ids"]].tolist() for example in data]
    found = {}
    for order in (2, 3):
        found[order] = [
            tuple([padding] * (order - 1) + text)[place : place + order]
            for text in texts
            for place in range(len(text))
        ]
    return found


def test_rates_are_those_counted_by_hand(tmp_path):
    data = corpus(4)
    # As many heads as tell all n-grams apart, in a table so small that some share rows.
    model = with_new_banks(memory_size=3000, bank_heads=8, bank_dim=16)
    trainer = make_trainer(tmp_path, model, data, max_steps=2, logging_steps=2)
    read = {layer: [] for layer in LAYERS}
    for layer, bank in require_attachment(model).banks.items():
        bank.register_forward_pre_hook(
            lambda bank, args, layer=layer: read[layer].append(args[1] + bank.bank_hash.offsets)
        )
    trainer.train()
    (told,) = logged(trainer)
    found = ngrams(model, data)
    reads = 2 * sum(map(len, found.values()))
    different = 2 * sum(len(set(each)) for each in found.values())
    rows = sum(len(torch.cat(each[:2]).unique()) for each in read.values())
    every = sum(bank.bank_hash.rows for bank in require_attachment(model).banks.values())
    assert told["rows_touched"] == pytest.approx(rows / every)
    assert told["reuse_rate"] == pytest.approx(1 - rows / (8 * reads))
    assert told["ngram_repeats"] == pytest.approx(1 - different / reads, abs=0.01)
    assert told["collision_rate"] == pytest.approx(1 - rows / (8 * different), abs=0.01)
    assert told["collision_rate"] > 0.05


def test_gates_and_norms_are_those_of_the_last_batch(tmp_path):
    data = corpus(2)
    model = with_new_banks()
    fill_banks(model)
    with block_inputs(model, 3) as seen:
        trainer = make_trainer(
            tmp_path, model, data, max_steps=1, logging_steps=1, learning_rate=1e-12
        )
        trainer.train()
    before, after = seen[0]
    ratio = ((after - before).norm(dim=-1) / before.norm(dim=-1)).mean()
    (told,) = logged(trainer)
    assert told["layer_3/added_norm"] == pytest.approx(float(ratio), rel=1e-4)
    gates = [told[f"layer_3/gate_p{percent}"] for percent in (10, 50, 90)]
    assert 0 < gates[0] < gates[1] < gates[2] < 1
    assert {name.split("/")[0] for name in told if "/" in name} == {"layer_1", "layer_3"}


def test_padding_is_not_counted(tmp_path):
    short = corpus(2)
    padded = [
        {
            "input_ids": torch.cat([torch.full((5,), 2), one["input_ids"]]),
            "labels": torch.cat([torch.full((5,), -100), one["labels"]]),
            "attention_mask": torch.tensor([0] * 5 + [1] * 12),
        }
        for one in short
    ]
    told = []
    for data in (short, padded):
        trainer = make_trainer(tmp_path, None, data, max_steps=1, logging_steps=1)
        trainer.train()
        told.append(logged(trainer)[0])
    for name in ("ngram_repeats", "layer_1/added_norm", "layer_1/gate_p50"):
        assert told[1][name] == pytest.approx(told[0][name], rel=1e-3), name


def test_it_changes_nothing_and_can_be_switched_off(tmp_path):
    trainers = [
        make_trainer(tmp_path, options={"telemetry": telemetry}, save_strategy="steps")
        for telemetry in (True, False)
    ]
    for trainer in trainers:
        trainer.train()
    assert is_same(*(bank_weights(trainer.model) for trainer in trainers))
    assert all(logged(trainers[0]))
    assert not any(logged(trainers[1]))


def test_between_logs_nothing_is_computed(tmp_path):
    class Counting(EngramTrainer):
        asked = 0

        def telemetry_rates(self):
            self.asked += 1
            return super().telemetry_rates()

    trainer = make_trainer(tmp_path, trainer=Counting, max_steps=8, logging_steps=4)
    trainer.train()
    assert trainer.asked == 2 + 1  # and once for the warning


# The warning


def without_repetition(count):
    """Return texts in which no token stands twice, whatever its case is."""
    canonical = require_attachment(with_new_banks()).canonical
    ids = canonical.unique()[5 : 5 + 12 * count].reshape(count, 12)
    return [{"input_ids": row, "labels": row} for row in ids]


@pytest.mark.parametrize("max_steps", [4, 12])
def test_a_corpus_without_repetition_is_warned_of_once(tmp_path, max_steps):
    trainer = make_trainer(
        tmp_path, None, without_repetition(8), max_steps=max_steps, logging_steps=1
    )
    with pytest.warns(RareNGramsWarning, match=r"about \d\.\d% had occurred before") as caught:
        trainer.train()
    assert len([w for w in caught if w.category is RareNGramsWarning]) == 1
    text = str(caught[0].message)
    assert "of the n-grams share a row" in text
    assert "of the reads of rows hit one that was read before" in text


def test_it_is_warned_of_at_a_thousand_steps_of_a_long_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr("engram_transformers.training.callback._LOOKED_AT_STEP", 2)
    steps = []

    class Stepping(EngramTrainer):
        def telemetry_rates(self):
            steps.append(self.state.global_step)
            return super().telemetry_rates()

    trainer = make_trainer(
        tmp_path, None, without_repetition(8), trainer=Stepping, logging_steps=100
    )
    with pytest.warns(RareNGramsWarning):
        trainer.train()
    assert steps == [2]


def test_an_ordinary_corpus_is_not_warned_of(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_trainer(tmp_path).train()


# The counter


@pytest.mark.parametrize("different", [0, 1, 1000, 30_000, 300_000])
def test_different_values_are_counted_within_the_error(different):
    counter = DistinctCounter(torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    values = torch.randint(-(2**62), 2**62, (different,), generator=generator)
    for part in (values, values.flip(0), values[: different // 2]):
        counter.add(part, torch.ones_like(part, dtype=torch.bool))
    assert counter.estimate() == pytest.approx(different, rel=3 * 0.008)


def test_values_in_a_row_are_told_apart_and_masked_ones_left_out():
    counter = DistinctCounter(torch.device("cpu"))
    values = torch.arange(20_000).reshape(100, 200)
    counter.add(values, values % 2 == 0)
    assert counter.estimate() == pytest.approx(10_000, rel=3 * 0.008)


def test_counters_are_joined_by_the_larger_registers():
    first, second = DistinctCounter(torch.device("cpu")), DistinctCounter(torch.device("cpu"))
    every = torch.ones(3000, dtype=torch.bool)
    first.add(torch.arange(3000), every)
    second.add(torch.arange(2000, 5000), every)
    joined = DistinctCounter.of(torch.maximum(first.registers, second.registers))
    assert joined.estimate() == pytest.approx(5000, rel=3 * 0.008)

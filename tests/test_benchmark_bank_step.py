"""Promises of the benchmark of a bank's step: fair, complete, and stopped by what is wrong."""

from __future__ import annotations

import argparse
import sys
import types

import pytest
import tiny
import torch
from benchmark_setting import evaluation_data, setting_of
from test_benchmarks import described
from transformers import Trainer, TrainerCallback

from benchmarks import bank_step
from benchmarks.bank_steps import batches, checks, claims, conditions
from benchmarks.bank_steps.turn import take_turn

# PEFT (0.19) asks transformers (5.23) in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

BANK = conditions.Bank(rows=2_000, layers=(1, 2))
CPU = torch.device("cpu")


def a_setting(*arguments):
    parser = argparse.ArgumentParser()
    bank_step.add_arguments(parser)
    options = parser.parse_args(arguments)
    return setting_of(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), options=options)


@pytest.fixture(autouse=True)
def without_the_other_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "engram_peft", None)


@pytest.fixture(scope="module")
def results():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "engram_peft", None)
        return bank_step.run(a_setting("--bf16"))


@pytest.fixture
def base():
    return tiny.tiny_model("llama")


@pytest.fixture
def data():
    return batches.examples(a_setting(), 4, 16)[0]


@pytest.fixture
def adam(base):
    return conditions.banks(base, tiny.tiny_tokenizer(), BANK)[0]


def turn_of(condition, data, steps=1, **how):
    how = {"batch": 2, "warm_up": 1, "precision": "float32", **how}
    return take_turn(condition, data * 8, CPU, steps=steps, **how)


# A run


def test_every_condition_is_measured_in_every_precision(results):
    seen = [(case["condition"], case["precision"]) for case in results["cases"]]
    names = ["LoRA, rank 16", "bank of 10,000 rows, adam", "bank of 10,000 rows, adagrad"]
    assert seen == [(name, way) for name in names for way in ("float32", "bf16 autocast")]
    for case in results["cases"]:
        assert case["step_seconds"]["n"] == 2
        assert 0 < case["step_seconds"]["min"] <= case["step_seconds"]["max"]
        assert case["over_lora"]["n"] == 1
        assert (case["over_lora"]["median"] == 1) == (case["kind"] == "LoRA")
        assert case["peak_bytes"] is None  # on a CPU
    assert results["promises"] == []  # neither the main model nor a GPU


def test_the_other_library_is_left_out_and_said_so_where_it_is_missing(results):
    (missing,) = results["left_out"]
    assert missing["condition"] == "engram-peft, 10,000 rows"
    assert "Error" in missing["reason"]
    assert results["differs"] == []
    assert f"Left out: {missing['condition']}" in "\n".join(bank_step.section([described(results)]))


def test_the_section_shows_what_was_measured(results):
    lines = bank_step.section([described(results)])
    assert lines[0].startswith("## ")
    rows = [line for line in lines if line.startswith("| bank of 10,000 rows, adam ")]
    touched = results["cases"][2]["touched"]
    assert len(rows) == 2
    assert f"{touched[0]['rows']:,} → {touched[1]['rows']:,}" in rows[0]


def test_states_are_counted_by_tensor_and_those_of_rows_by_touched_row(results):
    by_name = {case["condition"]: case for case in results["cases"]}
    lora = by_name["LoRA, rank 16"]
    # AdamW: two averages of each weight, and a step count of each tensor.
    assert 2 * lora["trained_bytes"] < lora["state_bytes"] < 2.1 * lora["trained_bytes"]
    for name in ("adam", "adagrad"):
        case = by_name[f"bank of 10,000 rows, {name}"]
        first, last = case["touched"]
        row = claims.bytes_of_a_row(case["condition"], case["row_width"])
        assert 0 < first["rows"] < last["rows"] < 2 * 10_000
        assert first["bytes"] == row * first["rows"]
        assert row * last["rows"] <= last["bytes"] <= 1.5 * row * last["rows"]


def test_a_row_costs_the_same_state_in_a_larger_table(base, data):
    few, many = (
        conditions.banks(base, tiny.tiny_tokenizer(), conditions.Bank(rows, (1, 2)))[0]
        for rows in (20_000, 200_000)
    )
    small, large = (turn_of(one, data).touched[0] for one in (few, many))
    assert small.bytes / small.rows == large.bytes / large.rows == 84
    assert large.rows < 1.1 * small.rows  # fewer collisions


# Batches


def test_batches_are_real_text_without_padding_again_and_again(tmp_path):
    setting = a_setting()
    rows, source = batches.examples(setting, 3, 8)
    assert [len(row["input_ids"]) for row in rows] == [8] * 3
    assert all(bool(row["attention_mask"].all()) for row in rows)
    assert all(torch.equal(row["input_ids"][1:], row["labels"][1:]) for row in rows)
    assert all(row["labels"][0] == -100 for row in rows)
    assert setting.tokenizer.pad_token_id not in torch.cat([row["input_ids"] for row in rows])
    assert source.startswith("Python's reference manual; 3 different")
    setting.data = evaluation_data(tmp_path)
    rows, source = batches.examples(setting, 3, 8)
    assert "chat" in source
    assert setting.tokenizer.decode(rows[0]["input_ids"]).startswith("Ann")


def test_text_is_read_again_where_there_is_too_little(monkeypatch):
    monkeypatch.setattr(batches, "reference_text", lambda: "one two three four " * 4)
    rows, source = batches.examples(a_setting(), 50, 8)
    assert len(rows) == 50
    different = int(source.split("; ")[1].split()[0])
    assert 0 < different < 50
    assert rows[0]["input_ids"] is not None
    assert torch.equal(rows[0]["input_ids"], rows[different]["input_ids"])


def test_conditions_see_the_same_batches_in_the_same_order(base, data, adam):
    lora = conditions.lora(base)
    seen = [turn_of(one, data, steps=3).losses for one in (lora, adam)]
    assert seen[0][0] == pytest.approx(seen[1][0], abs=1e-5)
    with torch.no_grad():
        alone = base(
            input_ids=torch.stack([row["input_ids"] for row in data[:2]]),
            labels=torch.stack([row["labels"] for row in data[:2]]),
        ).loss
    assert seen[0][0] == pytest.approx(float(alone), abs=1e-5)


def test_a_turn_in_autocast_leaves_nothing_behind_for_the_next(adam, data):
    types = []
    adam.model.lm_head.register_forward_hook(lambda module, given, out: types.append(out.dtype))
    for precision in ("float32", "bf16 autocast", "float32"):
        turn_of(adam, data, precision=precision)
    assert types == [torch.float32] * 2 + [torch.bfloat16] * 2 + [torch.float32] * 2


# What stops it


def test_a_bank_that_is_trained_as_it_should_be_passes(adam, data, base):
    turn = checks.check(adam, data, CPU, 2, precision="float32")
    assert turn.losses[-1] < turn.losses[0]
    checks.require_same_base(adam, base)


class Spoil(TrainerCallback):
    """Does something to a bank before each step of the optimiser."""

    def __init__(self, condition, spoil):
        self.bank = next(iter(condition.banks.values()))
        self.spoil = spoil

    def on_pre_optimizer_step(self, args, state, control, **_):
        self.spoil(self.bank.table.weight)


def move_another_row(table):
    table.data[(table.data == 0).all(1).nonzero()[-1]] += 1


def leave_a_row_out(table):
    table.grad.values()[0].zero_()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (move_another_row, "rows that were not read do not change"),
        (leave_a_row_out, "all rows that were read change"),
    ],
)
def test_a_bank_that_changes_the_wrong_rows_stops_it(
    monkeypatch, capsys, adam, data, spoil, message
):
    make = adam.make

    def spoilt(*given):
        trainer = make(*given)
        trainer.add_callback(Spoil(adam, spoil))
        return trainer

    object.__setattr__(adam, "make", spoilt)
    with pytest.raises(SystemExit):
        checks.check(adam, data, CPU, 2, precision="float32")
    assert message in capsys.readouterr().err


def test_a_weight_of_the_base_that_moved_stops_it(adam, base, capsys):
    adam.base[3].data.view(-1)[0] += 1e-3
    with pytest.raises(SystemExit):
        checks.require_same_base(adam, base)
    assert "bit for bit" in capsys.readouterr().err


def test_what_does_not_learn_stops_it(monkeypatch, adam, data):
    make = adam.make

    def frozen(watched, args, dataset):
        args.learning_rate = 0.0
        return make(watched, args, dataset)

    object.__setattr__(adam, "make", frozen)
    monkeypatch.setattr(checks, "BankWatch", lambda *_: TrainerCallback())
    with pytest.raises(checks.NotLearnedError, match="does not fall"):
        checks.check(adam, data, CPU, 2, precision="float32")


def test_other_batches_stop_it(base, data, adam, capsys):
    lora = conditions.lora(base)
    seen = [(lora, turn_of(lora, data)), (adam, turn_of(adam, data[2:]))]
    with pytest.raises(SystemExit):
        checks.require_same_losses(seen, "float32")
    assert "the same batch" in capsys.readouterr().err


# The other library


class TheirConfig:
    def __init__(self, **fields):
        vars(self).update(fields)


def their_library(monkeypatch, trainer):
    """Put in place of the other library one that trains the last norm only."""
    library = types.ModuleType("engram_peft")
    library.made = []

    class Wrapped(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.inner, self.compressor, self.config = model, None, model.config
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, input_ids=None, attention_mask=None, labels=None, **given):
            given = {**given, "input_ids": input_ids, "attention_mask": attention_mask}
            found = self.inner(labels=labels, **given)
            found["loss"] = found["loss"] * self.scale
            return found

    def get_engram_model(model, config, tokenizer, train_mode):
        assert train_mode == "engram_only"
        library.made.append(config)
        return Wrapped(model.requires_grad_(False))

    class Collator:
        def __init__(self, *_):
            pass

        def __call__(self, rows):
            assert all("labels" not in row for row in rows)
            batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
            return {**batch, "labels": batch["input_ids"].clone()}

    library.EngramConfig, library.EngramDataCollator = TheirConfig, Collator
    library.get_engram_model, library.EngramTrainer = get_engram_model, trainer
    monkeypatch.setitem(sys.modules, "engram_peft", library)
    return library


def test_the_other_library_is_asked_for_a_bank_of_the_same_size(monkeypatch):
    library = their_library(monkeypatch, Trainer)
    results = bank_step.run(a_setting())
    assert [case["kind"] for case in results["cases"]] == ["LoRA", "bank", "bank", "engram-peft"]
    assert results["left_out"] == []
    assert results["differs"]
    config = library.made[0]
    assert config.engram_vocab_size_per_ngram == [5_000, 5_000]
    assert (config.ngram_sizes, config.n_head_per_ngram) == ([2, 3], 8)
    assert (config.embedding_dim, config.target_layers) == (128, [1, 2])


def test_another_library_that_fails_is_left_out_with_its_reason(monkeypatch):
    class Failing(Trainer):
        def train(self, *_, **__):
            raise RuntimeError("no such kernel")

    their_library(monkeypatch, Failing)
    results = bank_step.run(a_setting())
    assert [case["kind"] for case in results["cases"]] == ["LoRA", "bank", "bank"]
    assert "RuntimeError: no such kernel" in results["left_out"][0]["reason"]


# Promises


def a_case(kind="bank", **fields):
    touched = [
        {"steps": 1, "rows": 100, "bytes": 8_400},
        {"steps": 9, "rows": 300, "bytes": 300 * 120},
    ]
    case = {
        "condition": "bank of 9 rows, adam" if kind == "bank" else "engram-peft, 9 rows",
        "kind": kind,
        "rows": 9,
        "precision": "float32",
        "step_seconds": {"median": 0.1},
        "over_lora": {"median": 1.1},
        "touched": touched,
        "row_width": 8,
        "peak_bytes": 1 << 30,
    }
    return {**case, **fields}


THEIRS = a_case("engram-peft", step_seconds={"median": 0.2}, peak_bytes=2 << 30)


def test_promises_are_held_by_what_holds_them():
    made = claims.promises([a_case(), THEIRS, a_case("engram-peft", precision="bf16 autocast")])
    assert len(made) == 4
    assert all(one["held"] for one in made)


@pytest.mark.parametrize(
    ("fields", "missed"),
    [
        ({"over_lora": {"median": 1.16}}, "at most 1.15 times"),
        ({"step_seconds": {"median": 0.3}}, "no longer than engram-peft's"),
        ({"peak_bytes": 3 << 30}, "peak memory is no more"),
        ({"touched": [{"steps": 1, "rows": 100, "bytes": 12_700}] * 2}, "what is remembered"),
        (
            {
                "touched": [
                    {"steps": 1, "rows": 100, "bytes": 8_400},
                    {"steps": 9, "rows": 300, "bytes": 300 * 127},
                ]
            },
            "what is remembered",
        ),
    ],
)
def test_a_promise_that_is_missed_is_said_to_be(fields, missed):
    broken = [one for one in claims.promises([a_case(**fields), THEIRS]) if not one["held"]]
    assert [missed in one["promise"] for one in broken] == [True]

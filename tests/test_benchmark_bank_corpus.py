"""Promises of the benchmark of banks on a domain: what it reads, counts, trains, leaves alone."""

from __future__ import annotations

import argparse
import json
import math

import pytest
import tiny
import torch
from benchmark_setting import setting_of
from transformers import TrainingArguments

from benchmarks import bank_corpus, pages
from benchmarks.trained import controls, flops, training
from benchmarks.trained.conditions import BANK, BOTH, HALVES, LORA, ONE_ROW, SHUFFLED, conditions
from benchmarks.trained.losses import token_losses
from benchmarks.trained.rates import choose_rates
from benchmarks.trained.training import Plan, train
from engram_transformers import add_engram, engram_disabled
from engram_transformers.attachment import require_attachment
from engram_transformers.training.errors import NonFiniteError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore::engram_transformers.training.callback.RareNGramsWarning"),
]


@pytest.fixture(scope="module")
def found():
    """A quick run, and the model that it was made with."""
    parser = argparse.ArgumentParser()
    bank_corpus.add_arguments(parser)
    options = parser.parse_args(["--seeds", "1"])
    model = tiny.tiny_model("llama")
    return bank_corpus.run(setting_of(model, tiny.tiny_tokenizer(), options=options)), model


def test_all_conditions_are_measured_and_every_promise_holds(found):
    run, _ = found
    names = [one["condition"] for one in run["runs"]]
    assert names == [LORA, BANK, HALVES, BOTH, ONE_ROW, SHUFFLED]
    assert len(run["promises"]) == 5
    assert all(one["held"] for one in run["promises"])
    by_name = {one["condition"]: one for one in run["runs"]}
    # Each was trained: none is the untouched model, nor another one.
    losses = {one["validation"] for one in run["runs"]} | {run["untouched"]["validation"]}
    assert len(losses) == len(names) + 1
    heads = 2 * 2 * 8  # layers, orders, heads
    rows = {
        name: one["telemetry"].get("rows_touched", 0) * one["all_rows"]
        for name, one in by_name.items()
    }
    assert round(rows[ONE_ROW]) == heads
    assert rows[BANK] > 2 * heads
    assert rows[SHUFFLED] == rows[BANK]  # as many rows, but elsewhere
    assert rows[LORA] == 0


def test_a_promise_is_missed_where_something_else_changed(found):
    run = json.loads(json.dumps(found[0]["runs"]))
    for name in ("base_unchanged", "fresh_equals_base", "off_equals_base"):
        run[0][name] = False
    run[1]["batches"] = "others"
    next(one for one in run if one["condition"] == ONE_ROW)["telemetry"]["rows_touched"] = 0.5
    assert not any(one["held"] for one in bank_corpus.promises(run, 32, check_costs=False))
    costs = bank_corpus.promises(run, 32, check_costs=True)[-1]  # tiny banks are cut too coarsely
    assert not costs["held"]


def test_the_model_is_left_as_it_was(found):
    _, model = found
    fresh = tiny.tiny_model("llama")
    assert [n for n, _ in model.named_modules()] == [n for n, _ in fresh.named_modules()]
    assert all(parameter.requires_grad for parameter in model.parameters())
    ids = torch.arange(10, 40).unsqueeze(0)
    assert torch.equal(model(ids).logits, fresh(ids).logits)


def test_the_section_shows_every_condition_or_what_would_be_measured(found):
    environment = {"device": "a CPU", "threads": 1, "commit": "c", "torch": "2"}
    described = {
        "model": "tiny",
        "dtype": "float32",
        "environment": {**environment, "transformers": "5"},
    }
    run = json.loads(json.dumps({**described, **found[0]}))
    text = "\n".join(bank_corpus.section([run]))
    for name in (LORA, BANK, HALVES, BOTH, ONE_ROW, SHUFFLED, "untouched"):
        assert f"\n| {name} |" in text
    assert "huggingface_hub" in text
    assert "Apache" in text
    assert "tiny, float32, a CPU" in text
    unmeasured = "\n".join(bank_corpus.section([]))
    assert "Not measured yet" in unmeasured
    assert not any(figure in unmeasured for figure in "0123456789")


def test_pages_say_what_would_be_measured(tmp_path):
    (tmp_path / "README.md").write_text(f"{pages.BEGIN}{pages.END}")
    page = pages.pages({}, tmp_path)[tmp_path / "docs" / "benchmarks.md"]
    assert "Not measured yet: `python -m benchmarks run bank_corpus`" in page


def test_a_lora_costs_what_was_computed_and_a_bank_is_cut_to_it(found):
    run, model = found
    lora, bank = (one["flops"] for one in run["runs"][:2])
    assert lora["adapter"] == flops.of_lora(model, run["rank"])
    assert lora["bank"] == bank["adapter"] == 0
    assert 0 < bank["bank"] <= lora["adapter"]
    wider = flops.of_bank(run["width"] + 32, tiny.HIDDEN_SIZE, 2)
    assert wider > lora["adapter"]
    assert lora["added"] == 3 * lora["adapter"]


def test_whole_conditions_are_twice_the_halves():
    by_name = {one.name: one for one in conditions(16, 2048)}
    assert (by_name[HALVES].rank, by_name[HALVES].width) == (8, 1024)
    assert (by_name[BOTH].rank, by_name[BOTH].width) == (16, 2048)


# Learning rates


def test_the_best_rate_is_taken_and_controls_take_the_banks(found):
    losses = {1e-3: 3.0, 1e-2: 2.0, 1e-1: math.nan}

    def trial(condition, rate):
        if condition.name == BANK and rate == 1e-3:
            raise NonFiniteError("loss", math.nan, 3, None)
        return losses[rate] if condition.name != LORA else -losses[rate]

    best, tried = choose_rates(conditions(4, 64), list(losses), trial)
    assert best == {LORA: 1e-3, BANK: 1e-2, HALVES: 1e-2}
    assert [one["loss"] for one in tried[3:6]] == [None, 2.0, None]
    rates = found[0]["rates"]
    for one in found[0]["runs"]:
        own = {BOTH: HALVES, ONE_ROW: BANK, SHUFFLED: BANK}.get(one["condition"], one["condition"])
        assert one["learning_rate"] == rates[own]


def test_rates_that_never_train_are_refused():
    with pytest.raises(ValueError, match=r"No learning rate of \[1.0\] trains LoRA"):
        choose_rates(conditions(4, 64), [1.0], lambda *_: math.inf)


def test_a_model_is_read_as_before_after_training_in_bfloat16(banked, monkeypatch):
    def in_bfloat16(folder, **options):
        return TrainingArguments(folder, **{**options, "bf16": True})

    ids = torch.randint(5, 290, (2, 16), generator=torch.Generator().manual_seed(0))
    with engram_disabled(banked):
        before = token_losses(banked, ids)
    monkeypatch.setattr(training, "TrainingArguments", in_bfloat16)
    banked.requires_grad_(False)
    train(banked, ids, Plan(steps=2, batch=2, learning_rate=1e-3, seed=0), torch.device("cpu"))
    with engram_disabled(banked):
        assert torch.equal(token_losses(banked, ids), before)
    assert "forward" not in banked.__dict__


# Controls


@pytest.fixture
def banked():
    return add_engram(
        tiny.tiny_model("llama"), tiny.tiny_tokenizer(), layers=[1, 3], memory_size=400
    ).eval()


def addresses_read(model, ids):
    read = []
    banks = require_attachment(model).banks.values()
    handles = [bank.register_forward_pre_hook(lambda _, a: read.append(a[1])) for bank in banks]
    token_losses(model, ids)
    for handle in handles:
        handle.remove()
    return read


def test_shuffled_addresses_are_the_same_rows_elsewhere(banked):
    ids = torch.randint(5, 300, (4, 32), generator=torch.Generator().manual_seed(0))
    as_is = addresses_read(banked, ids)
    with controls.shuffled(banked, 7):
        first = addresses_read(banked, ids)
        second = addresses_read(banked, ids)
    with controls.shuffled(banked, 7):
        again = addresses_read(banked, ids)
    for plain, once, twice, repeated in zip(as_is, first, second, again, strict=True):
        assert torch.equal(plain.flatten(0, 1).sort(0)[0], once.flatten(0, 1).sort(0)[0])
        assert (plain == once).all(-1).float().mean() < 0.1
        assert not torch.equal(once, twice)
        assert torch.equal(once, repeated)
    assert all(map(torch.equal, addresses_read(banked, ids), as_is))  # only while asked for


def test_one_row_reads_nothing_else(banked):
    ids = torch.randint(5, 300, (2, 32), generator=torch.Generator().manual_seed(0))
    with controls.one_row(banked):
        assert not any(read.any() for read in addresses_read(banked, ids))


def test_a_bank_learns_what_a_shuffled_one_can_not(banked):
    """Each token decides the next: an n-gram says all, a row of another n-gram nothing."""
    chain = torch.randperm(290, generator=torch.Generator().manual_seed(0)) + 5
    starts = torch.arange(0, 256, 16)
    ids = torch.stack([chain[start : start + 16] for start in starts])
    plan = Plan(steps=20, batch=8, learning_rate=3e-2, seed=0)
    banked.requires_grad_(False)
    before = token_losses(banked, ids).mean()
    with controls.shuffled(banked, 1):
        train(banked, ids, plan, torch.device("cpu"))
        shuffled = token_losses(banked, ids).mean()
    fresh = add_engram(
        tiny.tiny_model("llama"), tiny.tiny_tokenizer(), layers=[1, 3], memory_size=400
    )
    fresh.requires_grad_(False)
    train(fresh, ids, plan, torch.device("cpu"))
    learned = token_losses(fresh, ids).mean()
    assert before - learned > 2 * max(0.0, float(before - shuffled))
    assert before - learned > 1

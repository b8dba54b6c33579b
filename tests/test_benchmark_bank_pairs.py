"""Promises of the benchmark of pairs in trained banks: what is learnt, asked, checked and shown."""

from __future__ import annotations

import argparse
import dataclasses
import json
from contextlib import nullcontext

import pytest
import tiny
import torch
from benchmark_setting import setting_of

from benchmarks import bank_pairs, pages
from benchmarks.exact_match import Pair
from benchmarks.trained import pair_memory
from benchmarks.trained.conditions import BANK, LORA, ONE_ROW, SHUFFLED, conditions, frozen
from benchmarks.trained.pair_memory import TABLES, UNTOUCHED
from benchmarks.trained.pairs import (
    Answers,
    asked_otherwise,
    endings,
    examples,
    one_value_each,
    questions,
)
from benchmarks.trained.training import Plan
from engram_transformers import UserTable
from engram_transformers.report import FailedFact

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),
    pytest.mark.filterwarnings("ignore::engram_transformers.training.callback.RareNGramsWarning"),
]
PAIRS = [Pair(f"KEY:{key}", value, "keys") for key, value in zip("ABCD", "wxyz", strict=True)]


def options_of(*arguments):
    parser = argparse.ArgumentParser()
    bank_pairs.add_arguments(parser)
    return parser.parse_args(arguments)


def setting_with(*arguments, data=None):
    setting = setting_of(
        tiny.tiny_model("llama"), tiny.tiny_tokenizer(), options=options_of(*arguments)
    )
    return setting if data is None else dataclasses.replace(setting, data=data)


@pytest.fixture(scope="module")
def found():
    """A quick run, and the model that it was made with."""
    setting = setting_with()
    return bank_pairs.run(setting), setting.model


@pytest.fixture
def task():
    """Four pairs on a tiny model, and other text."""
    setting = setting_with()
    small = bank_pairs._small(setting.options)
    first, _ = next(bank_pairs._tasks(setting, small))
    asked = questions(setting.tokenizer, PAIRS, "text")
    otherwise = {"the same": asked}
    rows = examples(setting.tokenizer, asked, "text")
    with frozen(setting.model):
        yield dataclasses.replace(
            first, pairs=PAIRS, questions=asked, otherwise=otherwise, examples=rows
        )


def trained(task, name, steps=2, rate=1e-3):
    condition = next(one for one in conditions(4, 64) if one.name == name)
    return pair_memory.trained(task, condition, [0, 2], 2_000, Plan(steps, 4, rate, seed=0))


def test_everything_is_asked_the_same_pairs_and_every_promise_holds(found):
    run, _ = found
    (small,) = run["sets"]
    names = [one["condition"] for one in small["runs"]]
    assert names == [UNTOUCHED, TABLES, BANK, ONE_ROW, SHUFFLED, LORA]
    by_name = {one["condition"]: one for one in small["runs"]}
    assert [one["asked"] for one in small["runs"]] == [small["pairs"]] * len(names)
    assert by_name[TABLES]["whole"] == by_name[TABLES]["forced"] == small["pairs"] == 6
    assert by_name[TABLES]["other_text"]["changed"] == 0
    for name in (BANK, ONE_ROW, SHUFFLED, LORA):
        one = by_name[name]
        assert one["other_text"]["changed"] > 0  # it was trained, and is no table
        assert one["answer_nats"] < by_name[UNTOUCHED]["answer_nats"]
        assert one["bytes_on_disk"] > one["bytes_trained"] > 0
    heads = 2 * 2 * 8  # layers, orders, heads
    assert by_name[ONE_ROW]["rows_trained"] == heads
    assert by_name[BANK]["rows_trained"] == by_name[SHUFFLED]["rows_trained"] > 2 * heads
    assert [one["held"] for one in run["promises"]] == [True]


def test_the_model_is_left_as_it_was(found):
    _, model = found
    fresh = tiny.tiny_model("llama")
    assert [n for n, _ in model.named_modules()] == [n for n, _ in fresh.named_modules()]
    assert all(parameter.requires_grad for parameter in model.parameters())
    ids = torch.arange(10, 40).unsqueeze(0)
    assert torch.equal(model(ids).logits, fresh(ids).logits)


def test_the_section_shows_every_condition_or_what_would_be_measured(found, tmp_path):
    environment = {"device": "a CPU", "threads": 1, "commit": "c", "torch": "2"}
    described = {"model": "tiny", "environment": {**environment, "transformers": "5"}}
    run = json.loads(json.dumps({**described, "dtype": "float32", **found[0]}))
    text = "\n".join(bank_pairs.section([run]))
    for name in (UNTOUCHED, TABLES, BANK, ONE_ROW, SHUFFLED, LORA):
        assert text.count(f"\n| {name} |") >= 2
    assert "tiny, float32, a CPU" in text
    two = json.loads(json.dumps(run))
    two["sets"][0]["runs"].append({**two["sets"][0]["runs"][1], "seed": 1, "whole": 3})
    assert "| tables |  | 75.0% (50.0% to 100.0%) |" in "\n".join(bank_pairs.section([two]))
    unmeasured = "\n".join(bank_pairs.section([]))
    assert not any(figure in unmeasured for figure in "0123456789")
    (tmp_path / "README.md").write_text(f"{pages.BEGIN}{pages.END}")
    page = pages.pages({}, tmp_path)[tmp_path / "docs" / "benchmarks.md"]
    assert "Not measured yet: `python -m benchmarks run bank_pairs`" in page


# What is measured


def test_a_bank_learns_pairs_that_one_row_can_not(task):
    bank = trained(task, BANK, steps=25, rate=3e-2)
    assert bank["whole"] == bank["asked"] == 4
    assert bank["otherwise"]["the same"] == {"asked": 4, "whole": 4}
    one_row = trained(task, ONE_ROW, steps=25, rate=3e-2)
    assert one_row["whole"] <= 1
    assert one_row["answer_nats"] > 4 * bank["answer_nats"]
    assert bank["batches"] == one_row["batches"]


def test_what_a_table_left_out_is_wrong_whatever_is_said(task, monkeypatch):
    assert pair_memory.tables(task, seed=0)["whole"] == 4
    write = UserTable.write

    def leaving_out(table, *arguments, **named):
        report = write(table, *arguments, **named)
        return dataclasses.replace(report, failed=(FailedFact(report.written[0], "why", ""),))

    monkeypatch.setattr(UserTable, "write", leaving_out)
    found = pair_memory.tables(task, seed=0)
    assert (found["whole"], found["forced"], found["first"]) == (3, 3, 3)
    assert found["otherwise"]["the same"] == {"asked": 4, "whole": 3}


def test_a_changed_base_stops_the_benchmark(task, monkeypatch):
    def damaging(model, *arguments):
        learnt = pair_memory_train(model, *arguments)
        with torch.no_grad():
            next(model.parameters())[0] += 1e-6
        return learnt

    pair_memory_train = pair_memory.train
    monkeypatch.setattr(pair_memory, "train", damaging)
    with pytest.raises(SystemExit):
        trained(task, BANK)


@pytest.mark.parametrize("name", [BANK, LORA])
def test_what_can_not_be_switched_off_stops_the_benchmark(task, monkeypatch, capsys, name):
    monkeypatch.setattr(pair_memory, "switched_off", lambda *_: nullcontext())
    with pytest.raises(SystemExit):
        trained(task, name)
    assert "switched off, every token's loss is exactly the base's" in capsys.readouterr().err


def test_a_table_that_moves_other_text_breaks_the_promise(found):
    sets = json.loads(json.dumps(found[0]["sets"]))
    table = next(one for one in sets[0]["runs"] if one["condition"] == TABLES)
    assert all(one["held"] for one in bank_pairs.promises(sets, check_recall=True))
    table["other_text"]["changed"] = 1
    table["whole"] = 5
    assert not any(one["held"] for one in bank_pairs.promises(sets, check_recall=True))


def test_rates_are_tried_for_a_quarter_of_the_epochs_with_the_first_seed(task, monkeypatch):
    tried = []

    def trial(_task, condition, _layers, _rows, plan):
        tried.append((condition.name, plan.learning_rate, plan.steps, plan.seed))
        return abs(plan.learning_rate - (1e-3 if condition.name == BANK else 3e-4))

    monkeypatch.setattr(pair_memory, "trial", trial)
    options = options_of("--rates", "1e-3", "3e-4")
    described = {"pairs": 8, "batch": 4, "epochs": 12}
    plans = bank_pairs._Plans(task.setting, options, described)
    owners = [one for one in conditions(4, 64) if one.name in (BANK, LORA)]
    assert plans.choose(task, owners, [0])["rates"] == {BANK: 1e-3, LORA: 3e-4}
    assert len(tried) == 4
    assert {(steps, seed) for _, _, steps, seed in tried} == {(6, 0)}
    assert plans.whole(1e-3, seed=2) == Plan(24, 4, 1e-3, 2)
    one_rate = bank_pairs._Plans(task.setting, options_of("--rates", "0.5"), described)
    assert one_rate.choose(task, owners, [0]) == {
        "rates": {BANK: 0.5, LORA: 0.5},
        "rates_tried": [],
    }
    assert len(tried) == 4


# Pairs


def test_each_set_has_its_own_seeds_epochs_and_batch(tmp_path, monkeypatch):
    setting = setting_with("--pairs", "5", "--seeds", "3", "1", "--epochs", "7", "--batch", "2")
    options = argparse.Namespace(**{**vars(setting.options), "texts": 1, "length": 16})
    (_, small), (_, large) = bank_pairs._tasks(setting, options)
    assert (small["name"], small["seeds"], small["steps"]) == ("small", 3, 18)  # 35 reads by 2
    assert (large["name"], large["seeds"], large["steps"]) == ("large", 1, 18)
    assert small["pairs"] == large["pairs"] == 5


def test_endings_are_what_a_bank_reads_of_a_key():
    tokenizer = tiny.tiny_tokenizer()
    pairs = [Pair(key, "w", "k") for key in ("A:12", "B:12", "A:13")]
    text = examples(tokenizer, questions(tokenizer, pairs, "text"), "text")
    assert [endings(text, order) for order in (1, 3, 4)] == [2, 2, 3]
    chat = examples(tokenizer, questions(tokenizer, pairs, "chat"), "chat")
    assert endings(chat, 3) == 1  # the template's


def test_the_last_value_of_a_key_counts():
    pairs = [Pair("A", "1", "k"), Pair("B", "2", "k"), Pair("A", "3", "k"), Pair("B", "2", "k")]
    keys = one_value_each(pairs)
    assert [(pair.key, pair.value) for pair in keys.pairs] == [("A", "3"), ("B", "2")]
    assert keys.with_several_values == 1


@pytest.mark.parametrize("form", ["chat", "text"])
def test_other_prompts_are_others_and_hold_the_key(form):
    tokenizer = tiny.tiny_tokenizer()
    (plain,) = questions(tokenizer, PAIRS[:1], form)
    others = asked_otherwise(tokenizer, PAIRS[:1], form)
    prompts = [one.prompt for (one,) in others.values()]
    assert len({plain.prompt, *prompts}) == 4
    assert all("KEY:A" in prompt for prompt in prompts)
    assert all(one.answer == "w" for (one,) in others.values())
    assert plain.prompt == "KEY:A" or plain.prompt.endswith("assistant\n")


@pytest.mark.parametrize(("form", "end"), [("chat", "<|im_end|>"), ("text", "\n")])
def test_answers_and_ends_alone_are_learnt_and_padding_changes_nothing(form, end):
    tokenizer = tiny.tiny_tokenizer()
    pairs = [Pair("KEY:A", "w", "k"), Pair("A much longer key than that:", "Pepper, the dog", "k")]
    rows = examples(tokenizer, questions(tokenizer, pairs, form), form)
    answers = Answers(tokenizer.pad_token_id)
    batch = answers(rows)
    for labels, pair in zip(batch["labels"], pairs, strict=True):
        said = tokenizer.decode(labels[labels != -100])
        assert said.lstrip() == f"{pair.value}.{end}"
    model = tiny.tiny_model("llama")
    alone = [answers.loss(model, [row]) * row.answer for row in rows]
    together = answers.loss(model, rows) * sum(row.answer for row in rows)
    assert together == pytest.approx(sum(alone), rel=1e-6)
    whole = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "labels")}).loss
    every = sum(row.answer + row.end for row in rows)
    assert whole.item() * every > together  # ends are learnt, but not counted

"""Promises of the benchmark of models trained from scratch with banks and without."""

from __future__ import annotations

import argparse
import dataclasses
import json

import pytest
import torch
from benchmark_setting import setting_of

from benchmarks import bank_scratch
from benchmarks.trained import flops
from benchmarks.trained.kinds import FACTS, KINDS, READING
from benchmarks.trained.losses import token_losses
from benchmarks.trained.scratch import Shape, documents, new_model, new_tokenizer
from benchmarks.trained.training import Plan, train
from engram_transformers import engram_disabled

pytestmark = pytest.mark.filterwarnings(
    "ignore::engram_transformers.training.callback.RareNGramsWarning"
)
SHAPE = Shape(
    layers=4,
    hidden=32,
    heads=2,
    mlp=128,
    length=32,
    bank_layers=(0, 2),
    bank_dim=32,
    rows=1_000,
)


class NoTokenizer:
    """Of a setting: this benchmark has its own."""


def options_of(*arguments):
    parser = argparse.ArgumentParser()
    bank_scratch.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture(scope="module")
def run():
    return bank_scratch.run(setting_of(None, NoTokenizer(), options=options_of("--seeds", "1")))


@pytest.fixture(scope="module")
def tokenizer():
    return new_tokenizer(["one two three four five six seven eight"] * 4, 300)


def test_both_models_are_trained_and_every_promise_holds(run):
    plain, banked = run["runs"]
    assert (plain["bank"], banked["bank"]) == (False, True)
    assert len(run["promises"]) == 3
    assert all(one["held"] for one in run["promises"])
    assert banked["mlp"] < plain["mlp"]
    assert plain["numbers_in_rows"] == 0 < banked["numbers_in_rows"]
    assert banked["telemetry"]["rows_touched"] > 0
    untrained = torch.tensor(400.0).log()  # of as many tokens
    assert max(plain["validation"], banked["validation"]) < untrained
    assert banked["off"]["validation"] != banked["validation"]
    assert set(run["kind_tokens"]) == set(banked["kinds"]) == set(KINDS)


def test_a_promise_is_missed_where_the_comparison_is_none(run):
    runs = json.loads(json.dumps(run["runs"]))
    runs[1]["batches"] = "others"
    runs[1]["flops"]["forward"] = runs[0]["flops"]["forward"] + 1
    runs[1]["on_again_equal"] = False
    assert not any(one["held"] for one in bank_scratch.promises(runs, check_costs=True))
    runs[1]["flops"]["forward"] = 1
    assert bank_scratch.promises(runs, check_costs=False)[0]["held"]
    assert not bank_scratch.promises(runs, check_costs=True)[0]["held"]


def test_the_section_shows_both_or_what_would_be_measured(run):
    environment = {"device": "a CPU", "threads": 1, "commit": "c", "torch": "2"}
    found = json.loads(json.dumps({"environment": {**environment, "transformers": "5"}, **run}))
    text = "\n".join(bank_scratch.section([found]))
    assert "Llama from scratch, 4 layers, 32 wide, float32, a CPU" in text
    for name in ("without banks", "with banks", "with banks, switched off"):
        assert f"\n| {name} |" in text
    banked = found["runs"][1]
    rise = banked["off"]["kinds"][READING] - banked["kinds"][READING]
    assert f"{rise:+.4f} (n = 1) |" in text
    assert f"facts: {FACTS}" in text
    unmeasured = "\n".join(bank_scratch.section([]))
    assert "Not measured yet" in unmeasured
    assert not any(figure in unmeasured for figure in "0123456789")


def test_banks_cost_nothing_and_mlps_are_cut_no_more_than_needed(tokenizer):
    plain, banked = (
        flops.count(new_model(SHAPE, tokenizer, 0, with_bank=b), SHAPE.length)
        for b in (False, True)
    )
    assert banked.bank == flops.of_bank(SHAPE.bank_dim, SHAPE.hidden, 2)
    assert banked.forward <= plain.forward
    eight_wider = 8 * 2 * 3 * SHAPE.hidden * SHAPE.layers
    assert banked.forward + eight_wider > plain.forward


def test_banks_that_cost_more_than_all_mlps_are_refused():
    with pytest.raises(ValueError, match="take narrower banks"):
        _ = dataclasses.replace(SHAPE, bank_dim=4096).mlp_with_bank


def test_the_base_learns_together_with_its_banks(tokenizer):
    model = new_model(SHAPE, tokenizer, 0, with_bank=True)
    ids = torch.randint(1, len(tokenizer), (8, 32), generator=torch.Generator().manual_seed(0))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    train(model, ids, Plan(4, 4, 1e-2, 0), torch.device("cpu"))
    same = {name for name, weight in model.named_parameters() if torch.equal(weight, before[name])}
    assert not same
    with engram_disabled(model):
        off = token_losses(model, ids)
    assert not torch.equal(off, token_losses(model, ids))


def test_text_files_are_cut_into_documents(tmp_path):
    path = tmp_path / "notes.txt"
    paragraphs = [f"Paragraph {number}. " + "word " * 120 for number in range(400)]
    path.write_text("\n\n".join(paragraphs))
    found = documents([path])
    assert len(found) > 50
    assert len({one.name for one in found}) == len(found)
    assert "\n\n".join(one.text for one in found).split() == path.read_text().split()
    options = options_of("--seeds", "1", "--text", str(path))
    options.__dict__.update({"vocabulary": 300})
    described = bank_scratch._Texts(bank_scratch._small(options)).described
    assert (described["packages"], described["files"]) == ([], ["notes.txt"])

"""Promises of the layered experiment: how it scores, what its controls are, that all of it runs."""

from __future__ import annotations

import argparse
import json
import random

import pytest
import tiny
import torch
from benchmark_setting import Letters, setting_of
from test_benchmarks import described

from benchmarks import layered
from benchmarks.layers import claims, conditions, lora_users, outside, stages
from benchmarks.layers.asking import say, say_with_skill, told
from benchmarks.layers.prior import Prior
from benchmarks.layers.scoring import (
    CONSTANT,
    Said,
    interval,
    is_exact,
    is_mentioned,
    over_runs,
    score,
    worse_users,
)
from benchmarks.layers.users import (
    Asked,
    User,
    made_up_users,
    mismatch,
    next_users,
    read_users,
)
from engram_transformers import Episode, named_fact, recall_key, train_shared_lora

# PEFT (0.19) asks transformers (5.23) in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

ASKED = {"pet": "What is my pet?", "city": "What is my city?", "color": "What is my color?"}
NAMES = {"pet": "pet", "city": "home city", "color": "favorite color"}


def asked(question, answer, uid="u", schema="AGE", variant=""):
    return Asked(uid, schema, variant, question, answer, ("city",))


# Scores


@pytest.mark.parametrize(
    ("said", "answer", "right"),
    [
        (" No. ", "no", True),
        ("08:50", "08:50", True),
        ("Dr. Krause.", "dr. krause", True),
        ("33 years", "33", False),
        ("33..", "33", False),
        ("", "33", False),
        (None, "33", False),
    ],
)
def test_an_answer_is_right_if_nothing_else_is_said(said, answer, right):
    assert is_exact(said, answer) is right


def test_a_constant_reaches_the_published_metric_and_no_exact_match():
    questions = [asked("?", "No"), asked("?", "Yes"), asked("?", "me"), asked("?", "33")]
    said = [Said(CONSTANT.strip(), begins=CONSTANT)] * 4
    found = score(questions, said, mentions=True)
    assert (found["right"], found["mentioned"], found["asked"]) == (0, 3, 4)
    assert found["published"] == {"hits": 3, "asked": 4}
    assert not is_mentioned(CONSTANT, "gym")


def test_the_published_metric_counts_the_first_questions_of_each_user():
    questions = [asked("?", "No" if i < 20 else "gym", uid) for uid in "ab" for i in range(30)]
    found = score(questions, [Said("", begins=CONSTANT)] * 60, mentions=True)
    assert found["published"] == {"hits": 40, "asked": 40}
    assert found["mentioned"] == 40


def test_all_questions_are_counted_by_kind_and_user():
    questions = [asked("?", "1", "a"), asked("?", "2", "a", "DAY"), asked("?", "3", "b")]
    said = [Said("1"), Said(None), Said("I don't know.", is_known=False)]
    found = score(questions, said, mentions=False)
    assert found["schemas"] == {"AGE": [1, 2], "DAY": [0, 1]}
    assert found["users"] == {"a": [1, 2], "b": [0, 1]}
    assert (found["no_end"], found["unknown"], len(found["wrong"])) == (1, 1, 2)
    assert "published" not in found
    better = score(questions, [Said("1"), Said("2"), Said("3")], mentions=False)
    assert worse_users(found, better) == ["a", "b"]
    assert worse_users(better, found) == []
    assert over_runs([found, better]) == {
        "mean": pytest.approx(2 / 3),
        "min": 1 / 3,
        "max": 1,
        "n": 2,
    }


def test_intervals_are_over_users():
    assert interval([[5, 10]] * 4) == [0.5, 0.5]
    low, high = interval([[0, 10], [10, 10], [5, 10]])
    assert low < 0.5 < high
    assert interval([]) == [0.0, 0.0]


# The prior and the wrong user


def test_the_prior_looks_up_the_closest_that_it_knows():
    known = [
        asked("How old am I?", "33", schema="AGE", variant="self"),
        asked("How old am I?", "33", schema="AGE", variant="self"),
        asked("How old is my car?", "4", schema="AGE", variant="car"),
        asked("Do I have gym on Monday?", "No", schema="DAY", variant="off"),
        asked("Do I have gym on Friday?", "Yes", schema="DAY", variant="on"),
    ]
    prior = Prior([User("x", {}, known)])
    assert prior.answer(asked("How old am I?", "50", schema="AGE", variant="self")) == "33"
    assert prior.answer(asked("How old?", "50", schema="AGE", variant="car")) == "4"
    assert prior.answer(asked("Do I have yoga on Friday?", "", schema="DAY", variant="on")) == "Yes"
    assert prior.answer(asked("Do I have gym on Tuesday?", "", schema="DAY")) == "No"
    assert prior.answer(asked("When?", "", schema="AGE", variant="new")) == "33"
    assert prior.answer(asked("When?", "", schema="NEW")) == ""


def test_made_up_people_are_others_with_every_seed():
    one, same, other = (made_up_users(3, seed)[0].values for seed in (1, 1, 2))
    assert one == same != other
    assert all(user.indirect for user in made_up_users(3, 1))


def test_a_wrong_user_is_the_next_one_and_never_oneself():
    question = asked("?", "7")
    child = question._replace(uid="b", needed=("child_year",), answer="8")
    users = [
        User("a", {"city": "1"}, [question._replace(uid="a")]),
        User("b", {"city": "2", "child_year": "3"}, [child]),
        User("c", {"city": "4"}, [question._replace(uid="c")]),
    ]
    pairs = next_users(users)
    assert {uid: other.uid for uid, other in pairs.items()} == {"a": "b", "b": "c", "c": "a"}
    assert mismatch(users) == {
        "pairs": 3,
        "differing_keys": 2,
        "lacking_a_fact": 1,
        "same_answer": 1,
    }
    with pytest.raises(ValueError, match="two users"):
        next_users(users[:1])


def test_facts_are_told_before_the_question():
    assert told(["My pet is 7.", "My city is 8."], "Why?") == "My pet is 7.\nMy city is 8.\n\nWhy?"
    assert told([], "Why?") == "Why?"


# The whole experiment


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A skill for the tiny Llama, in chats: it recites three keys."""
    lot = random.Random(0)
    episodes = []
    for _ in range(450):
        key, value = lot.choice(list(ASKED)), str(lot.randrange(10, 99))
        facts = [named_fact(NAMES[key], value)]
        episodes.append(Episode(facts, ASKED[key], value, (recall_key(NAMES[key]),)))
    folder = tmp_path_factory.mktemp("layered") / "tiny-skill"
    return train_shared_lora(
        tiny.tiny_model("llama"),
        tiny.tiny_tokenizer(),
        episodes,
        folder,
        ordinary_texts=["The harbour opens at seven."],
        forms=["chat"],
        learning_rate=1e-2,
        epochs=4,
        batch_size=16,
        use_cpu=True,
        disable_tqdm=True,
        logging_steps=1000,
    )


@pytest.fixture
def data(tmp_path):
    """Two users who are asked, and those whose answers are known."""
    folder = tmp_path / "user_as_engram" / "users"
    folder.mkdir(parents=True)
    for number in (0, 1, *range(20, 30)):
        values = {"pet": f"{11 + number}", "city": f"{41 + number}", "color": f"{61 + number}"}
        if number == 1:
            del values["color"]
        uid = f"u{number:03}"
        direct = [{"key": k, "question": ASKED[k], "answer": v} for k, v in values.items()]
        indirect = [
            {
                "schema": "AGE",
                "variant": key,
                "question": ASKED[key],
                "answer": value,
                "required_fact_keys": [key],
            }
            for key, value in values.items()
        ]
        user = {"uid": uid, "direct_qa": direct, "indirect_qa": indirect}
        (folder / f"{uid}.json").write_text(json.dumps(user))
    return tmp_path


def setting(data, adapter, *arguments, quick=False):
    parser = argparse.ArgumentParser()
    layered.add_arguments(parser)
    small = "--users 2 --published-steps 2 --lora-epochs 2 --prior-people 3 --texts 2".split()
    options = parser.parse_args([*small, "--adapter", str(adapter), *arguments])
    made = setting_of(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), data, options)
    made.quick = quick
    return made


@pytest.fixture
def small(monkeypatch):
    """An encoder stub, one kind of text, and one learning rate."""
    monkeypatch.setattr(layered, "encoder_or_none", lambda folder, device: Letters())
    monkeypatch.setattr(lora_users, "RATES", (1e-3,))
    monkeypatch.setattr(outside.real_text, "sources", lambda data, quick: [])


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_every_condition_runs_and_is_told(data, adapter):
    asking = setting(data, adapter)
    before = [value.clone() for value in asking.model.state_dict().values()]
    run = described(layered.run(asking))
    assert [one["name"] for one in run["conditions"]] == [c.name for c in conditions.CONDITIONS]
    for one in run["conditions"]:
        assert "not_run" not in one
        assert [found["asked"] for found in one["runs"]] == [5]
        assert ("direct" in one) == any(
            c.asks_direct for c in conditions.CONDITIONS if c.name == one["name"]
        )
    after = asking.model.state_dict().values()
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    (measured,) = run["adapters_measured"]
    assert measured["written"]["left_out"] == []
    assert measured["written"]["seconds"]["n"] == 2
    assert measured["absent"]["asked"] == 5
    assert (
        measured["bits"]["equal"] == measured["bits"]["compared"] == 2 * measured["bits"]["texts"]
    )
    assert measured["cost"]["tokens"] > 0
    assert run["wrong_user"]["lacking_a_fact"] == 1
    assert run["promises"] == []  # a tiny model promises nothing
    page = layered.section([run, run])
    assert page[0].startswith("## ")
    assert all("\n" not in line for line in page)
    text = "\n".join(page)
    for one in conditions.CONDITIONS:
        assert f"| {one.title} |" in text
    assert "tiny, float32, a CPU" in text
    assert "2 of 2 pairs" in text
    names = {one["promise"] for one in claims.claims(run)}
    assert len(names) == 10
    assert len(claims.claims({**run, "device": "NVIDIA H100 80GB HBM3"})) == 11


@pytest.mark.usefixtures("small")
def test_rows_are_read_with_the_skill_each_owners_own(data, adapter):
    asking = setting(data, adapter)
    stage = stages.Stage(asking, read_users(data, range(2)), [])
    with stages.left_as_found(stage.setting, "the skill"), stages.skilled(stage, adapter):
        questions = [ASKED["pet"]] * 2
        tables = list(stage.tables.values())
        own = say_with_skill(stage.model, stage.tokenizer, questions, tables)
        recited = [one.before[: len("My pet is 11.")] for one in own]
        assert recited == ["My pet is 11.", "My pet is 12."]
        wrong, _ = conditions.rows_and_skill(stage, stage.users[0].indirect[:1], wrong_user=True)
        assert wrong[0].before.startswith("My pet is 12.")
        missing = stages.without(stage, stage.users[0], "pet")
        assert recall_key("pet") not in missing
        assert recall_key("home city") in missing
        assert recall_key("pet") in stage.tables["u000"]
    assert stage.tables == {}


def test_an_answer_without_an_end_is_wrong(data, adapter, monkeypatch):
    from benchmarks.layers import asking as module

    asking = setting(data, adapter)
    stage = stages.Stage(asking, read_users(data, range(2)), [])
    with stages.skilled(stage, adapter):
        whole = module.answer

        def cut(*arguments, **options):
            return whole(*arguments, **options, max_new_tokens=2)

        monkeypatch.setattr(module, "answer", cut)
        said = say_with_skill(stage.model, stage.tokenizer, ["What is my pet?"], [None])
    assert said == [Said(None)]
    assert not is_exact(said[0].answer, "")


def test_a_model_without_the_skill_answers_with_its_first_line(tiny_llama, tiny_tokenizer):
    texts = ["What is my pet?", "What is the name of the dog?", "Where?"]
    said = say(tiny_llama, tiny_tokenizer, texts)
    assert all("\n" not in str(one.answer) and one.tokens <= 48 for one in said)
    assert said[1] == say(tiny_llama, tiny_tokenizer, texts[1:2])[0]


@pytest.mark.usefixtures("small")
def test_a_quick_run_trains_no_loras_and_conditions_can_be_chosen(data, adapter, monkeypatch):
    monkeypatch.setattr(layered, "encoder_or_none", lambda folder, device: None)
    names = ["untouched", "lora-fair", "prior-people", "retrieval", "skill"]
    asking = setting(
        data, adapter, "--seeds", "2", "--adapters", *[str(adapter)] * 2, "--conditions", *names,
        quick=True,
    )  # fmt: skip
    run = described(layered.run(asking))
    assert [one["name"] for one in run["conditions"]] == [n for n in (
        "untouched", "prior-people", "retrieval", "skill")]  # fmt: skip
    found = {one["name"]: one for one in run["conditions"]}
    assert [one["seed"] for one in found["prior-people"]["runs"]] == [0, 1]
    assert [one["adapter"] for one in found["skill"]["runs"]] == ["tiny-skill"] * 2
    assert found["skill"]["share"]["n"] == 2
    assert len(found["untouched"]["runs"]) == 1
    assert "encoder" in found["retrieval"]["not_run"]
    text = "\n".join(layered.section([run]))
    assert "not run: its encoder" in text
    assert "(n = 2)" in text
    assert "worse_users" not in run


def test_without_a_skill_nothing_is_measured_that_needs_one(data, tmp_path):
    with pytest.raises(SystemExit, match="no skill in"):
        layered.run(setting(data, tmp_path / "none"))
    run = layered.run(setting(data, tmp_path / "none", "--conditions", "constant", "prior-data"))
    assert [one["runs"][0]["right"] for one in run["conditions"]] == [0, 0]
    assert run["adapters_measured"] == []


def test_missing_data_is_named(tmp_path, adapter):
    with pytest.raises(FileNotFoundError, match="19PINE-AI"):
        layered.run(setting(tmp_path, adapter))


def test_the_section_is_made_of_no_runs_too():
    assert layered.section([])[0].startswith("## Layer by layer")


# Claims


def results(right, asked=100, **fields):
    """Return results in which all conditions that are claimed have the same score."""
    one = {
        "right": right,
        "asked": asked,
        "unknown": fields.get("unknown", 0),
    }
    share = {"mean": right / asked, "min": right / asked, "max": right / asked, "n": 1}
    names = ("prior-data", "skill", "wrong-user", "rows-skill")
    entries = [
        {"name": name, "runs": [one], "share": share, "direct": [one], "direct_share": share}
        for name in names
    ]
    return {"conditions": entries, "users": 20, "adapters_measured": []} | fields


def test_claims_are_held_or_not():
    held = claims.claims(results(100, worse_users=[[]]))
    assert all(one["held"] for one in held)
    low = {one["promise"]: one["held"] for one in claims.claims(results(87, unknown=3))}
    assert not low["Indirect questions, rows + skill: at least 88% exact"]
    assert not low["Direct questions, rows + skill: at least 95% exact"]
    assert sum(not one for one in low.values()) == 4
    worse = claims.claims(results(100, worse_users=[["u003"]]))
    assert [one["found"] for one in worse if not one["held"]] == ["1 of 20: u003"]


def test_controls_are_held_against_the_better_prior():
    found = results(50)
    found["conditions"][0]["share"] = {"mean": 0.46, "min": 0.46, "max": 0.46, "n": 1}
    controls = [one for one in claims.claims(found) if "above the prior" in one["promise"]]
    assert [one["held"] for one in controls] == [False, False]
    found["conditions"].append(
        {"name": "prior-people", "runs": [{}], "share": {"mean": 0.47, "min": 0, "max": 1, "n": 2}}
    )
    controls = [one for one in claims.claims(found) if "above the prior" in one["promise"]]
    assert [one["held"] for one in controls] == [True, True]


def test_a_speed_is_claimed_on_its_machine_and_of_what_works():
    def found(device, **written):
        measured = [{"adapter": "a", "written": written}]
        made = claims.claims(results(100, device=device, adapters_measured=measured))
        return [one["held"] for one in made if "are written" in one["promise"]]

    seconds = {"median": 0.5, "min": 0.4, "max": 2.0, "n": 20}
    assert found("a CPU", seconds=seconds) == []
    assert found("NVIDIA H100 80GB HBM3", seconds=seconds) == [True]
    assert found("NVIDIA H100 80GB HBM3", seconds={**seconds, "median": 1.1}) == [False]
    assert found("NVIDIA H100 80GB HBM3", left_out=["u000: My pet is"]) == [False]

"""Promises of the transfer experiment: what is held out, its controls, prior, scores and claims."""

from __future__ import annotations

import argparse
import functools
import json
import random
from collections import Counter

import pytest
import tiny
import torch
from benchmark_setting import setting_of
from test_benchmarks import described

from benchmarks import transfer
from benchmarks.layers.stages import adapted, memories
from benchmarks.skill import direct, families
from benchmarks.skill.families.asking import forms
from benchmarks.transfers import asking, chains, claims, paraphrases, scoring, unseen
from benchmarks.transfers import families as people
from benchmarks.transfers.parts import PARTS
from benchmarks.transfers.questions import Part, Question
from engram_transformers import Answer, Episode, named_fact, recall_key, train_shared_lora
from engram_transformers.errors import AnswerError
from engram_transformers.facts import as_facts
from engram_transformers.skill.answering import NamesShown
from engram_transformers.skill.episodes import UNKNOWN_ANSWER
from engram_transformers.skill.resolving import Resolved

# PEFT (0.19) asks transformers (5.23) in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

CHAINS = [
    {
        "facts": [["My pet is a", " ferret"], ["A ferret eats", " meat"]],
        "query": "My pet eats",
        "expected": " meat",
        "overlap": False,
    },
    {
        "facts": [["I live in", " Boise"], ["Boise is in the state of", " Idaho"]],
        "query": "I live in the state of",
        "expected": " Idaho",
        "overlap": True,
    },
]
STATEMENTS = [
    {"prompt": "My gym day is", "gold": " Tuesday", "paraphrases": ["I train on", "Gym is on"]}
]


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """A LoRA for the tiny Llama that has learned next to nothing: its answers are scripted."""
    facts = [named_fact("pet", "7")]
    episodes = [Episode(facts, "What is my pet?", "7", (recall_key("pet"),))] * 4
    return train_shared_lora(
        tiny.tiny_model("llama"),
        tiny.tiny_tokenizer(),
        episodes,
        tmp_path_factory.mktemp("transfer") / "tiny-skill",
        ordinary_texts=["The harbour opens at seven."],
        epochs=1,
        batch_size=4,
        use_cpu=True,
        disable_tqdm=True,
    )


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "user_as_engram"
    folder.mkdir()
    (folder / "multihop_chains.json").write_text(json.dumps({"items": CHAINS}))
    (folder / "paraphrase_16x4.json").write_text(json.dumps(STATEMENTS))
    return tmp_path


def setting(data, *arguments, quick=True):
    parser = argparse.ArgumentParser()
    transfer.add_arguments(parser)
    made = setting_of(
        tiny.tiny_model("llama"), tiny.tiny_tokenizer(), data, parser.parse_args(arguments)
    )
    made.quick = quick
    return made


def part_of(name, asking_setting):
    return next(one for one in PARTS if one.name == name).make(asking_setting)


def by_kind(part):
    found: dict[str, list[Question]] = {}
    for one in part.questions:
        found.setdefault(one.kind, []).append(one)
    return found


def values_of(part, question):
    return [fact.answer for fact in as_facts(part.tables[question.table])]


# What is asked


def test_no_name_of_a_held_out_attribute_is_another_ones():
    names = [name for one in direct.split()[1] for name in (one.key, *one.aliases)]
    assert len(names) == len(set(names))


def test_unseen_attributes_are_stored_by_their_key_alone_in_one_of_two_tables(data):
    part = part_of("unseen", setting(data, quick=False))
    trained = {one.key for one in direct.split()[0]}
    first, second = (list(map(str, _prompts(part.tables[name]))) for name in ("first", "second"))
    assert len(first) + len(second) == len(direct.split()[1])
    assert not set(first) & set(second)
    assert not {recall_key(key) for key in trained} & {*first, *second}
    kinds = by_kind(part)
    for kind in (unseen.TEMPLATE, unseen.SYNONYM, unseen.WITH_WORD, unseen.WITHOUT_WORD):
        assert all(one.answer in values_of(part, one) for one in kinds[kind])
        there, absent = kinds[kind], kinds[unseen.ABSENT + kind]
        assert [one.text for one in there] == [one.text for one in absent]
        assert all(a.table != b.table for a, b in zip(there, absent, strict=True))
        assert {one.answer for one in absent} == {UNKNOWN_ANSWER}
    for one in kinds[unseen.SYNONYM]:
        assert not any(name in one.text for name in _names(part, one))
    for one in kinds[unseen.STORED]:
        assert any(name in one.text for name in _names(part, one))


def _prompts(facts):
    return [prompt for fact in as_facts(facts) for prompt in fact.prompts]


def _names(part, question):
    """Return the names by which a table has what a question's answer is."""
    facts = [one for one in as_facts(part.tables[question.table]) if one.answer == question.answer]
    prompts = [str(prompt) for one in facts for prompt in one.prompts]
    return [f"my {text.removeprefix('My ').removesuffix(' is')}" for text in prompts]


@pytest.mark.parametrize(
    ("question", "said"),
    [("Which tents do I own?", True), ("What did I intend?", False), ("Where do I sleep?", False)],
)
def test_a_word_of_a_name_is_said_from_its_beginning(question, said):
    assert unseen.is_said(["tent"], question) is said


@pytest.mark.parametrize("name", ["unseen", "told", "families", "chains", "paraphrases"])
def test_what_is_known_is_in_the_table_and_the_same_seed_asks_the_same(name, data):
    part, again = (part_of(name, setting(data)) for _ in range(2))
    assert part == again
    assert {one.table for one in part.questions} - {None} <= set(part.tables)
    assert len({(one.kind, one.text, one.table) for one in part.questions}) > 1


def test_chains_have_controls_without_one_fact_or_both(data):
    part = part_of("chains", setting(data))
    kinds = by_kind(part)
    facts = {
        control: part.tables[kinds[chains.controlled(chains.CHAIN, control)][0].table]
        for control in (chains.FIRST_ONLY, chains.SECOND_ONLY)
    }
    assert facts == {
        chains.FIRST_ONLY: [("My pet is a", "ferret")],
        chains.SECOND_ONLY: [("A ferret eats", "meat")],
    }
    (whole,) = kinds[chains.CHAIN]
    assert (whole.text, whole.answer, whole.is_control) == ("My pet eats", "meat", False)
    assert len(part.tables[whole.table]) == 2
    (nothing,) = kinds[chains.controlled(chains.CHAIN, chains.NO_TABLE)]
    assert nothing.table is None
    assert nothing.is_control
    assert len(kinds[chains.OVERLAP]) == 1


def test_paraphrases_are_asked_with_the_statements_and_without(data):
    part = part_of("paraphrases", setting(data))
    assert part.tables == {"statements": [("My gym day is", "Tuesday")]}
    assert [(one.text, one.answer, one.table) for one in part.questions] == [
        ("I train on", "Tuesday", "statements"),
        ("Gym is on", "Tuesday", "statements"),
        ("I train on", "Tuesday", None),
        ("Gym is on", "Tuesday", None),
    ]


@pytest.mark.parametrize("name", ["chains", "paraphrases"])
def test_missing_data_is_named(name, tmp_path):
    with pytest.raises(FileNotFoundError, match="19PINE-AI"):
        part_of(name, setting(tmp_path))


# Families and their prior


def test_every_question_of_a_family_has_its_wording():
    for family in families.held_out():
        direct_forms, around = forms(family)
        seen = Counter()
        for one in families.episodes((family,), 300, 5):
            if one.answer != UNKNOWN_ANSWER:
                form = people.form_of(family, one)
                assert form in (*direct_forms, *around)
                seen[form in direct_forms] += 1
        assert min(seen.values()) > 30
    strange = Episode([("My pet is", "7")], "Why?", "7", ("My pet is",))
    with pytest.raises(ValueError, match="put like 'Why"):
        people.form_of(families.held_out()[0], strange)


def test_the_prior_is_the_commonest_answer_of_others():
    (family, *_) = families.held_out()
    direct_forms, around = forms(family)
    prior = people.Prior(family, 40, 1)
    lot = random.Random(f"1, {family.name}")
    drawn = [family.person(lot) for _ in range(40)]
    name = direct_forms[0].asked.name
    most = Counter(one[name] for one in drawn).most_common(1)[0][0]
    assert prior.answer(direct_forms[0]) == most
    answers = {prior.answer(form) for form in around}
    assert len(answers) > 3
    assert [prior.answer(form) for form in around] == [prior.answer(form) for form in around]


def test_another_ones_table_has_all_that_is_needed(data):
    def episode(value, *names):
        facts = [named_fact(name, value) for name in names]
        return Episode(facts, "What is my pet?", value, (recall_key("pet"),))

    made = [episode("1", "pet"), episode("2", "car"), episode("3", "pet", "car")]
    made[1] = Episode(made[1].facts, "My pet?", UNKNOWN_ANSWER, (recall_key("pet"),))
    assert [people.another(made, number) for number in range(3)] == [2, 2, 0]
    assert people.another(made[:2], 0) is None
    part = part_of(
        "families", setting(data, "--episodes", "60", "--prior-people", "5", quick=False)
    )
    kinds = by_kind(part)
    controls = [
        one
        for kind in (people.DIRECT, people.INDIRECT)
        for one in kinds[people.ANOTHERS.format(kind)]
    ]
    assert all(one.is_control for one in controls)
    own = {(one.text, one.answer): one.table for one in part.questions if not one.is_control}
    assert all(own[one.text, one.answer] != one.table for one in controls)
    assert part.prior[people.DIRECT][1] == len(kinds[people.DIRECT])
    assert part.prior[people.INDIRECT][1] == len(kinds[people.INDIRECT])


# Scores


def told(text, recited="", resolved=()):
    return Answer("?", text, recited, resolved)


def test_answers_are_counted_by_kind():
    questions = [
        Question("a", "1?", "one", "t"),
        Question("a", "2?", "two", "t"),
        Question("a", "3?", "three", "t"),
        Question("b", "4?", UNKNOWN_ANSWER, None),
        Question("c", "5?", "five", None, is_control=True),
    ]
    taken = (Resolved("My x is", "My y is"),)
    answers = [told("One.", "abc", taken), told("three"), None, told(UNKNOWN_ANSWER), told("six")]
    found = scoring.score(questions, answers, len)
    assert found["kinds"]["a"] == {
        "right": 1,
        "asked": 3,
        "unknown": 0,
        "resolved": 1,
        "no_end": 1,
        "tokens_said": pytest.approx((8 + 6) / 2),
    }
    assert found["kinds"]["b"]["unknown"] == found["kinds"]["b"]["right"] == 1
    assert found["kinds"]["c"]["right"] == 0
    assert [one["question"] for one in found["wrong"]] == ["2?", "3?"]
    assert [one["said"] for one in found["wrong"]] == ["three", None]
    many = scoring.score([questions[0]] * 40, [told("no")] * 40, len)
    assert len(many["wrong"]) == scoring.SHOWN


def test_shares_are_over_adapters():
    part = {"runs": [run_of({"a": (1, 4), "b": (2, 2)}), run_of({"a": (3, 4), "b": (0, 2)})]}
    assert scoring.shares(part)["unknown"]["a"] == {"mean": 0.5, "min": 0.25, "max": 0.75, "n": 2}
    assert scoring.pooled(part, "unknown", ["a", "b", "z"]) == [
        {"right": 3, "asked": 6},
        {"right": 3, "asked": 6},
    ]
    assert scoring.pooled(part, "always", ["a"]) == []


def run_of(kinds, names="unknown"):
    counts = {
        kind: {"right": right, "asked": asked, "unknown": 0, "resolved": 0, "no_end": 0}
        for kind, (right, asked) in kinds.items()
    }
    return {"adapter": "x", "names": names, "kinds": counts}


# The whole experiment


def scripted(monkeypatch, said, failing=()):
    """Have questions answered by a function of question and table."""
    calls = []

    def answer(model, tokenizer, questions, tables, *, names):
        calls.append((names, len(questions)))
        found = [
            None if one in failing else told(said(one, table))
            for one, table in zip(questions, tables, strict=True)
        ]
        if None in found:
            raise AnswerError("?", "", 1, found)
        return found

    monkeypatch.setattr(asking, "answer", answer)
    return calls


def test_every_part_is_asked_and_told(data, adapter, monkeypatch):
    calls = scripted(monkeypatch, lambda question, table: "7" if table else UNKNOWN_ANSWER)
    asked = setting(
        data, "--adapters", *[str(adapter)] * 2, "--names", "unknown", "always",
        "--batch", "50", "--episodes", "2", "--prior-people", "9",
    )  # fmt: skip
    before = [value.clone() for value in asked.model.state_dict().values()]
    run = described(transfer.run(asked))
    after = asked.model.state_dict().values()
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert [one["name"] for one in run["parts"]] == [one.name for one in PARTS]
    assert {names for names, _ in calls} == {"unknown", "always"}
    assert max(size for _, size in calls) == 50
    for part in run["parts"]:
        assert [(one["adapter"], one["names"]) for one in part["runs"]] == [
            ("tiny-skill", "unknown"),
            ("tiny-skill", "always"),
        ] * 2
        assert [one["facts"] for one in part["written"]] == [part["facts"]] * 2
        for one in part["runs"]:
            assert list(one["kinds"]) == part["kinds"]
            assert one["not_asked"] == 0
    assert run["promises"] == []  # a tiny model promises nothing
    page = transfer.section([run, run])
    assert page[0].startswith("## ")
    assert all("\n" not in line for line in page)
    text = "\n".join(page)
    for one in PARTS:
        assert f"**{one.title}** (`{one.name}`" in text
    assert "| *true chain, no table* | unknown | 0.0% of 1 (n = 2) |" in text
    assert "| *indirect, the prior* |" in text
    assert "tiny, float32, a CPU" in text
    assert "none of these questions" in text
    assert "not asked" not in text
    assert "left out, such as" not in text
    part = run["parts"][0]
    part["runs"][0]["not_asked"] = 3
    part["written"][0] |= {"left_out": 1, "examples": ["first: My hat is"]}
    text = "\n".join(transfer.section([run]))
    assert "3 questions to tables with more names than fit a question are not asked" in text
    assert "1 of 12 facts were left out, such as 'first: My hat is'" in text
    found = claims.claims(run)
    assert not found[0]["held"]
    assert len(found) >= 9


def test_parts_can_be_chosen_and_what_never_ends_is_wrong(data, adapter, monkeypatch):
    scripted(monkeypatch, lambda question, table: "Tuesday", failing=["Gym is on"])
    asked = setting(data, "--adapter", str(adapter), "--parts", "paraphrases", "--names", "never")
    run = described(transfer.run(asked))
    (part,) = run["parts"]
    counts = part["runs"][0]["kinds"][paraphrases.PARAPHRASE]
    assert (counts["right"], counts["asked"], counts["no_end"]) == (1, 2, 1)
    assert part["runs"][0]["wrong"][0]["said"] is None
    found = {one["promise"]: one["held"] for one in claims.claims(run)}
    assert found['Paraphrases: at least 85% exact (names="never")'] is False
    assert "50.0% (1 of 2)" in "\n".join(transfer.section([run]))


def test_a_question_gets_the_answer_that_was_given_to_it(data, adapter, monkeypatch):
    scripted(monkeypatch, lambda question, table: f"{question} {table and table.owner}")
    asked = setting(data, "--batch", "2")
    questions = [
        Question("a", "A long question?", "", "b"),
        Question("a", "Short?", "", None),
        Question("a", "In between?", "", "a"),
    ]
    with adapted(asked, adapter), memories(asked):
        written = asking.write(asked, Part({"a": [("Ann is", "1")], "b": [("Bob is", "2")]}, []))
        found = asking.ask(asked, questions, written.tables, "unknown")
    assert [one.text for one in found] == ["A long question? b", "Short? None", "In between? a"]
    assert (written.facts, written.left_out) == (2, [])


def test_the_real_answer_takes_what_is_asked(data, adapter, monkeypatch):
    monkeypatch.setattr(asking, "answer", functools.partial(asking.answer, max_new_tokens=3))
    asked = setting(data)
    names: NamesShown
    with adapted(asked, adapter), memories(asked):
        facts = {"few": [("Ann is", "1")], "many": [(f"The {n} is", "1") for n in range(41)]}
        written = asking.write(asked, Part(facts, []))
        questions = [Question("a", "Ann?", "1", name) for name in ("few", "many", None)]
        for names, count in (("unknown", 3), ("always", 2)):
            able = asking.askable(questions, written.tables, names)
            assert len(able) == count
            assert len(asking.ask(asked, able, written.tables, names)) == count


def test_without_a_skill_nothing_is_measured(data, tmp_path):
    with pytest.raises(SystemExit, match="no skill in"):
        transfer.run(setting(data, "--adapter", str(tmp_path / "none")))


def test_the_section_is_made_of_no_runs_too():
    assert transfer.section([])[0].startswith("## How far")


# Claims


def results(right, left_out=0, names=("unknown",), **kinds):
    """Return results of 100 questions of each claimed kind; controls are wrong."""
    parts = {
        "unseen": [unseen.TEMPLATE, unseen.SYNONYM, unseen.ABSENT + unseen.TEMPLATE],
        "families": [people.DIRECT, people.INDIRECT],
        "chains": [chains.CHAIN],
        "paraphrases": [paraphrases.PARAPHRASE],
    }
    controls = {
        chains.controlled(chains.CHAIN, one): (kinds.get("control", 0), 100)
        for one in (chains.FIRST_ONLY, chains.SECOND_ONLY)
    }
    made = []
    for name, theirs in parts.items():
        runs = [
            run_of(
                {kind: (share, 100) for kind in theirs} | (controls if name == "chains" else {}),
                names=one,
            )
            for one in names
            for share in right
        ]
        prior = {people.INDIRECT: (kinds.get("prior", 20), 100)} if name == "families" else {}
        written = [{"adapter": "x", "facts": 50, "left_out": left_out}]
        made.append({"name": name, "runs": runs, "prior": prior, "written": written})
    return {"names": list(names), "parts": made}


def missed(found):
    return [one["promise"] for one in claims.claims(found) if not one["held"]]


def test_claims_are_held_or_not():
    held = claims.claims(results([100]))
    assert len(held) == 10
    assert all(one["held"] for one in held)
    assert missed(results([97])) == [
        'Held-out attributes that the table lacks, "I don\'t know.": at least 98% exact'
    ]
    assert len(missed(results([79]))) == 6
    assert missed(results([100], left_out=1)) == ["Every fact is recalled when it is written"]
    controls = missed(results([100], control=11))
    assert [one.partition(":")[0] for one in controls] == [
        "True chains, first fact only",
        "True chains, second fact only",
    ]


def test_indirect_questions_are_held_against_the_prior():
    assert missed(results([100], prior=85)) == []
    (text,) = missed(results([100], prior=86))
    assert "prior of 86.0%" in text


def test_claims_are_over_the_mean_of_the_adapters_and_one_setting():
    assert missed(results([96, 100])) == []
    assert missed(results([95, 100])) != []
    shown = {one["promise"]: one["found"] for one in claims.claims(results([95, 100]))}
    text = shown["True chains: at least 80% exact"]
    assert text == "mean 97.5%: 95.0% (95 of 100); 100.0% (100 of 100)"
    both = results([100], names=("never", "unknown"))
    assert all("names=" not in one["promise"] for one in claims.claims(both))
    never = claims.claims(results([100], names=("never", "always")))
    assert sum('names="never"' in one["promise"] for one in never) == 9

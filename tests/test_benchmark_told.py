"""Promises of what is told in one wording and asked in another; no test is trained."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.skill import told
from benchmarks.skill.values import KINDS
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

TEST_SET = Path(__file__).parents[2] / "shared/data/user_as_engram/paraphrase_16x4.json"


@pytest.fixture(scope="module")
def made():
    return told.episodes(told.groups(), 8000, 0)


def test_there_are_many_groups_of_many_wordings():
    things = Counter(group.thing for group in told.groups())
    assert things.pop("") >= 130
    assert things.total() >= 90
    assert set(things) == set(told.THINGS)
    assert len(things) >= 8
    for group in told.groups():
        assert group.kind in KINDS
        assert len(group.triggers) >= 5
        assert len(group.questions) >= 5
        assert len(group.unfinished) >= 3
        assert all(form == " ".join(form.split()) for form in group.forms)
        assert all(form.endswith(("?", ".")) for form in group.questions)
        assert not any("?" in form for form in (*group.triggers, *group.unfinished))


def test_every_wording_is_about_a_thing_or_about_none():
    for group in told.groups():
        assert {form.count("{name}") for form in group.forms} == {1 if group.thing else 0}


def test_no_wording_is_that_of_two_groups():
    forms = Counter(
        (group.thing, form.casefold()) for group in told.groups() for form in group.forms
    )
    assert [form for form, count in forms.items() if count > 1] == []


def test_what_is_needed_is_in_the_table_unless_unknown(made):
    for episode in made:
        (trigger,) = episode.needed
        if episode.answer == UNKNOWN_ANSWER:
            assert episode.value(trigger) is None
            assert episode.value(episode.question) is None
        else:
            assert episode.value(trigger) == episode.answer.removeprefix("Dr. ")
        assert not episode.working


def test_who_is_asked_for_by_a_title_is_named_without_it(made):
    titled = [one for one in made if one.needed[0].endswith(" Dr.")]
    known = [one for one in titled if one.answer != UNKNOWN_ANSWER]
    assert known
    for episode in known:
        assert episode.answer.startswith("Dr. ") != episode.question.endswith(" Dr.")


def test_a_question_does_not_say_its_answer(made):
    for episode in made:
        assert episode.answer.casefold() not in episode.question.casefold()


def test_the_shares_are_as_said(made):
    known = [episode for episode in made if episode.answer != UNKNOWN_ANSWER]
    assert abs(1 - len(known) / len(made) - told.UNKNOWN) < 0.02
    verbatim = sum(episode.value(episode.question) is not None for episode in known)
    assert abs(verbatim / len(known) - told.VERBATIM) < 0.02
    rephrased = sum(bool(fact.paraphrases) for episode in known for fact in episode.facts)
    assert abs(rephrased / len(known) - told.REPHRASED) < 0.03
    least, most = told.OTHERS[0], max(told.OTHERS[1])
    assert all(least <= len(episode.facts) <= most + 1 for episode in known)


def test_what_is_asked_verbatim_is_recited_verbatim(made):
    for episode in made:
        if episode.value(episode.question) is not None:
            assert episode.needed == (episode.question,)


def test_half_of_the_tables_with_things_say_more_of_the_same_or_the_same_of_others():
    things = [group for group in told.groups() if group.thing == "ship"]
    others = [group for group in told.groups() if group.thing != "ship"]
    rivals = 0
    known = [*things, *others]
    made = [one for one in told.episodes(known, 3000, 0) if "MS " in one.needed[0]]
    for episode in made:
        rivals += sum("MS " in fact.prompt for fact in episode.facts) > 1
    assert made
    assert rivals > 0.6 * len(made)


def test_every_wording_is_asked_and_every_trigger_told():
    plain = [group for group in told.groups() if not group.thing]
    made = told.episodes(plain, sum(len(group.forms) for group in plain) * 2, 0)
    led = r"(?<=\?) (At|In|On)$| Dr\.$"
    questions = {re.sub(led, "", one.question) for one in made}
    assert questions == {form for group in plain for form in group.forms}
    assert {fact.prompt.removesuffix(" Dr.") for one in made for fact in one.facts} == {
        form for group in plain for form in group.triggers
    }


def test_held_out_groups_are_not_trained():
    known, held_out = told.split()
    assert told.split() == (known, held_out)
    assert sorted(map(str, (*known, *held_out))) == sorted(map(str, told.groups()))
    assert len(held_out) == -(-len(told.groups()) // told.HELD_OUT)
    assert {bool(group.thing) for group in held_out} == {True, False}
    forms = {form for group in held_out if not group.thing for form in group.forms}
    for episode in told.episodes(known, 3000, 0):
        said = {episode.question, *episode.needed}
        said |= {prompt for fact in episode.facts for prompt in fact.prompts}
        assert not {one.removesuffix(" Dr.") for one in said} & forms


def test_nothing_is_told_twice_in_a_table(made):
    owners = {form: group for group in told.groups() if not group.thing for form in group.triggers}
    for episode in made:
        said = [owners[fact.prompt] for fact in episode.facts if fact.prompt in owners]
        assert len(said) == len(set(said))


def test_an_article_fits_the_value(made):
    for episode in made:
        for fact in episode.facts:
            assert not (fact.prompt.endswith(" a") and fact.answer[0] in "AEIOUaeiou")


def test_the_same_seed_makes_the_same_episodes():
    assert told.episodes(told.groups(), 200, 1) == told.episodes(told.groups(), 200, 1)
    assert told.episodes(told.groups(), 200, 1) != told.episodes(told.groups(), 200, 2)


@pytest.mark.parametrize(
    ("form", "name", "said"),
    [
        ("{name}'s roof is", "Rowan House", "Rowan House's roof is"),
        ("{name}'s roof is", "Elm Works", "Elm Works' roof is"),
        ("Who wrote {name}?", "The Tin Bell", "Who wrote The Tin Bell?"),
    ],
)
def test_a_wording_is_filled_with_a_name(form, name, said):
    assert told.filled(form, name) == said


@pytest.mark.skipif(not TEST_SET.exists(), reason="the test set is not here")
def test_nothing_of_the_test_set_is_trained():
    items = json.loads(TEST_SET.read_text())
    tests = {_plain(text) for item in items for text in (item["prompt"], *item["paraphrases"])}
    assert len(tests) == 5 * len(items)
    for group in told.groups():
        for form in group.forms:
            trained = _plain(told.filled(form, "Globex"))
            for text in tests:
                assert trained != text
                assert f" {text} " not in f" {trained} ", (text, trained)


def test_no_word_of_the_test_set_is_in_a_wording():
    words = (
        "globex headquarters hq ceo emeritus mascot fiscal spice pet gym instrument physician gp"
    )
    for group in told.groups():
        for form in group.forms:
            assert not set(words.split()) & set(re.findall(r"\w+", form.casefold())), form
            for phrase in ("office hours", "support extension", "all-hands", "support email"):
                assert phrase not in form.casefold()


def _plain(text):
    return text.casefold().replace("globex's", "globex").strip(" .?:")

"""Promises of the skill's training data: what it says is true, and can be read off the table."""

from __future__ import annotations

import datetime
import random
import re

import pytest

from benchmarks.skill import direct, drills, people, personal
from engram_transformers.facts import as_facts
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

SUM = re.compile(r"(?<![\d:])(\d+) ([+x]) (\d+) = (\d+)")
CLOCK = re.compile(r"(\d\d:\d\d) ([+-]) (\d+) = (\d\d:\d\d)")
COUNTED = re.compile(r"From (\d+): ([^.]*)\.")


@pytest.fixture(scope="module")
def questions():
    lot = random.Random(0)
    persons = [people.person(lot) for _ in range(300)]
    return [(values, one) for values in persons for one in personal.indirect(values, lot)]


def test_all_working_is_right(questions):
    seen = 0
    for _, one in questions:
        for first, sign, second, result in SUM.findall(one.working):
            found = int(first) + int(second) if sign == "+" else int(first) * int(second)
            assert found == int(result), one
            seen += 1
        for start, sign, minutes, end in CLOCK.findall(one.working):
            moved = datetime.timedelta(minutes=int(minutes) * (1 if sign == "+" else -1))
            assert (datetime.datetime.strptime(start, "%H:%M") + moved).strftime("%H:%M") == end
            seen += 1
        for start, counted in COUNTED.findall(one.working):
            pairs = [tuple(map(int, pair.split())) for pair in counted.split(", ")]
            assert pairs == [(int(start) + n, n) for n in range(1, len(pairs) + 1)]
            seen += 1
    assert seen > 3000


def test_ages_and_differences_follow_from_the_facts(questions):
    asked = {"AGE": 0, "MULTI": 0, "COMMUTE": 0, "COMPARE": 0}
    for values, one in questions:
        numbers = [int(values[key]) for key in one.needed if key.endswith("year")]
        if one.schema == "AGE":
            assert int(one.answer) == personal.NOW - numbers[0]
        elif one.schema == "MULTI" and "year(s)" in one.answer:
            assert f" {abs(numbers[0] - numbers[1])} year(s)" in f" {one.answer}"
        elif one.schema == "COMPARE" and one.answer != "same age":
            assert str(min(numbers)) in one.working.split("earliest is")[1]
        elif one.schema == "COMMUTE" and "round-trip commute" in one.question:
            assert int(one.answer) == 2 * int(values["commute_min"])
        else:
            continue
        asked[one.schema] += 1
    assert all(asked.values())


def test_what_is_needed_is_in_the_table(questions):
    for values, one in questions:
        episode = personal.episode(values, one)
        assert all(episode.value(trigger) is not None for trigger in episode.needed)


def test_every_schema_of_the_data_is_asked(questions):
    assert {one.schema for _, one in questions} == {
        *("AGE", "COMPARE", "DAY_SET", "ROUTINE", "ALLERGY", "COMMUTE", "POLICY", "MULTI")
    }
    answers = {one.answer for _, one in questions if one.schema == "DAY_SET"}
    assert answers == {"Yes", "No"}


def test_drills_are_right_and_of_all_kinds():
    made = drills.episodes(600, 0)
    assert made == drills.episodes(600, 0)
    sums = 0
    for one in made:
        assert not one.needed
        assert not as_facts(one.facts)
        for first, sign, second, result in SUM.findall(one.working):
            found = int(first) + int(second) if sign == "+" else int(first) * int(second)
            assert found == int(result), one
            sums += 1
    assert sums > 400
    assert len({one.question for one in made}) > 500


def test_direct_questions_are_answered_by_the_table_or_unknown():
    known, held_out = direct.split()
    assert not {one.key for one in known} & {one.key for one in held_out}
    made = direct.episodes(known, 2000, 0)
    unknown = 0
    for episode in made:
        (trigger,) = episode.needed
        if episode.answer == UNKNOWN_ANSWER:
            assert episode.value(trigger) is None
            unknown += 1
        else:
            assert episode.value(trigger) == episode.answer
    assert 0.08 < unknown / len(made) < 0.16
    assert made == direct.episodes(known, 2000, 0)


def test_half_of_the_direct_questions_are_in_american_spelling():
    known, _ = direct.split()
    texts = [f"{one.question} {one.needed[0]}" for one in direct.episodes(known, 3000, 0)]
    british = sum("favourite" in text for text in texts)
    american = sum("favorite" in text for text in texts)
    assert british > 20
    assert american > 20
    assert not any("favourite" in text and "favorite" in text for text in texts)
    assert not any("maximom" in text for text in texts)

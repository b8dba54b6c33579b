"""Promises of the families: their working is right, and those held out stay out."""

from __future__ import annotations

import datetime
import random
import re
from collections import Counter

import pytest

from benchmarks.skill import families, moves
from benchmarks.skill.families import asking
from engram_transformers import recall_key
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

SUM = re.compile(r"(?<![\d:])(\d+) ([+x]) (\d+) = (\d+)")
CLOCK = re.compile(r"(\d\d:\d\d) ([+-]) (\d+) = (\d\d:\d\d)")
SPAN = re.compile(r"(\d\d:\d\d) to (\d\d:\d\d) is (?:\d+ x 60 = )?(\d+)")
GAP = re.compile(r"from (\d+) to (\d+) is (\d+)", re.IGNORECASE)
HALF = re.compile(r"half of (\d+) is (\d+)")
MOST = 0.8


@pytest.fixture(scope="module")
def made():
    return families.episodes(families.families(), 12000, 0)


@pytest.fixture(scope="module")
def solved():
    """(question, somebody's values, solution) of many people."""
    lot = random.Random(0)
    found = []
    for family in families.families():
        for one in family.around:
            for _ in range(60):
                values = family.person(lot) | {"now": str(lot.choice((2026, 2030)))}
                found.append((one, values, one.solver.solve(values, lot)))
    return found


def test_all_arithmetic_is_right(solved):
    seen = Counter()
    for _, _, (working, _) in solved:
        for first, sign, second, result in SUM.findall(working):
            found = int(first) + int(second) if sign == "+" else int(first) * int(second)
            assert found == int(result), working
            seen["sum"] += 1
        for start, sign, minutes, end in CLOCK.findall(working):
            moved = datetime.timedelta(minutes=int(minutes) * (1 if sign == "+" else -1))
            assert (datetime.datetime.strptime(start, "%H:%M") + moved).strftime("%H:%M") == end
            seen["clock"] += 1
        for start, end, minutes in SPAN.findall(working):
            assert moves.minutes_of(end) - moves.minutes_of(start) == int(minutes), working
            seen["span"] += 1
        for low, high, gap in GAP.findall(working):
            assert int(high) - int(low) == int(gap), working
            seen["gap"] += 1
        for whole, part in HALF.findall(working):
            assert int(whole) == 2 * int(part), working
            seen["half"] += 1
    assert all(seen[kind] > 100 for kind in ("sum", "clock", "span", "gap", "half"))


def test_the_answer_is_what_the_working_ends_with(solved):
    for one, _, (working, said) in solved:
        if "n" in said:
            assert re.findall(r"\d+", working)[-1] == said["n"], (one, working)
        elif "spelled" in said:
            assert working.endswith(f"{said['spelled']}.")
        elif re.fullmatch(r"\d\d:\d\d", said.get("it", "")):
            assert working.endswith(f"{said['it']}."), working


def test_results_follow_from_the_facts(solved):
    for one, values, (_, said) in solved:
        numbers = [re.search(r"\d+", values[name]) for name in one.solver.needs]
        asked = next(iter(one.asked.values()))[0]
        if "{now}" in asked and len(numbers) == 1 and "{more}" not in asked:
            assert int(said["n"]) == int(values["now"]) - int(numbers[0][0])
        if "left" in one.solver.solve.__qualname__.split(".")[0] and "x" not in said:
            whole, *parts = (int(number[0]) for number in numbers)
            assert int(said["n"]) == whole - sum(parts)


def test_needed_triggers_are_facts_unless_the_answer_is_unknown(made):
    unknown = 0
    for episode in made:
        *before, last = episode.needed
        assert all(episode.value(trigger) is not None for trigger in before)
        if episode.answer == UNKNOWN_ANSWER:
            assert episode.value(last) is None
            assert not episode.working
            unknown += 1
        else:
            assert episode.value(last) is not None
    assert 0.09 < unknown / len(made) < 0.15


def test_some_unknown_facts_are_somebody_elses(made):
    others = tuple(f"My {owner} " for owner in asking.OTHERS)
    near = [
        episode
        for episode in made
        if episode.answer == UNKNOWN_ANSWER
        and any(fact.prompt.startswith(others) for fact in episode.facts)
    ]
    assert len(near) > 0.03 * len(made)


def test_every_wording_is_reached():
    for family in families.families():
        direct, around = asking.forms(family)
        for deck in (direct, around):
            dealt = asking._dealt(deck, random.Random(0))
            seen = {next(dealt).question for _ in deck}
            assert seen == {form.question for form in deck}


def test_families_are_large_and_diverse():
    assert len(families.training()) >= 14
    assert len(families.held_out()) == 2
    for family in families.families():
        assert 12 <= len(family.facts) <= 20
        assert len(family.around) >= 10
        assert {need for one in family.around for need in one.solver.needs} <= {
            fact.name for fact in family.facts
        }
        for fact in family.facts:
            assert len(fact.asked) >= 3
            assert any(fact.name.lower() not in question.lower() for question in fact.asked)
        for one in family.around:
            assert sum(map(len, one.asked.values())) >= 4, one.asked


def test_held_out_families_do_not_occur_in_training():
    names = {family.name for family in families.training()}
    assert not names & {family.name for family in families.held_out()}
    asked = {
        form.question
        for family in families.training()
        for deck in asking.forms(family)
        for form in deck
    }
    for family in families.held_out():
        shared = [f.question for deck in asking.forms(family) for f in deck if f.question in asked]
        assert len(shared) <= 2, shared


def test_the_same_seed_makes_the_same_episodes():
    chosen = families.training()
    assert families.episodes(chosen, 300, 3) == families.episodes(chosen, 300, 3)
    assert families.episodes(chosen, 300, 3) != families.episodes(chosen, 300, 4)


def test_tables_hold_most_of_somebodys_facts(made):
    least = min(len(family.facts) for family in families.families()) * asking.LEAST
    assert min(len(episode.facts) for episode in made) >= int(least) - 1


def test_most_traces_are_short(made):
    def words(episode):
        said = [f"{trigger} {episode.value(trigger)}" for trigger in episode.needed]
        return len(" ".join([*said, episode.working, episode.answer]).split())

    lengths = sorted(map(words, made))
    assert lengths[int(0.97 * len(lengths))] < 70
    assert lengths[-1] < 110


def test_answers_are_spread(solved):
    answers = {}
    for one, _, (_, said) in solved:
        if not one.is_constant:
            form, questions = next(iter(one.asked.items()))
            answers.setdefault(questions[0], Counter())[form.format(**said)] += 1
    for question, counts in answers.items():
        assert counts.most_common(1)[0][1] < MOST * counts.total(), (question, counts)


def test_questions_leave_no_braces(made):
    assert not any(brace in f"{e.question}{e.answer}{e.working}" for e in made for brace in "{}")
    assert recall_key("birth year") in {trigger for e in made for trigger in e.needed}


def test_moves_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match="more than"):
        moves.gap(5, 3)
    with pytest.raises(ValueError, match="is before"):
        moves.duration("10:00", "09:00")
    with pytest.raises(ValueError, match="not even"):
        moves.half(7)

"""Promises of the chains: the second trigger is read off the first row, and no test is trained."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks.skill import chains
from benchmarks.skill.chain_texts import GROUPS
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

TEST_SET = Path(__file__).parents[2] / "shared/data/user_as_engram/multihop_chains.json"


@pytest.fixture(scope="module")
def made():
    return chains.episodes(6000, 0)


def test_the_second_trigger_names_what_the_first_row_says(made):
    for episode in made:
        if episode.answer == UNKNOWN_ANSWER:
            assert episode.value(episode.needed[-1]) is None
            assert all(episode.value(trigger) for trigger in episode.needed[:-1])
        else:
            first, second = episode.needed
            assert episode.value(first).lower() in second.lower()
            assert episode.value(second) == episode.answer
        assert not episode.working


def test_a_tenth_or_so_is_unknown(made):
    unknown = sum(episode.answer == UNKNOWN_ANSWER for episode in made) / len(made)
    assert 0.09 < unknown < 0.15


def test_others_have_the_same_predicate(made):
    predicates = [one.form.split("{e}")[1] for group in GROUPS for one in group.predicates]
    rivals = 0
    for episode in made:
        ending = next((p for p in predicates if p and episode.needed[-1].endswith(p)), None)
        same = [fact for fact in episode.facts if ending and fact.prompt.endswith(ending)]
        rivals += len(same) > 1
    assert rivals > 0.4 * len(made)


def test_there_are_many_predicates_and_wordings(made):
    predicates = [one for group in GROUPS for one in group.predicates]
    assert len({one.form for one in predicates}) >= 40
    assert all(len(one.asked) >= 5 for one in predicates)
    assert len({one.question for one in made}) > len(chains.forms())


def test_the_same_seed_makes_the_same_episodes():
    assert chains.episodes(200, 1) == chains.episodes(200, 1)
    assert chains.episodes(200, 1) != chains.episodes(200, 2)


@pytest.mark.skipif(not TEST_SET.exists(), reason="the test set is not here")
def test_nothing_of_the_test_set_is_trained(made):
    items = json.loads(TEST_SET.read_text())["items"]
    queries = {item["query"].lower() for item in items}
    assert not queries & {episode.question.lower().rstrip("?. ") for episode in made}
    held_out = {_predicates(item) for item in items}
    for form in chains.forms():
        said = form.predicate.form.lower()
        asked = re.sub(r"\W+$", "", form.question.lower())
        for trigger, question in held_out:
            assert not (said.endswith(trigger) and asked.endswith(question)), form


def _predicates(item):
    """What the second trigger and the query say of the entity."""
    (first, entity), (second, _) = item["facts"]
    trigger = re.split(re.escape(entity.strip()), second, maxsplit=1, flags=re.IGNORECASE)[1]
    query = item["query"]
    shared = re.match(r"My [\w ]+?(?='s | works| grows| eats| is | comes)|I live", query)
    asked = query[shared.end() :] if shared else query
    assert first
    return trigger.lower().lstrip("'s ").strip(), asked.lower().removeprefix("'s").strip()

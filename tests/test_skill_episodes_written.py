"""Promises of writing episodes: what passes is kept, what does not is rejected with its reason."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_transformers import Episode, Fact, named_fact, recall_key
from engram_transformers.errors import (
    ConfigError,
    ContradictionError,
    FactError,
    NoEpisodesError,
    TeacherError,
)
from engram_transformers.skill.replies import Draft, read_reply
from engram_transformers.skill.writing_episodes import KINDS, write_episodes

KEY = recall_key("birth year")
FACTS = [named_fact("birth year", "1993", aliases="year of birth"), named_fact("city", "Ghent")]
AGE = {
    "question": "How old am I in 2026?",
    "needed": [KEY],
    "working": "2026 - 1993 = 33.",
    "answer": "33",
}
CITY = {"question": "Where do I live?", "needed": ["My city is"], "answer": "Ghent"}
WRONG = {**AGE, "answer": "34"}
UNKNOWN = {
    "question": "Who cuts my hair?",
    "needed": ["My hairdresser is"],
    "answer": "I don’t know",
}


class Scripted:
    """A teacher that says what it is given, and keeps what it was asked."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.asked = []

    def __call__(self, messages):
        self.asked.append(messages)
        reply = self.replies[(len(self.asked) - 1) % len(self.replies)]
        if isinstance(reply, Exception):
            raise reply
        return reply


def lines(*objects):
    return "\n".join(map(json.dumps, objects))


def test_what_passes_is_kept_and_the_rest_has_reasons():
    written = write_episodes(FACTS, Scripted(lines(AGE, WRONG, CITY, UNKNOWN)), count=4, attempts=1)
    age, city, unknown = written.episodes
    assert age == Episode(FACTS, AGE["question"], "33", KEY, AGE["working"])
    assert (city.answer, city.working) == ("Ghent", "")
    assert (unknown.answer, unknown.needed) == ("I don't know.", ("My hairdresser is",))
    assert written.reasons == {"the question was asked before": 1}
    assert written.rejected[0].text == json.dumps(WRONG)


def test_what_is_wrong_is_rejected_with_its_text():
    text, reason = write_episodes(FACTS, Scripted(lines(WRONG, CITY)), count=1).rejected[0]
    assert text == json.dumps(WRONG)
    assert reason == "answer does not follow: it says '34', and the working comes to 33"


def test_triggers_are_taken_as_the_table_has_them():
    asked = {**AGE, "needed": "my YEAR  of birth is"}
    (episode,) = write_episodes(FACTS, Scripted(lines(asked)), count=1).episodes
    assert episode.needed == ("My year of birth is",)
    assert episode.value(episode.needed[0]) == "1993"


def test_a_question_is_taken_once():
    again = {**AGE, "question": "how old am I in 2026 ?"}
    written = write_episodes(FACTS, Scripted(lines(AGE, again)), count=2)
    assert len(written.episodes) == 1
    assert set(written.reasons) == {"the question was asked before"}


def test_the_teacher_is_asked_for_what_is_missing():
    teacher = Scripted(lines(AGE, WRONG), "Sorry.", lines(CITY, UNKNOWN))
    written = write_episodes(FACTS, teacher, count=2)
    assert [one.answer for one in written.episodes] == ["33", "Ghent"]
    texts = [messages[0]["content"] for messages in teacher.asked]
    assert all(f"Write {one} questions" in text for one, text in zip((2, 1, 1), texts, strict=True))
    assert [AGE["question"] in text for text in texts] == [False, True, True]
    assert all(message["role"] == "user" for messages in teacher.asked for message in messages)


def test_a_request_has_the_facts_the_kinds_and_the_rules():
    teacher = Scripted(lines(AGE))
    write_episodes(FACTS, teacher, count=1)
    (text,) = (messages[0]["content"] for messages in teacher.asked)
    for part in ('"My birth year is": "1993"', '"My city is": "Ghent"', *KINDS, "I don't know."):
        assert part in text


def test_the_seed_decides_the_order():
    facts = [named_fact(f"thing {number}", str(number)) for number in range(100)]
    asked = {"question": "What is the first?", "needed": ["My thing 1 is"], "answer": "1"}

    def said(seed):
        teacher = Scripted(lines(asked))
        write_episodes(facts, teacher, count=1, seed=seed)
        return teacher.asked

    assert said(0) == said(0) != said(1)
    assert said(0)[0][0]["content"].count('"My thing') == 40


def test_attempts_bound_how_often_the_teacher_is_asked():
    teacher = Scripted("Sorry.")
    with pytest.raises(NoEpisodesError, match="6 x the reply holds no JSON object") as caught:
        write_episodes(FACTS, teacher, count=9, attempts=3)
    assert len(teacher.asked) == 6
    assert caught.value.reasons == (("the reply holds no JSON object", 6),)
    assert caught.value.rejected[0].text == "Sorry."


def test_the_commonest_reasons_are_named_first():
    reply = lines(WRONG, {**WRONG, "answer": "35"}, {"question": "Where?"})
    expected = (
        r"(?s)rejected:\n- 2 x answer does not follow\n- 1 x a field is missing\nThe last one"
    )
    with pytest.raises(NoEpisodesError, match=expected):
        write_episodes(FACTS, Scripted(reply), count=1, attempts=1)


def test_failed_requests_are_made_again():
    failure = TeacherError("somebody", "HTTP status 500.", 500)
    written = write_episodes(FACTS, Scripted(failure, failure, lines(AGE)), count=1)
    assert len(written.episodes) == 1
    assert written.reasons == {"a request failed": 2}


def test_requests_that_fail_lose_nothing_that_was_written():
    failure = TeacherError("somebody", "HTTP status 500.", 500)
    teacher = Scripted(lines(AGE), failure, failure)
    written = write_episodes(FACTS, teacher, count=100, attempts=2)
    assert len(teacher.asked) == 3
    assert len(written.episodes) == 1
    assert written.rejected[-1] == ("", "a request failed: HTTP status 500.")
    teacher = Scripted(failure)
    with pytest.raises(TeacherError, match="somebody gave no text: HTTP status 500"):
        write_episodes(FACTS, teacher, count=100)
    assert len(teacher.asked) == 3


def test_only_failures_in_a_row_end_the_writing():
    failure = TeacherError("somebody", "HTTP status 500.", 500)
    teacher = Scripted(failure, lines(AGE), failure, lines(CITY))
    assert len(write_episodes(FACTS, teacher, count=9, attempts=2).episodes) == 2


def test_a_teacher_that_returns_no_text_is_named():
    with pytest.raises(TeacherError, match="it returned NoneType"):
        write_episodes(FACTS, Scripted(None), count=1)


@pytest.mark.parametrize("name", ["count", "attempts"])
def test_options_that_are_not_allowed_are_named(name):
    with pytest.raises(ConfigError, match=f"`{name}` is 0, but must be at least 1"):
        write_episodes(FACTS, Scripted(""), **{"count": 1, name: 0})


def test_facts_that_can_not_be_recited_are_refused():
    chat = Fact((("user", "Who am I?"),), "Ann")
    with pytest.raises(ConfigError, match="a trigger of text"):
        write_episodes([*FACTS, chat], Scripted(""), count=1)
    with pytest.raises(ConfigError, match="at least one"):
        write_episodes([], Scripted(""), count=1)
    with pytest.raises(FactError, match="where its value begins"):
        write_episodes("My city.", Scripted(""), count=1)
    with pytest.raises(ContradictionError, match="'1993' was given for the same trigger"):
        write_episodes([*FACTS, ("my birth year is", "1994")], Scripted(""), count=1)


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps(AGE),
        json.dumps([AGE]),
        json.dumps([AGE], indent=2),
        json.dumps({"episodes": [AGE]}),
        f"```json\n{json.dumps(AGE, indent=2)}\n```",
        f"As {{asked}}: {json.dumps(AGE)}",
        f"[{{'question': 'Who?'}}, {json.dumps(AGE)}]",
        f"Sure, here it is: {json.dumps(AGE)} I hope that it helps.",
        f'<think>Perhaps {{"question": "Who?"}}</think>\n{json.dumps(AGE)}',
        json.dumps({**AGE, "answer": 33, "kind": "arithmetic"}),
        json.dumps({**AGE, "question": " How old am I\nin 2026?"}),
    ],
)
def test_replies_are_read_in_many_forms(reply):
    (draft,) = (one for one in read_reply(reply) if isinstance(one, Draft))
    assert draft[1:] == (AGE["question"], "33", (KEY,), AGE["working"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the reply holds no JSON object"),
        ("{}", "a field is missing: question, answer, needed"),
        ('{"question": "Who?", "needed": [],}', "JSON has no comma before a closing"),
        ('{"needed": ["a",], "question": "Who?"}', "JSON has no comma before a closing"),
        ('{"question": "Who?', "it is not JSON .(Unterminated|Invalid control)"),
        ('{"question": "Who?", "question": "What?"}', "it is not JSON .a key is there twice"),
        ('{"question": NaN}', "it is not JSON .NaN is not JSON"),
        ('{"question": "\\ud800"}', "it is not JSON"),
        ('{"question": "\ud800"}', "it is not UTF-8"),
        ('{"a":' * 100_000, "it is (nested|not JSON)"),
        (json.dumps({**AGE, "needed": None}), "a field is wrong: needed is None"),
        (json.dumps({**AGE, "needed": [1]}), r"a field is wrong: needed is \[1\]"),
        (json.dumps({**AGE, "answer": True}), "a field is wrong: answer is True, not text"),
        (json.dumps({**AGE, "working": []}), r"a field is wrong: working is \[\], not text"),
        (json.dumps({**AGE, "question": " "}), "question or answer are empty"),
        (json.dumps({"episodes": [{}, 7]}), "a field is wrong: 7 is no object"),
    ],
)
def test_what_is_no_episode_is_rejected_and_the_rest_is_read(text, reason):
    for reply in (text, f"{text}\n{json.dumps(CITY)}"):
        *_, rejected = [one for one in read_reply(reply) if not isinstance(one, Draft)] or [None]
        if reply == text or text:
            assert rejected is not None
            assert re.search(reason, rejected.reason)
            assert len(rejected.text) <= 300
        if reply != text:
            assert [one.answer for one in read_reply(reply) if isinstance(one, Draft)] == ["Ghent"]


def test_an_empty_trigger_is_rejected():
    written = write_episodes(FACTS, Scripted(lines({**AGE, "needed": [""]}, CITY)), count=1)
    assert written.reasons == {"a needed trigger is empty.": 1}


@given(st.text('{}[]",:` \n\\aq', max_size=60) | st.text(max_size=30))
def test_any_reply_is_read(reply):
    assert read_reply(reply)

"""Promises of aliases: what a teacher proposes is taken where it can mean one fact only."""

from __future__ import annotations

import pytest

from engram_transformers import Fact, named_fact, with_aliases
from engram_transformers.errors import ConfigError, FactError, TeacherError

PHONE, DOG = named_fact("phone", "Pixel 9"), named_fact("dog", "Rufus")


def teacher(**replies):
    """Return a teacher that has one reply for each name, and what it was asked."""
    asked = []

    def reply(messages):
        text = messages[0]["content"]
        asked.append(text)
        return next(said for name, said in replies.items() if f'"My {name} is' in text)

    return reply, asked


def test_proposals_become_triggers_behind_those_that_a_fact_had():
    reply, asked = teacher(phone="mobile\nsmartphone", dog="hound")
    phone, dog = with_aliases([named_fact("phone", "Pixel 9", prompts="I call with a"), DOG], reply)
    assert phone.prompts == ("My phone is", "I call with a", "My mobile is", "My smartphone is")
    assert dog.prompts == ("My dog is", "My hound is")
    assert len(asked) == 2
    assert "dog" in asked[0]  # what it is not
    assert not any(value in text for text in asked for value in ("Pixel", "Rufus"))


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("- mobile", "mobile"),
        ("1. mobile phone.", "mobile phone"),
        ('2) "My mobile is ..."', "mobile"),
        ("* My mobile is", "mobile"),
        ("my mobile", "mobile"),
        ("  “mobile”,", "mobile"),
        ("", None),
        ("---", None),
        ("a thing that I take along to call somebody", None),
        ("Pixel 9", None),
        ("my Pixel 9 phone", None),
        ("phone", None),
        ("My phone is", None),
        ("<b>mobile</b>", None),
    ],
)
def test_a_line_gives_a_name_or_none(line, name):
    (found,) = with_aliases([PHONE], lambda messages: line)
    assert found.prompts[1:] == (() if name is None else (f"My {name} is",))


def test_what_could_mean_another_fact_is_left_out():
    reply, _ = teacher(phone="dog\ngadget\nhandset", dog="gadget\nRover", **{"home city": "town"})
    facts = [PHONE, DOG, named_fact("home city", "Ghent", aliases="Rover")]
    found = with_aliases(facts, reply)
    assert [fact.prompts[1:] for fact in found] == [
        ("My handset is",),
        (),
        ("My Rover is", "My town is"),
    ]


def test_no_more_are_taken_than_were_asked_for():
    (found,) = with_aliases(PHONE, lambda messages: "mobile\nhandset\ncell", count=2)
    assert found.prompts == ("My phone is", "My mobile is", "My handset is")


def test_facts_without_a_name_stay_as_they_are():
    facts = [Fact("I live in", "Ghent"), Fact([{"role": "user", "content": "Who?"}], "Ann")]
    assert with_aliases(facts, lambda messages: pytest.fail("asked")) == facts


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="count"):
        with_aliases(PHONE, lambda messages: "mobile", count=0)
    with pytest.raises(TeacherError, match="returned NoneType"):
        with_aliases(PHONE, lambda messages: None)
    with pytest.raises(FactError):
        with_aliases([3], lambda messages: "mobile")

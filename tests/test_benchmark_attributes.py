"""What the shared skill is trained on is varied, well formed, and apart from what tests ask."""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Iterable
from string import Formatter

import pytest

from benchmarks.skill import direct, personal, wordings
from benchmarks.skill.attributes import KINDS, Attribute, attributes, more_attributes, value

# What the evaluation asks for, in the words that it or others may use.
FORBIDDEN = (
    "name, full name, birth year, year of birth, home city, city, hometown, timezone, time zone,"
    " job, occupation, profession, employer, company, workplace, workdays, working days, work"
    " start time, commute, commute duration, commute time, pet, dog, pet's name, car, vehicle,"
    " car's model year, hobby, second hobby, pastime, favourite cuisine, cuisine, allergy,"
    " intolerance, spouse, partner, wife, husband, spouse's name, wife's name, husband's name,"
    " partner's name, spouse's birth year, child, daughter, son, child's name, daughter's name,"
    " son's name, child's birth year, sibling, sister, brother, sibling's name, sister's name,"
    " brother's name, sibling's birth year, weekly activity, gym day, gym days, rent, monthly"
    " rent, emergency contact, phone, phone number, mobile, smartphone, handset, phone model,"
    " doctor, physician, dentist, coffee order, coffee, running pace, pace, shoe size, favourite"
    " colour, favourite spice, spice, favorite color, favorite cuisine, favorite spice, main hobby,"
    " other hobby, primary doctor, usual coffee order, weekly activity days, work days"
).split(", ")
HELD_OUT = "4d13dcd723dcecb2b76e022f56c9f0dd0112bbedb2c80989d3a4090c67dd1874"
"""A digest of the keys that are held out, in their order: results are compared across versions."""
FEW_VALUES = {"weekday": 7, "weekdays": 50, "year": 150, "language": 90}
ALL_TEMPLATES = [*wordings.GENERAL, *(t for ts in wordings.BY_KIND.values() for t in ts)]


def content_words(key: str) -> set[str]:
    """Return the long words of a key, less whose it is."""
    found = re.findall(r"[\w'-]+", key.lower())
    return {word for word in found if len(word) >= 4 and not word.endswith(("'s", "s'"))}


def words(text: str) -> set[str]:
    """Return the words of a text, without endings."""
    found = re.findall(r"[\w'-]+", text.lower())
    return {form for word in found for form in (word, word.removesuffix("'s"), word.rstrip("s"))}


def names_of(some: Iterable[Attribute]) -> list[str]:
    return [name.casefold() for each in some for name in (each.key, *each.aliases)]


def without_key(attribute: Attribute) -> list[str]:
    taken = {form for word in content_words(attribute.key) for form in (word, word.rstrip("s"))}
    return [question for question in attribute.questions if not taken & words(question)]


def test_there_are_many_attributes_and_no_two_are_one():
    found = attributes()
    assert len(found) >= 380
    names = [name for each in found for name in (each.key, *each.aliases)]
    assert len(set(names)) == len(names)
    questions = [question for each in found for question in each.questions]
    assert len(set(questions)) == len(questions)


@pytest.mark.parametrize("attribute", attributes(), ids=lambda attribute: attribute.key)
def test_an_attribute_is_well_formed(attribute):
    assert attribute.key == attribute.key.lower()
    assert 1 <= len(attribute.key.split()) <= 4
    assert attribute.kind in KINDS
    assert 3 <= len(attribute.aliases) <= 6
    assert 4 <= len(attribute.questions) <= 8
    for text in (attribute.key, *attribute.aliases, *attribute.questions):
        assert text == text.strip()
        assert not re.search(r"[|#\t{}]|\s\s", text)
    assert all(question.endswith(("?", ".")) for question in attribute.questions)
    assert len(without_key(attribute)) * 2 >= len(attribute.questions)


@pytest.mark.parametrize("attribute", more_attributes(), ids=lambda attribute: attribute.key)
def test_one_more_attribute_is_well_formed(attribute):
    assert attribute.key == attribute.key.lower()
    assert 1 <= len(attribute.key.split()) <= 4
    assert attribute.kind in KINDS
    assert 3 <= len(attribute.aliases) <= 6
    assert 5 <= len(attribute.questions) <= 6
    for text in (attribute.key, *attribute.aliases, *attribute.questions):
        assert text == text.strip()
        assert not re.search(r"[|#\t{}]|\s\s", text)
    for name in attribute.aliases:
        # What can follow "my".
        assert not re.search(r"[.?!]$|^(the|an?|what|where|when|who|which|how) ", name)
        assert not re.search(r"\b(I|me|my|mine|we|our)\b", name)
    assert len(without_key(attribute)) * 2 >= len(attribute.questions)


def test_no_name_and_no_question_is_there_twice():
    everything = (*attributes(), *more_attributes())
    names = [*names_of(everything), *map(str.casefold, personal.NAMES.values())]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    questions = [question.casefold() for each in everything for question in each.questions]
    assert [question for question, count in Counter(questions).items() if count > 1] == []


def test_more_attributes_are_trained_and_the_held_out_ones_stay_as_they_are():
    trained, held_out = direct.split()
    keys = "\n".join(each.key for each in held_out)
    assert hashlib.sha256(keys.encode()).hexdigest() == HELD_OUT
    assert len(more_attributes()) >= 500
    assert set(more_attributes()) <= set(trained)
    assert {each.key for each in (*trained, *held_out)} == {
        each.key for each in (*attributes(), *more_attributes())
    }
    assert not set(names_of(held_out)) & set(names_of(more_attributes()))
    assert not {*FORBIDDEN} & set(names_of(more_attributes()))


def test_most_questions_avoid_the_words_of_the_key():
    asked = sum(len(each.questions) for each in attributes())
    assert sum(len(without_key(each)) for each in attributes()) * 2 >= asked


def test_nothing_that_the_evaluation_asks_is_trained():
    names = {name.lower() for each in attributes() for name in (each.key, *each.aliases)}
    assert not names & set(FORBIDDEN)


def test_many_belong_to_others_and_some_have_a_sibling():
    owned = [each.key for each in attributes() if re.search(r"(s'|'s) ", each.key)]
    assert len(owned) * 5 >= len(attributes())
    things = [re.split(r"(?:s'|'s) ", key, maxsplit=1)[1] for key in owned]
    assert sum(things.count(thing) > 1 for thing in things) >= 30


@pytest.mark.parametrize("kind", KINDS)
def test_values_vary(kind):
    rng = random.Random(0)
    made = [value(kind, rng) for _ in range(2000)]
    assert len(set(made)) >= FEW_VALUES.get(kind, 200)
    assert all(text == text.strip() and text and "\n" not in text for text in made)
    assert not any(text.endswith(".") for text in made)
    assert value(kind, random.Random(1)) == value(kind, random.Random(1))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="no kind 'smell'"):
        value("smell", random.Random(0))


def test_there_are_wordings_for_every_kind():
    assert set(wordings.BY_KIND) == set(KINDS)
    assert all(4 <= len(each) <= 10 for each in wordings.BY_KIND.values())
    assert len(wordings.GENERAL) >= 60
    assert len(wordings.HELD_OUT) == 20
    assert len(wordings.STATEMENTS) >= 20


def test_what_is_held_out_is_not_trained():
    def plain(text: str) -> str:
        return " ".join(re.findall(r"\w+", text.lower()))

    trained = [plain(text) for text in ALL_TEMPLATES]
    assert len(set(ALL_TEMPLATES)) == len(ALL_TEMPLATES)
    assert not {plain(text) for text in wordings.HELD_OUT} & set(trained)


def test_every_template_has_its_slots():
    def slots(text: str) -> list[str]:
        return sorted(name for _, name, _, _ in Formatter().parse(text) if name is not None)

    assert all(slots(text) == ["key"] for text in (*ALL_TEMPLATES, *wordings.HELD_OUT))
    assert all(slots(text) == ["key", "value"] for text in wordings.STATEMENTS)

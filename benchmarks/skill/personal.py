"""A person's facts, and questions that can only be answered around corners.

The formats of the questions and answers are those of "User as Engram"'s users (Apache-2.0,
19PINE-AI/user-as-engram `data/users`); people, facts and working are made here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.skill import people
from benchmarks.skill.moves import NOW, among, earliest, moved, years_apart, years_since
from benchmarks.skill.values import DAYS
from engram_transformers import Episode, Fact, named_fact, recall_key

NAMES = {
    "name": "full name",
    "birth_year": "birth year",
    "city": "home city",
    "timezone": "timezone",
    "job": "job",
    "employer": "employer",
    "workdays": "work days",
    "work_start": "work start time",
    "commute_min": "commute in minutes",
    "pet": "pet",
    "car": "car",
    "car_year": "car's model year",
    "hobby1": "main hobby",
    "hobby2": "other hobby",
    "cuisine": "favorite cuisine",
    "allergy": "allergy",
    "spouse_name": "spouse's name",
    "spouse_year": "spouse's birth year",
    "child_name": "child's name",
    "child_year": "child's birth year",
    "sibling_name": "sibling's name",
    "sibling_year": "sibling's birth year",
    "activity": "weekly activity",
    "activity_days": "weekly activity days",
    "rent": "monthly rent",
    "emergency_contact": "emergency contact",
    "ec_phone_last": "emergency contact's phone ending",
    "phone_model": "phone",
    "doctor": "primary doctor",
    "dentist": "dentist",
    "coffee": "usual coffee order",
    "running_pace": "running pace",
    "shoe_size": "shoe size",
    "color": "favorite color",
}
"""A fact's key in the data -> the name that it is recalled by."""

Values = dict[str, str]
"""A person's facts: key -> value, as text."""


class Indirect(NamedTuple):
    """A question around corners.

    Attributes:
        schema: What kind it is.
        question: The question.
        answer: The answer.
        needed: Keys of the facts that lead to it.
        working: How they do.
    """

    schema: str
    question: str
    answer: str
    needed: tuple[str, ...]
    working: str


def facts(values: Values) -> list[Fact]:
    """Return a person's facts, each under the name that it is recalled by."""
    return [named_fact(NAMES[key], value) for key, value in values.items() if key in NAMES]


def episode(values: Values, one: Indirect) -> Episode:
    """Return a question around corners as an episode."""
    triggers = tuple(recall_key(NAMES[key]) for key in one.needed)
    return Episode(facts(values), one.question, one.answer, triggers, one.working)


def episodes(count: int, seed: int) -> list[Episode]:
    """Return questions around corners of generated people."""
    lot = random.Random(seed)
    made: list[Episode] = []
    while len(made) < count:
        values = people.person(lot)
        made += [episode(values, one) for one in indirect(values, lot)]
    return made[:count]


def indirect(values: Values, lot: random.Random) -> Iterator[Indirect]:
    """Yield all questions of one person."""
    yield from _ages(values)
    yield from _comparisons(values)
    yield from _days(values, lot)
    yield from _allergy(values, lot)
    yield from _commute(values)
    yield from _contacts(values)
    yield from _differences(values)


def _ages(values: Values) -> Iterator[Indirect]:
    for key, asked in (
        ("birth_year", "am I"),
        ("spouse_year", "is my spouse"),
        ("child_year", "is my child"),
        ("sibling_year", "is my sibling"),
        ("car_year", "is my car"),
    ):
        if key in values:
            age = NOW - int(values[key])
            question = f"How old {asked} right now (it's {NOW})?"
            yield Indirect("AGE", question, str(age), (key,), years_since(int(values[key])).working)


def _comparisons(values: Values) -> Iterator[Indirect]:
    me = {"me": int(values["birth_year"])}
    spouse = {values["spouse_name"]: int(values["spouse_year"])}
    sibling = {values["sibling_name"]: int(values["sibling_year"])}
    my = ("birth_year",)
    names = {values["spouse_name"]: "spouse", values["sibling_name"]: "sibling"}
    theirs = ("spouse_name", "spouse_year"), ("sibling_name", "sibling_year")

    def asked(question: str, born: dict[str, int], needed: tuple[str, ...], own: str) -> Indirect:
        working, first = earliest(born)
        answer = f"{first} ({own}{names[first]})" if first in names else first or "same age"
        return Indirect("COMPARE", question, answer, needed, working)

    yield asked("Who is older, me or my spouse?", me | spouse, my + theirs[0], "my ")
    yield asked("Who is older, me or my sibling?", me | sibling, my + theirs[1], "my ")
    yield asked("Who is older, my spouse or my sibling?", spouse | sibling, sum(theirs, ()), "")
    everybody = me | spouse | sibling
    if len([year for year in everybody.values() if year == min(everybody.values())]) == 1:
        question = "Among me, my spouse, and my sibling, who was born earliest?"
        yield asked(question, everybody, my + sum(theirs, ()), "my ")


def _days(values: Values, lot: random.Random) -> Iterator[Indirect]:
    work = values["workdays"].split(", ")
    for day in ("Sunday", "Saturday"):
        working, answer = among(day, work)
        yield Indirect("DAY_SET", f"Do I work on {day}s?", answer, ("workdays",), working)
    activity, days = values["activity"], values["activity_days"].split(", ")
    both = ("activity", "activity_days")
    off = lot.choice([day for day in DAYS if day not in days])
    for day in (off, lot.choice(days)):
        working, answer = among(day, days)
        yield Indirect("DAY_SET", f"Do I have {activity} on {day}?", answer, both, working)
    day = lot.choice(days)
    question = f"What scheduled weekly activity do I have on {day}?"
    yield Indirect("ROUTINE", question, activity, both, among(day, days)[0])
    question = f"Which day(s) of the week do I do {activity}?"
    yield Indirect("ROUTINE", question, values["activity_days"], both, "")
    counted = ", ".join(f"{day} {number}" for number, day in enumerate(days, 1))
    question = f"How many days per week do I do {activity}?"
    yield Indirect("ROUTINE", question, str(len(days)), both, f"{counted}.")
    question = "What is my recurring weekly activity?"
    yield Indirect("ROUTINE", question, activity, ("activity",), "")


def _allergy(values: Values, lot: random.Random) -> Iterator[Indirect]:
    allergy = values["allergy"]
    others = [dish for name, dishes in people.DISHES.items() if name != allergy for dish in dishes]
    safe = [dish for dish in others if dish not in people.DISHES[allergy]]
    for dish in lot.sample(people.DISHES[allergy], 2):
        question = f"Is it safe for me to eat {dish}?"
        yield Indirect("ALLERGY", question, "No", ("allergy",), f"{dish} has {allergy}.")
    for dish in lot.sample(safe, 2):
        question = f"From the standpoint of my allergy alone, is {dish} safe for me?"
        yield Indirect("ALLERGY", question, "Yes", ("allergy",), f"{dish} has no {allergy}.")


def _commute(values: Values) -> Iterator[Indirect]:
    start, minutes = values["work_start"], int(values["commute_min"])
    both, there_and_back = ("work_start", "commute_min"), 2 * minutes
    early, late = moved(start, -minutes), moved(start, minutes)
    question = "If I want to arrive exactly at work start time, what time should I leave home?"
    yield Indirect("COMMUTE", question, early[1], both, early[0])
    question = "If I leave home exactly at my usual work start time, when will I arrive at work?"
    yield Indirect("COMMUTE", question, late[1], both, late[0])
    doubled = f"{minutes} + {minutes} = {there_and_back}."
    question = "What is my round-trip commute time in minutes?"
    yield Indirect("COMMUTE", question, str(there_and_back), ("commute_min",), doubled)
    days = len(values["workdays"].split(", "))
    weekly = days * there_and_back
    question = "How many minutes per week do I spend commuting (round-trip on work days only)?"
    counted = ", ".join(
        f"{day} {number}" for number, day in enumerate(values["workdays"].split(", "), 1)
    )
    working = f"{doubled} {counted}. {days} x {there_and_back} = {weekly}."
    yield Indirect("COMMUTE", question, str(weekly), ("commute_min", "workdays"), working)


def _contacts(values: Values) -> Iterator[Indirect]:
    for key, question in (
        ("emergency_contact", "If I'm unreachable, who should a caller contact instead?"),
        ("doctor", "Who should I call about a medical issue?"),
        ("dentist", "Who should I call about a dental issue?"),
        (
            "ec_phone_last",
            "What are the last four digits of my emergency contact's phone number?",
        ),
    ):
        yield Indirect("POLICY", question, values[key], (key,), "")


def _differences(values: Values) -> Iterator[Indirect]:
    me = int(values["birth_year"])
    for who in ("sibling", "spouse"):
        other = int(values[f"{who}_year"])
        working, said = years_apart(other, me)
        answer = f"{said} me" if said else "the same age as me"
        question = f"Is my {who} older or younger than me, and by how many years?"
        yield Indirect("MULTI", question, answer, ("birth_year", f"{who}_year"), working)
    sibling, spouse = int(values["sibling_year"]), int(values["spouse_year"])
    working, said = years_apart(sibling, spouse)
    answer = f"my sibling is {said} my spouse" if said else "the same age"
    question = "By how many years is my spouse older or younger than my sibling?"
    yield Indirect("MULTI", question, answer, ("spouse_year", "sibling_year"), working)
    age = NOW - me
    working = f"{years_since(me).working} {age} + 10 = {age + 10}."
    question = f"How old will I be 10 years from now (it's {NOW})?"
    yield Indirect("MULTI", question, str(age + 10), ("birth_year",), working)


def data_values(user: dict[str, Any]) -> Values:
    """Return a user of the data as values: what the direct questions are answered with."""
    return {one["key"]: str(one["answer"]) for one in user["direct_qa"]}

"""Episodes of families: who tells what, what is asked, and what the table lacks."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.skill.families.family import Around, Family, Told, Values
from benchmarks.skill.moves import NOW
from benchmarks.skill.wordings import GENERAL
from engram_transformers import Episode, Fact, named_fact, recall_key
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

DIRECT = 0.25
"""The share of questions that ask for a fact itself."""
GENERAL_DIRECT = 0.25
"""The share of these in a wording that fits all facts."""
UNKNOWN = 0.12
"""The share of questions for which the table lacks something."""
NEAR_MISS = 0.5
"""The share of these in which somebody else's fact of that name is there."""
DISTRACTED = 0.15
"""The share of answerable questions in which there is one, too."""
WHOLE = 0.5
"""The share of tables with all of somebody's facts; others have at least `LEAST` of them."""
LEAST = 0.6
OTHER_YEAR = 0.3
"""The share of questions with a year in which it is not `NOW`."""
OTHERS = "sister's,brother's,neighbour's,colleague's,friend's,cousin's,boss's,flatmate's".split(",")
_STYLED = 0.25
_OPENINGS = (
    "Quick question: {}",
    "Hey, {}",
    "Tell me: {}",
    "One more thing: {}",
    "Please help me out: {}",
    "Hi! {}",
    "Just checking: {}",
)
_NAMES = re.compile(r"(?:I|I'm|I've|I'd|I'll|[A-Z]{2,}\w*|(?:Mon|Tues|Wednes|Thurs|Fri|Sun)day)\b")


class Form(NamedTuple):
    """One wording of a question.

    Attributes:
        asked: What is asked: a fact, or around corners.
        question: The wording.
        answer: The form of its answer.
    """

    asked: Told | Around
    question: str
    answer: str


def forms(family: Family) -> tuple[list[Form], list[Form]]:
    """Return all wordings of the direct questions, and of those around corners."""
    direct = [Form(fact, question, "{it}") for fact in family.facts for question in fact.asked]
    around = [
        Form(one, question, answer)
        for one in family.around
        for answer, questions in one.asked.items()
        for question in questions
    ]
    return direct, around


def asked_of(family: Family, lot: random.Random) -> Iterator[Episode]:
    """Yield episodes without end, each of somebody else; all wordings come before one repeats."""
    direct, around = (_dealt(deck, lot) for deck in forms(family))
    while True:
        yield _episode(family, next(direct if lot.random() < DIRECT else around), lot)


def _dealt(deck: Sequence[Form], lot: random.Random) -> Iterator[Form]:
    while True:
        yield from lot.sample(deck, len(deck))


def _episode(family: Family, form: Form, lot: random.Random) -> Episode:
    values = family.person(lot)
    now = NOW if lot.random() >= OTHER_YEAR else NOW + lot.randint(1, 9)
    values["now"] = str(now if "{now}" in form.question else NOW)
    if isinstance(form.asked, Told):
        needs, working, answer = (form.asked.name,), "", values[form.asked.name]
        question = form.question
        if lot.random() < GENERAL_DIRECT:
            question = lot.choice(GENERAL).format(key=form.asked.name)
    else:
        needs = form.asked.solver.needs
        working, said = form.asked.solver.solve(values, lot)
        said = said | {"now": values["now"]}
        question, answer = form.question.format(**said), form.answer.format(**said)
        question = _styled(question, lot)
    table = _subset(values, needs, lot)
    if lot.random() < UNKNOWN:
        missing = lot.choice(needs)
        del table[missing]
        if lot.random() < NEAR_MISS:
            _add_near_miss(table, missing, family, lot)
        known = needs[: needs.index(missing) + 1]
        return _built(table, question, UNKNOWN_ANSWER, known, "", lot)
    if lot.random() < DISTRACTED:
        _add_near_miss(table, lot.choice(needs), family, lot)
    return _built(table, question, answer, needs, working, lot)


def _built(
    table: Values,
    question: str,
    answer: str,
    needs: Sequence[str],
    working: str,
    lot: random.Random,
) -> Episode:
    facts: list[Fact] = [named_fact(name, value) for name, value in table.items()]
    lot.shuffle(facts)
    return Episode(facts, question, answer, tuple(map(recall_key, needs)), working)


def _subset(values: Values, needs: Sequence[str], lot: random.Random) -> Values:
    """Leave out facts that are not needed, or none."""
    names = [name for name in values if name != "now"]
    if lot.random() < WHOLE:
        return {name: values[name] for name in names}
    size = lot.randint(max(round(LEAST * len(names)), len(needs)), len(names))
    spare = [name for name in names if name not in needs]
    kept = {*needs, *lot.sample(spare, min(size - len(needs), len(spare)))}
    return {name: values[name] for name in names if name in kept}


def _add_near_miss(table: Values, name: str, family: Family, lot: random.Random) -> None:
    """Add the fact of that name of somebody else: "sister's rent", or "neighbour's birth year"."""
    of_somebody = re.match(r"\w+'s ", name)
    bare = name[of_somebody.end() :] if of_somebody else name
    other = f"{lot.choice(OTHERS)} {bare}"
    if other not in table and other != name:
        table[other] = family.person(lot)[name]


def _styled(question: str, lot: random.Random) -> str:
    """Put something before a question, or write it as in a hurry."""
    if lot.random() >= _STYLED:
        return question
    if _NAMES.match(question) is None:
        question = f"{question[0].lower()}{question[1:]}"
    if lot.random() < 0.3:
        return question.rstrip("?.")
    opening = lot.choice(_OPENINGS)
    if opening.endswith("! {}"):
        question = f"{question[0].upper()}{question[1:]}"
    return opening.format(question)

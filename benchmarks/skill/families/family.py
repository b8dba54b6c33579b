"""What a family of facts and questions is made of."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

Values = dict[str, str]
"""Somebody's facts: name -> value; and under "now" the year that the question is asked in."""
Maker = Callable[[random.Random, Values], str]
"""Makes a value, given those made before it."""


class Solved(NamedTuple):
    """A question's solution.

    Attributes:
        working: How it is found.
        said: What fills the braces of the question and of the answer.
    """

    working: str
    said: dict[str, str]


class Solver(NamedTuple):
    """How a kind of question is solved.

    Attributes:
        needs: Names of the facts that are needed, in the order in which they are recited.
        solve: Solves it for somebody; what the question leaves open is drawn.
    """

    needs: tuple[str, ...]
    solve: Callable[[Values, random.Random], Solved]


class Told(NamedTuple):
    """A fact that people of a family tell.

    Attributes:
        name: What it is recalled by.
        make: Makes a value.
        asked: Questions for it.
    """

    name: str
    make: Maker
    asked: tuple[str, ...]


class Around(NamedTuple):
    """A question around corners.

    Attributes:
        solver: Solves it.
        asked: The form of an answer, as in "{n} years" -> the questions that are answered in it.
        is_constant: Whether nearly everybody's answer is the same one.
    """

    solver: Solver
    asked: Mapping[str, tuple[str, ...]]
    is_constant: bool = False


class Family(NamedTuple):
    """People who tell the same kinds of facts.

    Attributes:
        name: What they are.
        facts: What they tell.
        around: What can be asked around corners.
    """

    name: str
    facts: tuple[Told, ...]
    around: tuple[Around, ...]

    def person(self, lot: random.Random) -> Values:
        """Make up one of them."""
        values: Values = {}
        for fact in self.facts:
            values[fact.name] = fact.make(lot, values)
        return values


def told(name: str, make: Maker, asked: str) -> Told:
    """Return a fact with its questions, one a line."""
    return Told(name, make, _lines(asked))


def around(solver: Solver, *, constant: bool = False, **asked: str) -> Around:
    """Return a question: a short name of an answer's form -> the questions, one a line."""
    forms = {FORMS[form]: _lines(questions) for form, questions in asked.items()}
    return Around(solver, forms, constant)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


FORMS = {
    "n": "{n}",
    "it": "{it}",
    "time": "{it}",
    "yes": "{it}",
    "years": "{n} years",
    "years_old": "{n} years old",
    "minutes": "{n} minutes",
    "minute": "{n} min",
    "spelled": "{spelled}",
    "days": "{days}",
    "euros": "{n} euros",
    "pounds": "£{n}",
    "dollars": "${n}",
    "euro_sign": "€{n}",
    "kilometres": "{n} km",
    "litres": "{n} litres",
    "kilos": "{n} kg",
    "sentence": "{sentence}",
    "pieces": "{n} pieces",
    "points": "{n} points",
    "people": "{n} people",
    "hours": "{n} hours",
    "letter": "{it}",
}
"""A short name for an answer's form -> the form."""

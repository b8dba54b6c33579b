"""Users of the layered experiment: their facts, and what they are asked."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import read_data
from benchmarks.methods import KnownFact
from benchmarks.methods.forms import fact_line
from benchmarks.skill import people, personal
from engram_transformers import Fact

SOURCE = "data/users of github.com/19PINE-AI/user-as-engram (Apache-2.0)"
TEST = range(20)
"""Users that are asked."""
TRAINING = range(20, 30)
"""Users whose answers are known to the prior."""


class Asked(NamedTuple):
    """A question of a user.

    Attributes:
        uid: Whose.
        schema: Its kind; "" for a direct question.
        variant: Within the kind; for a direct question the fact's key.
        question: The question.
        answer: The right answer.
        needed: Keys of the facts that lead to it.
    """

    uid: str
    schema: str
    variant: str
    question: str
    answer: str
    needed: tuple[str, ...]


class User:
    """Somebody with facts.

    Attributes:
        uid: The name in the data.
        values: Facts: key -> value.
        indirect: Questions around corners.
        direct: A question for each fact.
    """

    def __init__(
        self,
        uid: str,
        values: Mapping[str, str],
        indirect: Sequence[Asked],
        direct: Sequence[Asked] = (),
    ) -> None:
        self.uid = uid
        self.values = dict(values)
        self.indirect = list(indirect)
        self.direct = list(direct)

    @cached_property
    def facts(self) -> list[Fact]:
        """The facts under their recall keys."""
        return personal.facts(self.values)

    @cached_property
    def known(self) -> list[KnownFact]:
        """The facts as prompt and answer, as every other method gets them."""
        return [KnownFact(str(fact.prompt), fact.answer) for fact in self.facts]

    @cached_property
    def lines(self) -> list[str]:
        """The facts as lines of text."""
        return [fact_line(*fact) for fact in self.known]


def read_users(data: Path, numbers: Sequence[int]) -> list[User]:
    """Return users of the evaluation data.

    Raises:
        FileNotFoundError: If one is missing, naming where the data is from.
    """
    folder = data / "user_as_engram" / "users"
    found: list[User] = []
    for number in numbers:
        found.append(_user(read_data(folder / f"u{number:03}.json", SOURCE)))
    return found


def _user(user: dict[str, Any]) -> User:
    uid = user["uid"]
    indirect = [
        Asked(
            uid,
            one["schema"],
            one["variant"],
            one["question"],
            str(one["answer"]),
            tuple(one["required_fact_keys"]),
        )
        for one in user["indirect_qa"]
    ]
    direct = [
        Asked(uid, "", one["key"], one["question"], str(one["answer"]), (one["key"],))
        for one in user["direct_qa"]
    ]
    return User(uid, personal.data_values(user), indirect, direct)


def made_up_users(count: int, seed: int) -> list[User]:
    """Return people of `benchmarks/skill/people.py` with their questions around corners."""
    lot = random.Random(seed)
    found: list[User] = []
    for number in range(count):
        uid, values = f"made up {number}", people.person(lot)
        asked = [
            Asked(uid, one.schema, "", one.question, one.answer, tuple(one.needed))
            for one in personal.indirect(values, lot)
        ]
        found.append(User(uid, values, asked))
    return found


def next_users(users: Sequence[User]) -> dict[str, User]:
    """Return for each user the next one, whose table is the wrong one; the last has the first.

    Raises:
        ValueError: If there is nobody else.
    """
    if len(users) < 2:
        raise ValueError("The table of a wrong user takes two users at least.")
    return {one.uid: users[(n + 1) % len(users)] for n, one in enumerate(users)}


def mismatch(users: Sequence[User]) -> dict[str, int]:
    """Return what tells a wrong user's table from the right one.

    Returns:
        pairs: Users who are asked with another's table.
        differing_keys: Pairs in which one has facts that the other has not, such as a child.
        lacking_a_fact: Questions that need a fact that the other has not.
        same_answer: Questions that the other is asked in the same words, and answers in the same.
    """
    pairs = next_users(users)
    found = {"pairs": len(users), "differing_keys": 0, "lacking_a_fact": 0, "same_answer": 0}
    for user in users:
        other = pairs[user.uid]
        answers = {one.question: one.answer for one in other.indirect}
        found["differing_keys"] += user.values.keys() != other.values.keys()
        for one in user.indirect:
            found["lacking_a_fact"] += not other.values.keys() >= set(one.needed)
            found["same_answer"] += answers.get(one.question) == one.answer
    return found

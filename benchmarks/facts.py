"""Facts with distinct triggers: from the evaluation data where it is, else from a generator."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from benchmarks.fact_kinds import KINDS, SHORT_KINDS, Shape, shapes

SOURCE = "data/users of github.com/19PINE-AI/user-as-engram (Apache-2.0), corpora_xxl.json"
GENERATOR = "benchmarks/facts.py"

# How often a kind is drawn, where facts are mixed: most are about people.
_WEIGHTS = {"relations": 24, "numbers": 4, "dates": 4, "paths": 3, "code": 4}


class MadeUpFact(NamedTuple):
    """A fact of the generator.

    Attributes:
        trigger: The text up to the answer.
        answer: What is to be said; no other answer can be mistaken for it.
        question: The same asked in a chat.
        kind: One of `fact_kinds.KINDS`.
    """

    trigger: str
    answer: str
    question: str
    kind: str


def distinct_facts(count: int, data: Path, seed: int = 0) -> tuple[list[tuple[str, str]], str]:
    """Return (prompt, answer) pairs with distinct prompts, and where they are from.

    Args:
        count: How many.
        data: Folder of the evaluation data; where its file is missing or too short, a seeded
            generator takes its place.
        seed: Of the generator.
    """
    pairs = published_facts(data)
    if len(pairs) >= count:
        return pairs[:count], SOURCE
    return generated_facts(count, seed), f"{GENERATOR}, seed {seed}"


def published_facts(data: Path) -> list[tuple[str, str]]:
    """Return the (prompt, answer) pairs of the evaluation data with distinct prompts."""
    path = data / "user_as_engram" / "facts_xxl_2000.json"
    if not path.exists():
        print(f"{path.name} is not there (see {SOURCE}); using the generator.")
        return []
    pairs: dict[str, str] = {}
    for fact in json.loads(path.read_text(encoding="utf-8")):
        pairs.setdefault(fact["prompt"], fact["gold"])
    return list(pairs.items())


def generated_facts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Make (prompt, answer) pairs of all short kinds, with distinct prompts."""
    return [(fact.trigger, fact.answer) for fact in made_up_facts(count, seed)]


def facts_of_kind(kind: str, count: int, seed: int = 0) -> list[MadeUpFact]:
    """Make facts of one kind with distinct triggers.

    The first ones of a larger count are those of a smaller one.

    Args:
        kind: One of `fact_kinds.KINDS`.
        count: How many.
        seed: Another seed gives other facts.

    Raises:
        ValueError: If there is no such kind, or it has fewer facts.
    """
    if kind not in KINDS:
        raise ValueError(f"There is no kind {kind!r}: {', '.join(KINDS)}.")
    found = list(islice(_distinct(_shuffled(kind, seed)), count))
    return _require(found, count, kind)


def made_up_facts(
    count: int, seed: int = 0, kinds: tuple[str, ...] = SHORT_KINDS
) -> list[MadeUpFact]:
    """Make facts of several kinds, mixed, with distinct triggers.

    The first ones of a larger count are those of a smaller one.
    """
    return _require(list(islice(_distinct(_mixed(kinds, seed)), count)), count, "mixed")


def folded(text: str) -> str:
    """Return what addresses see of a text: neither capitals nor accents nor spaces."""
    parts = unicodedata.normalize("NFKD", text.lower())
    return "".join(c for c in parts if unicodedata.category(c)[0] not in "MZ")


def _shuffled(kind: str, seed: int) -> Iterator[MadeUpFact]:
    rng = random.Random(f"{kind} {seed}")
    found: list[Shape] = list(shapes(kind))
    rng.shuffle(found)
    for trigger, question, draw in found:
        yield MadeUpFact(trigger, draw(rng), question, kind)


def _mixed(kinds: tuple[str, ...], seed: int) -> Iterator[MadeUpFact]:
    rng = random.Random(f"mixed {seed}")
    left = {kind: _shuffled(kind, seed) for kind in kinds}
    while left:
        kind = rng.choices(list(left), [_WEIGHTS.get(kind, 2) for kind in left])[0]
        fact = next(left[kind], None)
        if fact is None:
            del left[kind]
        else:
            yield fact


def _distinct(facts: Iterator[MadeUpFact]) -> Iterator[MadeUpFact]:
    seen: set[str] = set()
    for fact in facts:
        key = folded(fact.trigger)
        if key not in seen:
            seen.add(key)
            yield fact


def _require(found: list[MadeUpFact], count: int, kind: str) -> list[MadeUpFact]:
    if len(found) < count:
        raise ValueError(f"There are {len(found)} distinct facts ({kind}), not {count}.")
    return found

"""Tables of a hundred facts of several kinds, for what depends on how triggers are worded."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.facts import SOURCE, generated_facts

_FIRST_PERSON = ("My ", "I ", "I'm ", "The model year of my ", "Another hobby of mine ")


class FactSet(NamedTuple):
    """Facts of one table.

    Attributes:
        kind: How they are worded, for results.
        facts: As (prompt, answer), with distinct prompts.
    """

    kind: str
    facts: list[tuple[str, str]]


def fact_sets(data: Path, seed: int, count: int = 100) -> list[FactSet]:
    """Return ten tables, or those of the project's own generator where data is missing.

    Args:
        data: Folder of the evaluation data.
        seed: Of what is drawn at random.
        count: Facts of each table.
    """
    own = [FactSet("generated", generated_facts(count, seed + n)) for n in range(2)]
    folder, distinct = data / "user_as_engram" / "users", data / "user_as_engram"
    users = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("u*.json"))]
    if not users:
        print(f"Tables of users are left out: {folder.name} is not there (see {SOURCE}).")
        return own
    rng = random.Random(seed)
    sets: list[FactSet] = []
    for kind, style, tables in (("users", 0, 4), ("users, in few words", 1, 2)):
        for _ in range(tables):
            chosen = rng.sample(users, 5)
            sets.append(FactSet(kind, _of_users(chosen, style, count)))
    listed: dict[str, str] = {}
    for fact in json.loads((distinct / "facts_xxl_2000.json").read_text(encoding="utf-8")):
        listed.setdefault(fact["prompt"], fact["gold"])
    for _ in range(2):
        sets.append(FactSet("facts_xxl_2000", rng.sample(list(listed.items()), count)))
    return sets + own


def _of_users(users: list[Any], style: int, count: int) -> list[tuple[str, str]]:
    """Return what the first user says of himself, and then what is said of the others.

    Args:
        users: As in the files.
        style: 0 takes a fact's first sentence in the first person, 1 the shortest.
        count: How many facts.
    """
    found: dict[str, str] = {}
    for number, user in enumerate(users):
        for fact in user["facts"]:
            sentences = [s for s in fact["paraphrases"] if s.startswith(_FIRST_PERSON)]
            if number > 0:
                sentences = [s for s in fact["paraphrases"] if s not in sentences]
            pairs = [pair for s in sentences if (pair := _split(s, fact["answer"]))]
            if pairs:
                pair = min(pairs, key=lambda p: len(p[0])) if style else pairs[0]
                found.setdefault(*pair)
    return list(found.items())[:count]


def _split(sentence: str, answer: Any) -> tuple[str, str] | None:
    """Cut a sentence before its answer; None where the answer is not in it or comes first."""
    text = answer if isinstance(answer, str) else None
    place = sentence.find(text) if text else -1
    if place <= 0:
        return None
    prompt, said = sentence[:place], sentence[place:].rstrip(".")
    if prompt.endswith("$"):
        prompt, said = prompt[:-1], f"${said}"
    return prompt.strip(), said

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

    Few facts of one kind get the shortest addresses: nothing in the table contradicts a suffix like
    "works as a". So the first tables have one fact of each kind.

    Args:
        data: Folder of the evaluation data.
        seed: Of what is drawn at random.
        count: Facts of each table.
    """
    own = [FactSet("generated", generated_facts(count, seed + n)) for n in range(2)]
    folder = data / "user_as_engram"
    files = sorted((folder / "users").glob("u*.json"))
    if not files:
        print(f"Tables of users are left out: {folder.name} is not there (see {SOURCE}).")
        return own
    users = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    listed = json.loads((folder / "facts_xxl_2000.json").read_text(encoding="utf-8"))
    rng = random.Random(seed)
    sets: list[FactSet] = []
    for _ in range(3):
        rng.shuffle(listed)
        schemas = {fact["schema"]: (fact["prompt"], fact["gold"].strip()) for fact in listed}
        pairs = {**_of_users(rng.sample(users, 2)), **dict(schemas.values())}
        sets.append(FactSet("one of each kind", list(pairs.items())[:count]))
    for _ in range(3):
        pairs = _of_users(rng.sample(users, 6))
        sets.append(FactSet("a user and five others", list(pairs.items())[:count]))
    pairs = {fact["prompt"]: fact["gold"].strip() for fact in listed}
    for _ in range(2):
        sets.append(FactSet("facts_xxl_2000", rng.sample(sorted(pairs.items()), count)))
    return sets + own


def _of_users(users: list[Any]) -> dict[str, str]:
    """Return what the first user says of himself, and then what is said of the others."""
    found: dict[str, str] = {}
    for number, user in enumerate(users):
        for fact in user["facts"]:
            is_own = number == 0
            sentences = [s for s in fact["paraphrases"] if s.startswith(_FIRST_PERSON) == is_own]
            pairs = [pair for s in sentences if (pair := _split(s, fact["answer"]))]
            if pairs:
                found.setdefault(*pairs[0])
    return found


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

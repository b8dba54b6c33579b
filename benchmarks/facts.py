"""Facts with distinct triggers: from the evaluation data where it is, else from a generator."""

from __future__ import annotations

import json
import random
from pathlib import Path

SOURCE = "data/users of github.com/19PINE-AI/user-as-engram (Apache-2.0), corpora_xxl.json"

_PEOPLE = (
    "Ada Bela Cyro Dunja Emre Fenna Goran Hilde Iker Jolan Kaja Lorcan Mirek Nuria Odile Pavo Quim"
    " Runa Sanna Tove Ugo Vesna Wiebe Ximena Yara Zeno Anouk Bastian Ciara Dario Elodie Flurin"
    " Greta Hamza Ilse Joris Katya Leander Maelys Nils"
).split()
_RELATIONS = "aunt boss butcher cousin dentist editor florist neighbour plumber tutor".split()
_ATTRIBUTES = {
    "lives in": "Lisbon Oslo Tallinn Ghent Porto Krakow Malmö Trieste Bergen Utrecht".split(),
    "plays the": "cello oboe lute drums harp bassoon viola banjo".split(),
    "was born in": [str(year) for year in range(1941, 2009)],
    "has a dog called": "Pepper Biscuit Rolo Figaro Juno Mango".split(),
    "drives a": ["red van", "blue Fiat", "white pickup", "grey Volvo estate", "green Vespa"],
    "works on": ["Mondays", "Tuesdays", "Fridays and Sundays", "weekends only"],
}


def distinct_facts(count: int, data: Path) -> tuple[list[tuple[str, str]], str]:
    """Return (prompt, answer) pairs with distinct prompts, and where they are from.

    Args:
        count: How many.
        data: Folder of the evaluation data; where its file is missing or too short, a seeded
            generator takes its place.
    """
    path = data / "user_as_engram" / "facts_xxl_2000.json"
    if path.exists():
        pairs: dict[str, str] = {}
        for fact in json.loads(path.read_text(encoding="utf-8")):
            pairs.setdefault(fact["prompt"], fact["gold"])
        if len(pairs) >= count:
            return list(pairs.items())[:count], SOURCE
    else:
        print(f"{path.name} is not there (see {SOURCE}); using the generator.")
    return generated_facts(count), "benchmarks/facts.py, seed 0"


def generated_facts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Make facts with distinct triggers."""
    rng = random.Random(seed)
    triggers = [
        (f"My {relation} {person} {verb}", answers)
        for relation in _RELATIONS
        for person in _PEOPLE
        for verb, answers in _ATTRIBUTES.items()
    ]
    if count > len(triggers):
        raise ValueError(f"The generator has {len(triggers)} distinct triggers, not {count}.")
    return [(trigger, rng.choice(answers)) for trigger, answers in rng.sample(triggers, count)]

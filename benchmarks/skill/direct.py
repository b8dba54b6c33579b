"""Episodes of direct questions: any attribute, in any wording, in a table among others."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence

from benchmarks.skill.attributes import Attribute, attributes, more_attributes
from benchmarks.skill.values import FIRST, LAST, value
from benchmarks.skill.wordings import BY_KIND, GENERAL
from engram_transformers import Episode, Fact, named_fact, recall_key
from engram_transformers.facts import Prompt, as_facts
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

UNKNOWN = 0.12
"""The share of questions whose answer the table lacks."""
OWN_QUESTION = 0.45
"""The share that is asked in one of the attribute's own questions; the rest in a template."""
BY_ALIAS = 0.4
"""The share of templates that are filled with another name of the attribute."""
OTHERS = (2, (6, 12, 34))
"""How many facts a table has besides: at least, and at most one of these."""
NEAR = 0.5
"""The share of tables with facts whose names share a word with what is asked for."""
LONGER = 0.15
"""The share of values that are longer than their kind's: an answer is all that is stored."""
HELD_OUT = 7
"""One attribute in so many is held out of training."""
UNITS = 0.3
"""The share of questions for a number that name what it is in."""
_NUMBERS = ("number", "duration", "money", "year", "time")
"""Kinds that are asked for about one and a half times as often as their number would have it: what
is a number need not be calculated with."""
_UNITS = (
    "in minutes,kg,min/km,in cm,in dollars,points,per week,in km,EU size,a number,1 to 10,in litres"
).split(",")
_LONGER = (
    ("{year} {said}", " and from which year"),
    ("{said} {number}", ""),
    ("a {said} named {first}", " and what is its name"),
    ("a {said} called {first}", " and what's it called"),
    ("{said} and {same}", " and what else"),
    ("{said}, {same}, {other}", ""),
    ("{said} in {place}", " and where"),
    ("{said} ({year})", " and since when"),
    ("{said} with {same}", " and with what"),
    ("{said} by {first} {last}", " and by whom"),
)
"""Values that are more than their kind's, and how a question asks for the rest of them."""
_AMERICAN = {
    "favourite": "favorite",
    "colour": "color",
    "neighbour": "neighbor",
    "licence": "license",
    "centre": "center",
    "theatre": "theater",
    "jewellery": "jewelry",
    "programme": "program",
    "tyre": "tire",
    "cheque": "check",
    "grey": "gray",
    "humour": "humor",
    "pyjama": "pajama",
    "moustache": "mustache",
    "organis": "organiz",
    "mum": "mom",
}


def split() -> tuple[list[Attribute], list[Attribute]]:
    """Return the attributes for training and those held out, the same ones every time.

    Those of `more_attributes` are all for training.
    """
    everything = list(attributes())
    random.Random(0).shuffle(everything)
    held_out = everything[::HELD_OUT]
    trained = [one for one in everything if one not in held_out]
    return [*trained, *more_attributes()], held_out


def fact(attribute: Attribute, lot: random.Random) -> Fact:
    """Return a fact with all of the attribute's names."""
    return _fact_and_more(attribute, lot)[0]


def _fact_and_more(attribute: Attribute, lot: random.Random) -> tuple[Fact, str]:
    """Return a fact, and what a question may go on with that asks for all of a longer value."""
    said, more = value(attribute.kind, lot), ""
    if lot.random() < LONGER:
        form, more = lot.choice(_LONGER)
        said = form.format(
            said=said,
            same=value(attribute.kind, lot),
            other=value(attribute.kind, lot),
            year=value("year", lot),
            number=lot.randint(1, 99),
            place=value("place", lot),
            first=lot.choice(FIRST),
            last=lot.choice(LAST),
        )
    return named_fact(attribute.key, said, aliases=attribute.aliases), more


def episodes(known: Sequence[Attribute], count: int, seed: int) -> list[Episode]:
    """Return questions for some attributes, each with a table of its own.

    The data is in British spelling; half of the episodes are in American.
    """
    lot = random.Random(seed)
    made = (_episode(known, lot) for _ in range(count))
    return [_american(one) if lot.random() < 0.5 else one for one in made]


def _american(episode: Episode) -> Episode:
    """Spell names and question as Americans do; values stay as they are."""
    facts = [
        Fact(_respelt(one.prompt), one.answer, tuple(map(_respelt, one.paraphrases)))
        for one in as_facts(episode.facts)
    ]
    needed = tuple(_respelt(trigger) for trigger in episode.needed)
    return Episode(_apart(facts), _respelt(episode.question), episode.answer, needed)


def _respelt(text: Prompt) -> str:
    words = str(text)
    for british, american in _AMERICAN.items():
        words = re.sub(rf"\b{british}", american, words)
    return words


def _episode(known: Sequence[Attribute], lot: random.Random) -> Episode:
    asked = lot.choice(known)
    if asked.kind not in _NUMBERS and lot.random() < 0.5:
        asked = lot.choice(known)
    others = lot.sample(known, lot.randint(OTHERS[0], lot.choice(OTHERS[1])))
    if lot.random() < NEAR:
        words = _words(asked.key)
        near = [one for one in known if not words.isdisjoint(_words(one.key))]
        others += [one for one in lot.sample(near, min(len(near), 2)) if one not in others]
    taken = {asked.key, *asked.aliases}
    others = [one for one in others if not taken & {one.key, *one.aliases}]
    facts = [fact(one, lot) for one in others]
    question, name = _question(asked, lot)
    if asked.kind == "number" and lot.random() < UNITS:
        question = _with(question, f" ({lot.choice(_UNITS)})")
    if lot.random() < UNKNOWN:
        return Episode(_apart(facts), question, UNKNOWN_ANSWER, (recall_key(name),))
    own, more = _fact_and_more(asked, lot)
    if more and question.endswith("?") and lot.random() < 0.5:
        question = _with(question, more)
    return Episode(_apart([own, *facts]), question, own.answer, (recall_key(name),))


def _with(question: str, more: str) -> str:
    """Say more before the question mark, if there is one."""
    return f"{question[:-1]}{more}?" if question.endswith("?") else f"{question}{more}"


@functools.cache
def _words(name: str) -> frozenset[str]:
    return frozenset(word for word in re.findall(r"\w+", name.casefold()) if len(word) > 2)


def _apart(facts: Sequence[Fact]) -> list[Fact]:
    """Leave out facts that share a name with one before them."""
    kept: list[Fact] = []
    names: set[object] = set()
    for one in facts:
        if not names & set(one.prompts):
            kept.append(one)
            names |= set(one.prompts)
    return kept


def _question(attribute: Attribute, lot: random.Random) -> tuple[str, str]:
    """Return a question, and the name by which it asks: the key if it uses none."""
    if lot.random() < OWN_QUESTION:
        question = lot.choice(attribute.questions)
        # What is asked for by name is recited by that name.
        said = f" {question.lower()} "
        used = [name for name in (attribute.key, *attribute.aliases) if f"my {name}" in said]
        return question, max(used, key=len, default=attribute.key)
    name = lot.choice(attribute.aliases) if lot.random() < BY_ALIAS else attribute.key
    templates = GENERAL if lot.random() < 0.6 else BY_KIND[attribute.kind]
    return lot.choice(templates).format(key=name), name

"""Episodes of facts in any wording: told in one, asked in another.

Somebody's own ("I was raised in") and those about something by its name ("Norwick's canteen opens
at"); a question is one with a question mark, or a sentence that somebody leaves unfinished.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.skill.values import FIRST, LAST, value
from engram_transformers import Episode, Fact
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

UNKNOWN = 0.15
"""The share of questions whose answer the table lacks."""
VERBATIM = 0.15
"""The share that is asked in the very words of the table."""
REPHRASED = 0.5
"""The share of tables that hold what is asked for in two wordings."""
OTHERS = (3, (10, 10, 30))
"""How many facts a table has besides: at least, and at most one of these."""
RIVALS = 0.6
"""The share of questions about something whose table says the same of something else."""
BESIDES = 0.5
"""The share of questions about something whose table says something else of it."""
LED = 0.25
"""The share of questions for a time whose answer is begun, as in "When do I get up? At"."""
TITLED = 0.15
"""The share of people who are doctors, with the title told before the name."""
HELD_OUT = 8
"""One group in so many is held out of training."""
_LEADS = {"time": "At", "year": "In", "date": "On", "weekday": "On", "weekdays": "On"}


@dataclass(frozen=True)
class Group:
    """One kind of fact, in all wordings.

    Attributes:
        thing: What it is about; one of `THINGS`, or empty for whoever asks.
        kind: What its values are; one of `benchmarks.skill.values.KINDS`.
        triggers: How it may be told, cut before the value; {name} is that of the thing.
        questions: How it may be asked for.
        unfinished: Other sentences that the value would finish.
    """

    thing: str
    kind: str
    triggers: tuple[str, ...]
    questions: tuple[str, ...]
    unfinished: tuple[str, ...]

    @property
    def forms(self) -> tuple[str, ...]:
        """All wordings that ask for the value."""
        return (*self.triggers, *self.questions, *self.unfinished)


def _stem(lot: random.Random) -> str:
    return value("organisation", lot).split()[0]


def _coined(lot: random.Random) -> str:
    return value("brand", lot).split()[0]


def _behind(words: str) -> Callable[[random.Random], str]:
    """Return what makes names that end in one of some words."""
    return lambda lot: f"{_stem(lot)} {lot.choice(words.split())}"


def _colleague(lot: random.Random) -> str:
    return f"{lot.choice(FIRST)} {lot.choice(LAST)}"


def _city(lot: random.Random) -> str:
    return f"{lot.choice(('Port', 'New', 'Lake', 'Upper', 'Saint', 'Old'))} {_coined(lot)}"


def _machine(lot: random.Random) -> str:
    return f"{_coined(lot)} {lot.randint(2, 9)}{lot.choice('00 000 50 A K T X'.split())}"


THINGS: dict[str, Callable[[random.Random], str]] = {
    "organisation": lambda lot: value("organisation", lot),
    "team": _behind("Rovers Wanderers Rangers Athletic Falcons Lions Harriers Otters"),
    "product": lambda lot: value("brand", lot),
    "machine": _machine,
    "city": _city,
    "colleague": _colleague,
    "friend": lambda lot: lot.choice(FIRST),
    "event": _behind("Festival Fair Marathon Congress Regatta Summit Gala Carnival"),
    "book": lambda lot: value("title", lot),
    "building": _behind("House Tower Hall Court Lodge Mansion Pavilion"),
    "school": _behind("School Academy College"),
    "restaurant": _behind("Grill Kitchen Bistro Diner Tavern Brasserie"),
    "project": lambda lot: f"Project {_stem(lot)}",
    "museum": _behind("Museum Gallery Library"),
    "app": _coined,
    "ship": lambda lot: f"MS {_stem(lot)}",
}
"""What makes the name of a thing."""


@functools.cache
def groups() -> tuple[Group, ...]:
    """Return all groups, in the order of the files."""
    found: list[Group] = []
    for name in ("told.tsv", "things.tsv"):
        text = Path(__file__).with_name(name).read_text(encoding="utf-8")
        found += map(_parsed, text.splitlines()[1:])
    return tuple(found)


def _parsed(line: str) -> Group:
    thing, kind, *forms = line.split("\t")
    triggers, questions, unfinished = (tuple(some.split(" | ")) for some in forms)
    return Group(thing, kind, triggers, questions, unfinished)


def split() -> tuple[list[Group], list[Group]]:
    """Return the groups for training and those held out, the same ones every time."""
    everything = list(groups())
    random.Random(0).shuffle(everything)
    held_out = everything[::HELD_OUT]
    return [one for one in everything if one not in held_out], held_out


def filled(form: str, name: str) -> str:
    """Return a wording with the name of the thing that it is about.

    Example:
        >>> filled("{name}'s roof is", "Rowan House"), filled("{name}'s roof is", "Elm Works")
        ("Rowan House's roof is", "Elm Works' roof is")
    """
    said = re.sub(r"\b[Tt]he (The )", r"\1", form.replace("{name}", name))
    return re.sub(r"s's\b", "s'", said)


def episodes(known: Sequence[Group], count: int, seed: int) -> list[Episode]:
    """Return questions for some groups, each with a table of its own.

    All wordings are asked before one repeats.
    """
    lot = random.Random(seed)
    made = _asked(known, lot)
    return [next(made) for _ in range(count)]


def _asked(known: Sequence[Group], lot: random.Random) -> Iterator[Episode]:
    deck = [(group, form) for group in known for form in group.forms]
    verbatim = VERBATIM * len(deck) / sum(len(group.triggers) for group in known)
    while True:
        for group, form in lot.sample(deck, len(deck)):
            yield _episode(known, group, form, lot.random() < verbatim, lot)


def _episode(
    known: Sequence[Group], group: Group, form: str, is_verbatim: bool, lot: random.Random
) -> Episode:
    """Make a table, and a question in one wording; `is_verbatim` counts for a trigger only."""
    name = _name(group, lot)
    question = _question(group, form, name, lot)
    others = _others(known, group, name, lot)
    if lot.random() < UNKNOWN:
        needed = filled(group.triggers[0], name)
        return Episode(_apart(others, set()), question, UNKNOWN_ANSWER, (needed,))
    told = [form] if is_verbatim and form in group.triggers else []
    # What is asked in other words is not told in these.
    told += lot.sample([one for one in group.triggers if one != form], 2)
    told = told[: 2 if lot.random() < REPHRASED else 1]
    own = _fact(group, name, lot, told, question)
    answer = own.answer
    if group.kind == "person" and lot.random() < TITLED:
        is_led = form not in group.questions or lot.random() < 0.5
        own, surname = _titled(own, lot)
        question, answer = (f"{question} Dr.", surname) if is_led else (question, f"Dr. {surname}")
    facts = [own, *_apart(others, set(own.prompts))]
    lot.shuffle(facts)
    return Episode(facts, question, answer, (str(own.prompt),))


def _titled(fact: Fact, lot: random.Random) -> tuple[Fact, str]:
    """Return a fact about a doctor, whose title its triggers end in, and the surname."""
    surname = lot.choice(LAST)
    first, *rest = (f"{prompt} Dr." for prompt in fact.prompts)
    return Fact(first, surname, tuple(rest)), surname


def _question(group: Group, form: str, name: str, lot: random.Random) -> str:
    """Return a wording as a question, some with a first word of the answer."""
    question = filled(form, name)
    is_when = form in group.questions and form.startswith(("When ", "What time "))
    if is_when and group.kind in _LEADS and lot.random() < LED:
        return f"{question} {_LEADS[group.kind]}"
    return question


def _name(group: Group, lot: random.Random) -> str:
    return THINGS[group.thing](lot) if group.thing else ""


def _fact(
    group: Group, name: str, lot: random.Random, told: Sequence[str], question: str = ""
) -> Fact:
    """Return a fact in some wordings, whose value is said neither there nor in the question."""
    first, *rest = (filled(one, name) for one in told)
    said = f"{question} {first}".casefold()
    takes_a = any(form.endswith(" a") for form in group.forms)
    while True:
        answer = value(group.kind, lot)
        if answer.casefold() not in said and not (takes_a and answer[0] in "AEIOU"):
            return Fact(first, answer, tuple(rest))


def _others(known: Sequence[Group], group: Group, name: str, lot: random.Random) -> list[Fact]:
    """Return the other facts of a table; none says what is asked for."""
    count = lot.randint(OTHERS[0], lot.choice(OTHERS[1]))
    about: list[tuple[Group, str]] = []
    if group.thing:
        rivals = [_name(group, lot) for _ in range(lot.choice((1, 1, 2)))]
        rivals = [one for one in rivals if one not in name and name not in one]
        akin = [one for one in known if one.thing == group.thing and one != group]
        if lot.random() < RIVALS:
            about += [(group, rival) for rival in rivals]
        if akin and lot.random() < BESIDES:
            about += [
                (one, name) for one in lot.sample(akin, min(len(akin), lot.choice((1, 2, 4, 8))))
            ]
            about += [(lot.choice(akin), rival) for rival in rivals]
    about = list(dict.fromkeys(about))  # nothing is told twice, with another value
    others = [one for one in known if one is not group]
    for one in lot.sample(others, len(others)):
        if len(about) >= count:
            break
        about += [] if (new := (one, _name(one, lot))) in about else [new]
    return [_fact(one, whose, lot, [lot.choice(one.triggers)]) for one, whose in about[:count]]


def _apart(facts: Sequence[Fact], prompts: set[object]) -> list[Fact]:
    """Leave out facts with a prompt that is taken, or that of one before them."""
    kept: list[Fact] = []
    taken = set(prompts)
    for one in facts:
        if one.prompt not in taken:
            kept.append(one)
            taken.add(one.prompt)
    return kept

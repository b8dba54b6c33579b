"""Kinds of made-up facts: what is said, how it is asked in a chat, and how an answer is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from benchmarks import fact_words as words
from benchmarks.fact_scripts import LANGUAGES

Draw = Callable[[random.Random], str]


class Shape(NamedTuple):
    """A fact without its answer.

    Attributes:
        trigger: The text up to the answer.
        question: The same as a question, for chats.
        draw: Draws an answer.
    """

    trigger: str
    question: str
    draw: Draw


def one_of(answers: Sequence[str]) -> Draw:
    return lambda rng: rng.choice(answers)


# What is said of a person: the statement, the question ("{s}" is "my cousin Ada"), the answers.
_RELATIONS: tuple[tuple[str, str, Draw], ...] = (
    ("{S} lives in", "Where does {s} live?", one_of(words.TOWNS)),
    ("{S} plays the", "What instrument does {s} play?", one_of(words.INSTRUMENTS)),
    ("{S} has a dog called", "What is the dog of {s} called?", one_of(words.DOGS)),
    ("{S} works as a", "What is the job of {s}?", one_of(words.JOBS)),
    ("{S} drives a", "What does {s} drive?", one_of(words.CARS)),
    ("{S} is allergic to", "What is {s} allergic to?", one_of(words.ALLERGENS)),
    ("{S} collects", "What does {s} collect?", one_of(words.COLLECTIBLES)),
    ("{S} is learning to speak", "What is {s} learning?", one_of(words.LANGUAGES)),
    ("{S}'s favourite spice is", "What spice does {s} like best?", one_of(words.SPICES)),
    ("{S}'s favourite colour is", "What colour does {s} like best?", one_of(words.COLOURS)),
    ("{S}'s favourite fruit is", "What fruit does {s} like best?", one_of(words.FRUITS)),
    ("{S}'s favourite dessert is", "What dessert does {s} like best?", one_of(words.DESSERTS)),
    ("{S}'s favourite sport is", "What sport does {s} like best?", one_of(words.SPORTS)),
    ("{S}'s favourite city is", "What city does {s} like best?", one_of(words.TOWNS)),
)


def _number(low: int, high: int, form: str = "{}") -> Draw:
    return lambda rng: form.format(rng.randint(low, high))


def _day(rng: random.Random) -> str:
    return f"{rng.randint(1, 28)} {rng.choice(words.MONTHS)} {rng.randint(1938, 2024)}"


def _iso_day(rng: random.Random) -> str:
    return f"{rng.randint(2025, 2039)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def _clock(rng: random.Random) -> str:
    return f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}"


def _spoken_clock(rng: random.Random) -> str:
    hours = "five six seven eight nine ten eleven".split()
    return f"{rng.choice(('half past', 'quarter to', 'quarter past'))} {rng.choice(hours)}"


def _price(rng: random.Random) -> str:
    return f"{rng.choice('€£$')}{rng.randint(2, 4999):,}.{rng.randint(0, 99):02d}"


def _phone(rng: random.Random) -> str:
    pairs = " ".join(f"{rng.randint(0, 99):02d}" for _ in range(4))
    return f"+{rng.choice((31, 33, 43, 45, 47, 48, 351, 372))} {pairs}"


def _extension(rng: random.Random) -> str:
    return f"(0{rng.randint(201, 997)}) {rng.randint(100, 999)}-{rng.randint(1000, 9999)}"


def _booking(rng: random.Random) -> str:
    return "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(6))


def _passphrase(rng: random.Random) -> str:
    return "-".join([*rng.sample(words.CODE_WORDS, 2), str(rng.randint(10, 99))])


def _plate(rng: random.Random) -> str:
    letters = "".join(rng.choice("ABCDEFGHJKLMNPRSTUVWXY") for _ in range(5))
    return f"{letters[:2]}{rng.randint(10, 73)} {letters[2:]}"


_OF_PEOPLE: dict[str, tuple[tuple[str, str, Draw], ...]] = {
    "relations": _RELATIONS,
    "numbers": (
        ("{S}'s locker has the number", "What locker number does {s} have?", _number(10, 99_999)),
        ("{S}'s shoe size is", "What size are the shoes of {s}?", _number(34, 48)),
        (
            "{S}'s van has driven",
            "How far has the van of {s} driven?",
            _number(1, 400_000, "{} km"),
        ),
        ("{S} keeps bees in so many hives:", "How many hives does {s} have?", _number(2, 60)),
    ),
    "dates": (
        ("{S}'s birthday is", "When is the birthday of {s}?", _day),
        ("{S}'s passport expires on", "When does the passport of {s} expire?", _iso_day),
        ("{S} was born in the year", "In what year was {s} born?", _number(1938, 2008)),
    ),
    "times": (
        ("{S}'s train leaves at", "When does the train of {s} leave?", _clock),
        ("{S} gets up at", "When does {s} get up?", _spoken_clock),
    ),
    "prices": (
        ("{S} pays a rent of", "What is the rent of {s}?", _price),
        ("{S} sold the old piano for", "What did {s} get for the old piano?", _price),
    ),
    "phones": (
        ("{S}'s phone number is", "What is the phone number of {s}?", _phone),
        ("{S}'s office has the number", "What is the office number of {s}?", _extension),
    ),
    "codes": (
        ("{S}'s booking code is", "What is the booking code of {s}?", _booking),
        ("{S}'s wifi password is", "What is the wifi password of {s}?", _passphrase),
        ("{S}'s number plate is", "What is the number plate of {s}?", _plate),
    ),
}


def _of_people(templates: Sequence[tuple[str, str, Draw]]) -> Iterator[Shape]:
    for relation in words.RELATIONS:
        for person in words.PEOPLE:
            subject = f"{relation} {person}"
            for statement, question, draw in templates:
                yield Shape(
                    statement.format(S=f"My {subject}"), question.format(s=f"my {subject}"), draw
                )


def _paths() -> Iterator[Shape]:
    for service in words.SERVICES:
        for part in words.PARTS:
            for host in words.HOSTS:
                yield Shape(
                    f"The log of the {service} {part} on {host} is",
                    f"Where does the {service} {part} on {host} log to?",
                    _path(f"{service}/{part}"),
                )


def _path(rest: str) -> Draw:
    def draw(rng: random.Random) -> str:
        root = rng.choice(("/var/log", "/srv/data", "/opt", "/mnt/logs"))
        return f"{root}/{rest}-{rng.randint(1, 40)}.{rng.choice(('log', 'jsonl', 'txt'))}"

    return draw


def _code() -> Iterator[Shape]:
    for service in words.SERVICES:
        for part in words.PARTS:
            for key in words.KEYS:
                name = f"{service}.{part}.{key}"
                yield Shape(
                    f"The setting `{name}` has the value", f"What is `{name}` set to?", _value
                )
        for verb in words.VERBS:
            for thing in words.THINGS:
                yield Shape(
                    f"The function of {service} to {verb} {thing} is called",
                    f"What function of {service} do I call to {verb} {thing}?",
                    _function(verb, thing),
                )


def _value(rng: random.Random) -> str:
    name = f"{rng.choice(words.CODE_WORDS)}_{rng.randint(1, 999)}"
    return rng.choice((str(rng.randint(1, 90_000)), f'"{name}"', f"0x{rng.getrandbits(24):06x}"))


def _function(verb: str, thing: str) -> Draw:
    def draw(rng: random.Random) -> str:
        ending = rng.choice(("", "_in_bulk", "_v2", "_safely", "_from_disk"))
        return f"{rng.choice(('', '_', 'do_', 'async_'))}{verb}_{thing}{ending}()"

    return draw


def _long() -> Iterator[Shape]:
    for relation in words.RELATIONS:
        for person in words.PEOPLE:
            subject = f"{relation} {person}"
            yield Shape(
                f"This is how to find the cabin of my {subject}:",
                f"How do I find the cabin of my {subject}?",
                _sentences(words.WAYS),
            )
            for dish in words.DISHES:
                yield Shape(
                    f"The recipe for {dish} of my {subject} goes like this:",
                    f"How does my {subject} make {dish}?",
                    _sentences(words.STEPS),
                )


def _sentences(parts: Sequence[str]) -> Draw:
    return lambda rng: " ".join(f"{part}." for part in rng.sample(parts, 7))


def _of_language(language: str) -> Iterator[Shape]:
    names, templates = LANGUAGES[language]
    for name in names:
        for statement, question, answers in templates:
            yield Shape(statement.format(name=name), question.format(name=name), one_of(answers))


def shapes(kind: str) -> Iterator[Shape]:
    """Yield all facts of a kind, without answers."""
    if kind in _OF_PEOPLE:
        return _of_people(_OF_PEOPLE[kind])
    if kind in LANGUAGES:
        return _of_language(kind)
    return {"paths": _paths, "code": _code, "long": _long}[kind]()


SHORT_KINDS = (*_OF_PEOPLE, "paths", "code", *LANGUAGES)
"""Kinds of facts whose answers are a few words or numbers."""

KINDS = (*SHORT_KINDS, "long")
"""All kinds. Answers of `long` are several sentences."""

SHARED: tuple[tuple[str, Draw], ...] = (
    ("The wifi password of this place is", _passphrase),
    ("The number to call when something breaks is", _phone),
    ("The next meeting begins at", _clock),
    ("The spare key is kept by my neighbour", one_of(words.PEOPLE)),
    ("The colour that we print in is", one_of(words.COLOURS)),
    ("Replies are to be written in", one_of(words.LANGUAGES)),
    ("The budget that is left comes to", _price),
    ("The code of the back door is", _booking),
    ("The next holiday begins on", _day),
    ("The train to the office leaves from", one_of(words.TOWNS)),
)
"""Triggers that several owners may have answers of their own to."""

"""Episodes of bare reasoning: what the other kinds need, and no memory in it."""

from __future__ import annotations

import random
from collections.abc import Callable

from benchmarks.skill import moves
from benchmarks.skill.moves import Step
from benchmarks.skill.values import DAYS, FIRST
from engram_transformers import Episode

_ASKED: dict[str, tuple[str, ...]] = {
    "gap": ("What is {b} - {a}?", "{b} minus {a}?", "How far is it from {a} to {b}?"),
    "since": (
        "It is {b}. How many years ago was {a}?",
        "How old is somebody in {b} who was born in {a}?",
        "From {a} to {b}: how many years?",
    ),
    "apart": (
        "One was born in {a}, the other in {b}. Is the one older or younger, and by how much?",
        "{a} against {b}: older or younger than the other, by how many years?",
    ),
    "earliest": ("Who was born first: {a}?", "{a}. Who is the oldest?"),
    "later": ("What time is {b} minutes after {a}?", "{a} plus {b} minutes?"),
    "before": ("What time is {b} minutes before {a}?", "{a} minus {b} minutes?"),
    "duration": ("How many minutes are there from {a} to {b}?", "{a} to {b}, in minutes?"),
    "total": ("What is {a} + {b}?", "{a} plus {b}?", "Add {a} and {b}."),
    "times": ("What is {b} times {a}?", "{b} x {a}?"),
    "half": ("What is half of {a}?", "Half of {a}?"),
    "days after": ("Which day is {b} days after {a}?", "{a} plus {b} days?"),
    "count": ("How many days are {a}?", "Count them: {a}."),
}
_Drill = tuple[object, object, Step]


def episodes(count: int, seed: int) -> list[Episode]:
    """Return drills of all kinds in turn."""
    lot = random.Random(seed)
    kinds = list(_DRILLS)
    made: list[Episode] = []
    while len(made) < count:
        kind = kinds[len(made) % len(kinds)]
        a, b, step = _DRILLS[kind](lot)
        question = lot.choice(_ASKED[kind]).format(a=a, b=b)
        made.append(Episode((), question, step.result or "the same age", (), step.working))
    return made


def _year(lot: random.Random) -> int:
    return lot.randrange(1945, 2026)


def _time(lot: random.Random) -> str:
    return f"{lot.randrange(24):02}:{lot.randrange(0, 60, 5):02}"


def _minutes(lot: random.Random) -> int:
    return lot.randrange(5, lot.choice((60, 60, 120)), 5)


def _gap(lot: random.Random) -> _Drill:
    low, high = sorted(lot.randrange(1, top) for top in [lot.choice((100, 1000, 3000))] * 2)
    return low, high, moves.gap(low, high)


def _since(lot: random.Random) -> _Drill:
    year, now = _year(lot), lot.choice((moves.NOW, moves.NOW, lot.randrange(2026, 2040)))
    return year, now, moves.years_since(year, now)


def _apart(lot: random.Random) -> _Drill:
    year = _year(lot)
    other = year + lot.randrange(-9, 10)
    step = moves.years_apart(year, other)
    return year, other, step._replace(result=step.result.removesuffix(" than"))


def _earliest(lot: random.Random) -> _Drill:
    year = _year(lot)
    born = {name: year + lot.randrange(-6, 7) for name in lot.sample(FIRST, lot.choice((2, 3)))}
    return ", ".join(f"{name} {year}" for name, year in born.items()), "", moves.earliest(born)


def _later(lot: random.Random) -> _Drill:
    start, minutes = _time(lot), _minutes(lot)
    return start, minutes, moves.moved(start, minutes)


def _before(lot: random.Random) -> _Drill:
    start, minutes = _time(lot), _minutes(lot)
    return start, minutes, moves.moved(start, -minutes)


def _duration(lot: random.Random) -> _Drill:
    start, end = sorted((_time(lot), _time(lot)))
    return start, end, moves.duration(start, end)


def _total(lot: random.Random) -> _Drill:
    first, second = (lot.randrange(1, lot.choice((100, 1000, 3000))) for _ in range(2))
    return first, second, moves.total(first, second)


def _times(lot: random.Random) -> _Drill:
    number, count = lot.randrange(2, 130), lot.randrange(2, 9)
    return number, count, moves.times(number, count)


def _half(lot: random.Random) -> _Drill:
    number = 2 * lot.randrange(1, lot.choice((50, 500)))
    return number, "", moves.half(number)


def _days_after(lot: random.Random) -> _Drill:
    day, days = lot.choice(DAYS), lot.randrange(1, 11)
    return day, days, moves.days_after(day, days)


def _count(lot: random.Random) -> _Drill:
    days = [DAYS[n] for n in sorted(lot.sample(range(7), lot.randrange(1, 8)))]
    return ", ".join(days), "", moves.numbered(days)


_DRILLS: dict[str, Callable[[random.Random], _Drill]] = {
    "gap": _gap,
    "since": _since,
    "apart": _apart,
    "earliest": _earliest,
    "later": _later,
    "before": _before,
    "duration": _duration,
    "total": _total,
    "times": _times,
    "half": _half,
    "days after": _days_after,
    "count": _count,
}

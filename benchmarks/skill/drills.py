"""Episodes of bare reasoning: what the other kinds need, and no memory in it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from benchmarks.skill import moves
from benchmarks.skill.moves import Step
from benchmarks.skill.values import DAYS, FIRST, value
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
    "compared": ("Is {a} more or less than {b}?", "{a} against {b}: more or less?"),
    "largest": ("Who has most: {a}?", "{a}. Which is the largest number, and whose?"),
    "lowest": ("Who has least: {a}?", "{a}. Which is the lowest number, and whose?"),
    "first time": ("What comes first: {a}?", "{a}. Which is the earliest?"),
    "last time": ("What comes last: {a}?", "{a}. Which is the latest?"),
    "first date": ("What comes first in the year: {a}?", "{a}: which is first in the year?"),
    "in hours": ("What are {a} minutes in hours and minutes?", "{a} minutes, in hours?"),
    "in minutes": ("How many minutes are {a} hours and {b} minutes?", "{a} h {b} min in minutes?"),
    "days between": ("How many days is it from {a} to {b}?", "From {a} until {b}: how many days?"),
    "among": ("Is {a} one of these: {b}?", "{b}. Is {a} among them?"),
    "place": ("What is number {b} of these: {a}?", "{a}. Which is number {b}?"),
    "holder": ("{a}. Where is {b}?", "Who has {b}? {a}."),
}
_EVENTS = "breakfast lunch dinner call lesson meeting visit walk film exam party flight".split()
_TIES = {"earliest": "the same age", "holder": "nowhere", "first date": "the same date"}
"""What the answer is where nobody is first, or has it."""
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
        answer = step.result or _TIES.get(kind, "the same")
        made.append(Episode((), question, answer, (), step.working))
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


def _compared(lot: random.Random) -> _Drill:
    number = lot.randrange(1, lot.choice((100, 1000, 10000)))
    # Near ones and far ones, of the same number of digits and others.
    other = lot.choice((number, *_near(number, lot), *_near(number, lot), lot.randrange(1, 3000)))
    return number, other, moves.compared(number, other)


def _near(number: int, lot: random.Random) -> tuple[int, int]:
    return max(1, number + lot.randint(-20, 20)), max(1, round(number * lot.uniform(0.4, 2)))


def _having(lot: random.Random) -> dict[str, int]:
    number = lot.randrange(5, lot.choice((100, 1000, 10000)))
    names = lot.sample(FIRST, lot.choice((2, 2, 3)))
    return {name: lot.choice((number, *_near(number, lot))) for name in names}


def _listed(named: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in named.items())


def _largest(lot: random.Random) -> _Drill:
    having = _having(lot)
    return _listed(having), "", moves.extreme(having, "largest")


def _lowest(lot: random.Random) -> _Drill:
    having = _having(lot)
    return _listed(having), "", moves.extreme(having, "lowest", lowest=True)


def _times_of(lot: random.Random) -> dict[str, str]:
    return {name: _time(lot) for name in lot.sample(_EVENTS, lot.choice((2, 2, 3)))}


def _first_time(lot: random.Random) -> _Drill:
    times = _times_of(lot)
    return _listed(times), "", moves.first_time(times)


def _last_time(lot: random.Random) -> _Drill:
    times = _times_of(lot)
    return _listed(times), "", moves.first_time(times, last=True)


def _first_date(lot: random.Random) -> _Drill:
    months = lot.sample(moves.MONTHS, 2)
    dates = {
        name: f"{lot.randint(1, 28)} {lot.choice(months)}"
        for name in lot.sample(_EVENTS, lot.choice((2, 2, 3)))
    }
    return _listed(dates), "", moves.first_date(dates)


def _in_hours(lot: random.Random) -> _Drill:
    minutes = lot.randrange(10, 620, 5)
    return minutes, "", moves.in_hours(minutes)


def _in_minutes(lot: random.Random) -> _Drill:
    hours, minutes = lot.randint(2, 9), lot.randrange(0, 60, 5)
    return hours, minutes, moves.in_minutes(hours, minutes)


def _days_between(lot: random.Random) -> _Drill:
    day, other = lot.choice(DAYS), lot.choice(DAYS)
    return day, other, moves.days_between(day, other)


def _some(lot: random.Random) -> list[str]:
    kind = lot.choice(("food", "object", "animal", "language"))
    return list(dict.fromkeys(value(kind, lot) for _ in range(lot.randint(2, 5))))


def _among(lot: random.Random) -> _Drill:
    items = _some(lot)
    item = lot.choice((*items, *_some(lot)))
    return item, ", ".join(items), moves.among(item, items)


def _place(lot: random.Random) -> _Drill:
    items = _some(lot)
    number = lot.randint(1, len(items))
    return ", ".join(items), number, moves.place(items, number)


def _holder(lot: random.Random) -> _Drill:
    lists = {name: _some(lot) for name in lot.sample(FIRST, 2)}
    items = [item for some in lists.values() for item in some]
    alone = [item for item in items if items.count(item) == 1]
    item = lot.choice((*alone, *alone, value("object", lot)))
    said = "; ".join(f"{name}: {', '.join(some)}" for name, some in lists.items())
    return said, item, moves.holder(lists, item)


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
    "compared": _compared,
    "largest": _largest,
    "lowest": _lowest,
    "first time": _first_time,
    "last time": _last_time,
    "first date": _first_date,
    "in hours": _in_hours,
    "in minutes": _in_minutes,
    "days between": _days_between,
    "among": _among,
    "place": _place,
    "holder": _holder,
}

"""Solvers of questions for days, dates and times."""

from __future__ import annotations

import random
from collections.abc import Mapping

from benchmarks.skill import moves
from benchmarks.skill.families.family import Solved, Solver, Values
from benchmarks.skill.families.makers import number_in
from benchmarks.skill.values import DAYS


def day_after(name: str, low: int = 1, high: int = 1, *, back: bool = False) -> Solver:
    """The weekday {x} days after a fact's, or before: {it}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        days = lot.randint(low, high)
        step = moves.days_after(v[name], -days if back else days)
        return Solved(step.working, {"it": step.result, "x": moves.counted(days, "day")})

    return Solver((name,), solve)


def days_to(name: str) -> Solver:
    """How many days it is from {x} to a fact's weekday: {n}, {days}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        today = lot.choice([day for day in DAYS if day != v[name]])
        step = moves.days_between(today, v[name])
        days = moves.counted(int(step.result), "day")
        return Solved(step.working, {"n": step.result, "days": days, "x": today})

    return Solver((name,), solve)


def days_from_to(name: str, other: str) -> Solver:
    """How many days it is from a fact's weekday to another's: {n}, {days}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        step = moves.days_between(v[name], v[other])
        days = moves.counted(int(step.result), "day")
        return Solved(step.working, {"n": step.result, "days": days})

    return Solver((name, other), solve)


def same(name: str, other: str) -> Solver:
    """Whether two facts are the same: {it}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        is_same = v[name] == v[other]
        verb = "is the same as" if is_same else "is not the same as"
        working = f"{v[name]} {verb} {v[other]}."
        return Solved(working, {"it": "Yes" if is_same else "No"})

    return Solver((name, other), solve)


def shifted(name: str, minutes: str, *, back: bool = False) -> Solver:
    """A fact's time moved by another fact's minutes: {it}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        by = number_in(v[minutes])
        step = moves.moved(v[name], -by if back else by)
        return Solved(step.working, {"it": step.result})

    return Solver((name, minutes), solve)


def shifted_by(
    name: str, low: int = 10, high: int = 95, step: int = 5, *, back: bool = False
) -> Solver:
    """A fact's time moved by {x} minutes: {it}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        by = lot.randrange(low, high + 1, step)
        done = moves.moved(v[name], -by if back else by)
        return Solved(done.working, {"it": done.result, "x": str(by)})

    return Solver((name,), solve)


def length(start: str, end: str) -> Solver:
    """How long it is from a fact's time to another's: {n} minutes, or {spelled}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        step = moves.duration(v[start], v[end])
        return Solved(step.working, {"n": step.result})

    return Solver((start, end), solve)


def length_spelled(start: str, end: str) -> Solver:
    """How long it is from a fact's time to another's, {spelled} in hours and minutes."""

    def solve(v: Values, lot: random.Random) -> Solved:
        step = moves.duration(v[start], v[end])
        hours = moves.in_hours(int(step.result))
        return Solved(f"{step.working} {hours.working}", {"spelled": hours.result})

    return Solver((start, end), solve)


def is_open(start: str, end: str) -> Solver:
    """Whether {x} lies between two facts' times: {it}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        low, high = moves.minutes_of(v[start]), moves.minutes_of(v[end])
        inside = lot.random() < 0.5
        outside = lot.choice(
            (max(low - lot.randrange(10, 190, 5), 0), high + 5 * lot.randint(1, 9))
        )
        asked = lot.randrange(low + 5, max(high, low + 10), 5) if inside else outside
        time = moves.clock("00:00", min(asked, 23 * 60 + 55))
        if time < v[start]:
            said, answer = f"{time} is before {v[start]}.", "No"
        elif time >= v[end]:
            said, answer = f"{time} is after {v[start]} but not before {v[end]}.", "No"
        else:
            said, answer = f"{time} is after {v[start]} and before {v[end]}.", "Yes"
        return Solved(said, {"it": answer, "x": time})

    return Solver((start, end), solve)


def before(name: str) -> Solver:
    """Whether a fact's time is before {x}: {it}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        by = lot.choice((-1, 1)) * lot.randrange(5, 100, 5)
        asked = moves.clock(v[name], by)
        if abs(moves.minutes_of(asked) - moves.minutes_of(v[name])) > 12 * moves.HOUR:
            asked = moves.clock(v[name], -by)  # not over midnight
        is_before = v[name] < asked
        word = "before" if is_before else "after"
        working = f"{v[name]} is {word} {asked}."
        return Solved(working, {"it": "Yes" if is_before else "No", "x": asked})

    return Solver((name,), solve)


def first_time(names: Mapping[str, str], *, last: bool = False, tie: str = "same") -> Solver:
    """Which of some times comes first: {it}; what each is called -> its name."""

    def solve(v: Values, lot: random.Random) -> Solved:
        step = moves.first_time({called: v[name] for called, name in names.items()}, last=last)
        return Solved(step.working, {"it": step.result or tie})

    return Solver(tuple(names.values()), solve)


def first_date(names: Mapping[str, str], *, last: bool = False, tie: str = "same day") -> Solver:
    """Which of some dates comes first in the year: {it}; what each is called -> its name."""

    def solve(v: Values, lot: random.Random) -> Solved:
        step = moves.first_date({called: v[name] for called, name in names.items()}, last=last)
        return Solved(step.working, {"it": step.result or tie})

    return Solver(tuple(names.values()), solve)


def month_of(name: str) -> Solver:
    """The month of a fact's date: {it}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        day, month = v[name].split()
        return Solved(f"{v[name]} is day {day} of {month}.", {"it": month})

    return Solver((name,), solve)

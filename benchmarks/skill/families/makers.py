"""Makers of values for families."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from benchmarks.skill import values as made_up
from benchmarks.skill.families.family import Maker, Values
from benchmarks.skill.moves import MONTHS, clock
from benchmarks.skill.values import DAYS, FIRST, LAST


def number_in(text: str) -> int:
    """Return the number of a value, as 45 of "45 minutes"."""
    found = re.search(r"\d+", text)
    if found is None:
        raise ValueError(f"There is no number in {text!r}.")
    return int(found[0])


def items_in(text: str) -> list[str]:
    """Return the items of a list, as in "Ana, Bo and Cy"."""
    return re.split(r", | and ", text)


def kind(name: str) -> Maker:
    """Make values of a kind of `benchmarks.skill.values`."""
    return lambda lot, _: made_up.value(name, lot)


def number(low: int, high: int, step: int = 1, form: str = "{}") -> Maker:
    """Make numbers, as in "45 minutes" for the form "{} minutes"."""
    return lambda lot, _: form.format(lot.randrange(low, high + 1, step))


def below(name: str, lowest: int = 1, step: int = 1, form: str = "{}") -> Maker:
    """Make numbers below another fact's."""

    def make(lot: random.Random, values: Values) -> str:
        return form.format(lot.randrange(lowest, number_in(values[name]), step))

    return make


def above(name: str, most: int, step: int = 1, form: str = "{}", least: int = 0) -> Maker:
    """Make numbers above another fact's, by no more than so much."""

    def make(lot: random.Random, values: Values) -> str:
        more = lot.randrange(max(least, step), most + 1, step)
        return form.format(number_in(values[name]) + more)

    return make


def near(name: str, most: int, form: str = "{}", highest: int | None = None) -> Maker:
    """Make numbers around another fact's, which may be the same."""

    def make(lot: random.Random, values: Values) -> str:
        made = max(number_in(values[name]) + lot.randint(-most, most), 1)
        return form.format(made if highest is None else min(made, highest))

    return make


def time(earliest: int, latest: int, step: int = 5) -> Maker:
    """Make times of the day between two hours."""
    return lambda lot, _: f"{lot.randint(earliest, latest):02}:{lot.randrange(0, 60, step):02}"


def time_after(name: str, least: int, most: int, step: int = 5) -> Maker:
    """Make times of the day some minutes after another fact's."""

    def make(lot: random.Random, values: Values) -> str:
        return clock(values[name], lot.randrange(least, most + 1, step))

    return make


def first_name(lot: random.Random, values: Values) -> str:
    """Make a first name that nobody else has."""
    return lot.choice([name for name in FIRST if name not in values.values()])


def full_name(lot: random.Random, values: Values) -> str:
    """Make a name with a surname."""
    return f"{first_name(lot, values)} {lot.choice(LAST)}"


def doctor(lot: random.Random, values: Values) -> str:
    """Make a doctor's name."""
    return f"Dr. {lot.choice(LAST)}"


def date(lot: random.Random, values: Values) -> str:
    """Make a date, as in "14 March"."""
    return f"{lot.randint(1, 28)} {lot.choice(MONTHS)}"


def day(lot: random.Random, values: Values) -> str:
    """Make a weekday."""
    return lot.choice(DAYS)


def days(*counts: int) -> Maker:
    """Make lists of weekdays, in the order of the week."""

    def make(lot: random.Random, _: Values) -> str:
        return joined([DAYS[n] for n in sorted(lot.sample(range(7), lot.choice(counts)))], lot)

    return make


def one_of(pool: Sequence[str]) -> Maker:
    """Make one of some values."""
    return lambda lot, values: lot.choice(
        [one for one in pool if one not in values.values()] or list(pool)
    )


def some_of(pool: Sequence[str], *counts: int) -> Maker:
    """Make lists."""

    def make(lot: random.Random, _: Values) -> str:
        return joined(lot.sample(pool, lot.choice(counts)), lot)

    return make


def joined(items: Sequence[str], lot: random.Random) -> str:
    """Join a list as people do, in one of two ways."""
    if len(items) > 1 and lot.random() < 0.4:
        return f"{', '.join(items[:-1])} and {items[-1]}"
    return ", ".join(items)


def words(text: str) -> tuple[str, ...]:
    """Return a pool from a text with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())

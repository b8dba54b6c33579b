"""Single steps of reasoning: what is said on the way, and what comes out.

The working is for models that can hardly calculate: steps are small, what is worked with is said
again before it is used, and small differences are counted.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from benchmarks.skill.values import DAYS

NOW = 2026
MONTHS: tuple[str, ...] = tuple(
    "January February March April May June July August September October November December".split()
)
_DAYS: tuple[str, ...] = tuple(DAYS)
HOUR = 60
"""Minutes."""
_COUNTABLE = 9
"""Factors up to this are added up one by one."""


class Step(NamedTuple):
    """A step of reasoning.

    Attributes:
        working: What is said on the way, up to the full stop.
        result: What comes out.
    """

    working: str
    result: str


# Numbers


def gap(low: int, high: int) -> Step:
    """Subtract the lower of two numbers from the higher one: from round number to round number.

    First up to full tens, hundreds and thousands, then what the higher one has of them, so that
    each part can be read off.
    """
    if low > high:
        raise ValueError(f"{low} is more than {high}.")
    if low == high:
        return Step(f"{low} is {high}, the difference is 0.", "0")
    stops = [low]
    for unit in (10, 100, 1000):
        stop = -(-stops[-1] // unit) * unit
        if stops[-1] < stop < high:
            stops.append(stop)
    for unit in (1000, 100, 10):
        stop = high // unit * unit
        if stops[-1] < stop < high and (unit > 10 or stops[-1] % 100):
            stops.append(stop)
    stops.append(high)
    parts = [then - before for before, then in pairwise(stops)]
    hops = zip(stops, stops[1:], parts, strict=False)
    said = [f"from {before} to {then} is {part}" for before, then, part in hops]
    if len(parts) > 1:
        said.append(_added(parts).working[:-1])
    return Step(f"{', '.join(said)}.", str(high - low))


def _added(parts: Sequence[int]) -> Step:
    """Add numbers one after the other."""
    so_far, said = parts[0], list[str]()
    for part in parts[1:]:
        said.append(f"{so_far} + {part} = {so_far + part}")
        so_far += part
    return Step(f"{', '.join(said)}.", str(so_far))


def total(*numbers: int) -> Step:
    """Add numbers: of each first the thousands, then the hundreds, and so on."""
    parts = [numbers[0]]
    for number in numbers[1:]:
        digits = str(number)
        placed = [int(digit) * 10 ** (len(digits) - n) for n, digit in enumerate(digits, 1)]
        parts += [part for part in placed if part] or [0]
    return _added(parts)


def times(number: int, count: int) -> Step:
    """Multiply: add as often as needed; what is above ten by tens."""
    if count < 2:
        return Step(f"{number} x {count} = {number * count}.", str(number * count))
    if count <= _COUNTABLE:
        return _added([number] * count)
    tens, rest = divmod(count, 10)
    tenfold, full = number * 10, number * tens * 10
    said = f"{number} x 10 = {tenfold}"
    if tens > 1:
        said += f", {tenfold} x {tens} = {full}"
    if rest:
        remaining = number * rest
        said += f", {number} x {rest} = {remaining}, {full} + {remaining} = {full + remaining}"
    return Step(f"{said}.", str(number * count))


def half(number: int) -> Step:
    """Halve an even number, place by place."""
    digits = str(number)
    placed = [int(digit) * 10 ** (len(digits) - n) for n, digit in enumerate(digits, 1)]
    placed = [part for part in placed if part]
    if placed and placed[-1] % 2:  # an even number's units are even, so only for an odd one
        raise ValueError(f"{number} is not even.")
    halves = [part // 2 for part in placed] or [0]
    said = ", ".join(f"half of {part} is {part // 2}" for part in placed or [0])
    if len(halves) > 1:
        said += f", {_added(halves).working[:-1]}"
    return Step(f"{said}.", str(number // 2))


def compared(number: int, other: int) -> Step:
    """Say whether a number is "more", "less" or "the same" as another."""
    if number == other:
        return Step(f"{number} is the same as {other}.", "the same")
    word = "more" if number > other else "less"
    return Step(f"{number} is {word} than {other}.", word)


def extreme(numbers: Mapping[str, int], word: str, *, lowest: bool = False) -> Step:
    """Find who has the largest or the lowest number; "" for a tie.

    Args:
        numbers: Who has what.
        word: What to call it, as in "largest".
        lowest: Whether the lowest is asked for.
    """
    listed = ", ".join(f"{who} {number}" for who, number in numbers.items())
    best = min(numbers.values()) if lowest else max(numbers.values())
    having = [who for who, number in numbers.items() if number == best]
    if len(having) > 1:
        return Step(f"{listed}: {best} twice, so the same.", "")
    return Step(f"{listed}: the {word} is {best}, {having[0]}.", having[0])


# Years


def years_since(year: int, now: int = NOW) -> Step:
    """Count how many years ago a year is: to the next full ten, the century, and on."""
    step = gap(year, now)
    return Step(step.working[0].upper() + step.working[1:], step.result)


def earliest(born: Mapping[str, int]) -> Step:
    """Find who was born first; "" for a tie."""
    step = extreme(born, "earliest", lowest=True)
    return step if step.result else Step(f"{step.working[:-1]} age.", "")


def years_apart(year: int, other: int) -> Step:
    """Say "3 year(s) younger than"; "" for no difference."""
    if year == other:
        return Step(f"{year} is {other}, so the same age.", "")
    word, order = ("younger", "after") if year > other else ("older", "before")
    low, high = sorted((year, other))
    working = f"{year} is {order} {other}, so {word}. {counted_up(low, high).working}"
    return Step(working, f"{high - low} year(s) {word} than")


def counted_up(low: int, high: int) -> Step:
    """Count from one number to another: small models do that better than they subtract."""
    counted = ", ".join(f"{low + n} {n}" for n in range(1, high - low + 1))
    return Step(f"From {low}: {counted}.", str(high - low))


# Lists


def among(item: str, items: Sequence[str]) -> Step:
    """Say "Yes" if something is in a list."""
    verb, answer = ("is", "Yes") if item in items else ("is not", "No")
    return Step(f"{item} {verb} among {', '.join(items)}.", answer)


def both(items: Sequence[str], first: str, second: str) -> Step:
    """Say "Yes" if two things are in a list."""
    steps = among(first, items), among(second, items)
    answer = "Yes" if all(step.result == "Yes" for step in steps) else "No"
    found = [step.result.lower() for step in steps]
    said = f"{', '.join(items)}: {first} {found[0]}, {second} {found[1]}."
    return Step(said, answer)


def numbered(items: Iterable[str]) -> Step:
    """Count a list."""
    listed = list(items)
    counted = ", ".join(f"{item} {number}" for number, item in enumerate(listed, 1))
    return Step(f"{counted}.", str(len(listed)))


def place(items: Sequence[str], number: int) -> Step:
    """Find what is at a place of a list, from 1; from its end if negative: -1 is the last."""
    counted = ", ".join(f"{n} {item}" for n, item in enumerate(items, 1))
    item = items[number - 1 if number > 0 else number]
    if number == -1:
        return Step(f"{counted}: the last is {item}.", item)
    return Step(f"{counted}: number {number} is {item}.", item)


def holder(lists: Mapping[str, Sequence[str]], item: str) -> Step:
    """Find which of some lists has something; "" if none."""
    listed = "; ".join(f"{name}: {', '.join(items)}" for name, items in lists.items())
    having = [name for name, items in lists.items() if item in items]
    if not having:
        return Step(f"{listed}. {item}: nowhere.", "")
    return Step(f"{listed}. {item}: {having[0]}.", having[0])


def initial(name: str) -> Step:
    """Find the letter that a name begins with."""
    return Step(f"{name} begins with {name[0]}.", name[0])


# Days and dates


def days_after(day: str, days: int) -> Step:
    """Count weekdays on; back for a negative number."""
    sign, start = (1 if days > 0 else -1), _DAYS.index(day)
    passed = [_DAYS[(start + sign * n) % 7] for n in range(1, abs(days) + 1)]
    word = "From" if days > 0 else "Back from"
    counted = ", ".join(f"{one} {n}" for n, one in enumerate(passed, 1))
    return Step(f"{word} {day}: {counted}.", passed[-1])


def days_between(day: str, other: str) -> Step:
    """Count the days from one weekday to the next that is another."""
    days = (_DAYS.index(other) - _DAYS.index(day)) % 7
    if not days:
        return Step(f"{day} is {other}, so 0.", "0")
    return Step(days_after(day, days).working, str(days))


def first_date(dates: Mapping[str, str], *, last: bool = False) -> Step:
    """Find which date comes first in a year, or last; "" for a tie.

    Args:
        dates: What is when, as in "14 March".
        last: Whether the last is asked for.
    """
    placed = {who: (MONTHS.index(date.split()[1]) + 1, date) for who, date in dates.items()}
    listed = ", ".join(f"{who} {date} month {month}" for who, (month, date) in placed.items())
    keys = {who: (month, int(date.split()[0])) for who, (month, date) in placed.items()}
    best = max(keys.values()) if last else min(keys.values())
    having = [who for who, key in keys.items() if key == best]
    word = "last" if last else "first"
    if len(having) > 1:
        return Step(f"{listed}: the same date.", "")
    found = f"{having[0]}, {dates[having[0]]}"
    rivals = {who: key for who, key in keys.items() if key[0] == best[0]}
    if len(rivals) == 1:
        return Step(f"{listed}: month {best[0]} is {word}, {found}.", having[0])
    days = ", ".join(f"{who} day {key[1]}" for who, key in rivals.items())
    return Step(f"{listed}: both month {best[0]}, {days}: {word} is {found}.", having[0])


# Times of the day


def clock(start: str, minutes: int) -> str:
    """Return the time some minutes after another, or before."""
    hour, minute = map(int, start.split(":"))
    moved_on = datetime.datetime(NOW, 1, 1, hour, minute) + datetime.timedelta(minutes=minutes)
    return moved_on.strftime("%H:%M")


def moved(start: str, minutes: int) -> Step:
    """Move a time of the day: to the full hour, whose distance is said, and on by hours."""
    sign, back = ("+", 1) if minutes > 0 else ("-", -1)
    left, now, said = abs(minutes), start, ""
    past = int(start[3:])
    to_hour = past if minutes < 0 else HOUR - past
    if past:
        hour = clock(start, back * to_hour)
        first, last = (start, hour) if minutes > 0 else (hour, start)
        said = f"From {first} to {last} is {to_hour}, "
        if left > to_hour:
            left -= to_hour
            said += f"{abs(minutes)} is {left} more: "
            now = hour
        else:
            said += f"{left} is {'less' if left < to_hour else 'the same'}: "
    steps: list[str] = []
    while left:
        step = min(left, HOUR)
        then = clock(now, back * step)
        steps.append(f"{now} {sign} {step} = {then}")
        now, left = then, left - step
    return Step(f"{said}{', '.join(steps)}.", now)


def minutes_of(time: str) -> int:
    """Return how many minutes after midnight a time is."""
    hour, minute = map(int, time.split(":"))
    return hour * HOUR + minute


def duration(start: str, end: str) -> Step:
    """Count the minutes between two times of a day: to the full hour, full hours, the rest."""
    now, goal = minutes_of(start), minutes_of(end)
    if goal < now:
        raise ValueError(f"{end} is before {start}.")
    parts, said = list[int](), list[str]()
    first = min(-(-now // HOUR) * HOUR, goal)
    full = max(first, goal // HOUR * HOUR)
    for before, then in ((now, first), (first, full), (full, goal)):
        if then > before:
            parts.append(then - before)
            hours = f"{(then - before) // HOUR} x {HOUR} = " if then - before > HOUR else ""
            span = f"{clock('00:00', before)} to {clock('00:00', then)}"
            said.append(f"{span} is {hours if before == first else ''}{then - before}")
    if len(parts) > 1:
        said.append(_added(parts).working[:-1])
    return Step(f"{', '.join(said)}.", str(goal - now))


def first_time(times_of: Mapping[str, str], *, last: bool = False) -> Step:
    """Find which time of the day comes first, or last; "" for a tie."""
    listed = ", ".join(f"{who} {time}" for who, time in times_of.items())
    best = max(times_of.values()) if last else min(times_of.values())
    having = [who for who, time in times_of.items() if time == best]
    if len(having) > 1:
        return Step(f"{listed}: {best} twice, so the same.", "")
    return Step(
        f"{listed}: the {'latest' if last else 'earliest'} is {best}, {having[0]}.", having[0]
    )


def in_hours(minutes: int) -> Step:
    """Turn minutes into "2 hours 35 minutes"."""
    hours, rest = divmod(minutes, HOUR)
    start = 10 if hours >= 10 else 1  # ten hours at once
    full = ", ".join(f"{n * HOUR} {n}" for n in range(start, hours + 1))
    said = f"Full hours: {full}" if hours else f"{minutes} is less than {HOUR}"
    if hours and rest:
        said += f", from {hours * HOUR} to {minutes} is {rest}"
    parts = [counted(hours, "hour")] * bool(hours) + [counted(rest, "minute")] * bool(rest)
    result = " ".join(parts) or "0 minutes"
    return Step(f"{said}: {result}.", result)


def in_minutes(hours: int, minutes: int = 0) -> Step:
    """Turn hours and minutes into minutes."""
    step = times(HOUR, hours)
    if not minutes:
        return step
    full = hours * HOUR
    return Step(f"{step.working[:-1]}, {full} + {minutes} = {full + minutes}.", str(full + minutes))


def counted(number: int, unit: str) -> str:
    """Return a number with its unit, as in "1 day" or "3 days"."""
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"

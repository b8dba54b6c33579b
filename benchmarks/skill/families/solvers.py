"""Solvers of questions: which facts are needed, and which moves lead from them to the answer.

Each takes names of facts. What a question leaves open, such as the day in "Do I work on {day}?",
is drawn so that the answers are spread.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from benchmarks.skill import moves
from benchmarks.skill.families.family import Solved, Solver, Values
from benchmarks.skill.families.makers import items_in, number_in
from benchmarks.skill.moves import Step
from benchmarks.skill.values import DAYS

Solve = Callable[[Values, random.Random], Solved]


def _numbers(values: Values, names: Sequence[str]) -> list[int]:
    return [number_in(values[name]) for name in names]


def _restated(named: Mapping[str, object], step: Step) -> str:
    """Say what is worked with before the working."""
    said = ", ".join(f"{name} {value}" for name, value in named.items())
    return f"{said[0].upper()}{said[1:]}: {step.working}"


def _number(step: Step, working: str = "", **said: object) -> Solved:
    days = moves.counted(int(step.result), "day")
    return Solved(working or step.working, {"n": step.result, "days": days, **_texts(said)})


def _it(step: Step, answer: str = "", working: str = "", **said: object) -> Solved:
    return Solved(working or step.working, {"it": answer or step.result, **_texts(said)})


def _texts(said: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in said.items()}


# Direct in all but words


def look_up(name: str, template: str = "{}") -> Solver:
    """Who to call, where to go: {it} is the fact."""
    return Solver((name,), lambda v, lot: Solved("", {"it": template.format(v[name])}))


# Numbers


def age(name: str) -> Solver:
    """How old somebody or something is in the year {now}, from a year."""
    return Solver(
        (name,), lambda v, lot: _number(moves.years_since(number_in(v[name]), int(v["now"])))
    )


def age_in(name: str) -> Solver:
    """How old somebody will be {more} years after {now}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        more, now = lot.randint(2, 20), int(v["now"])
        years = moves.years_since(number_in(v[name]), now)
        then = moves.total(int(years.result), more)
        return _number(then, f"{years.working} {then.working}", more=more)

    return Solver((name,), solve)


def year_of(name: str, low: int, high: int) -> Solver:
    """The year that is {more} years after a fact's: birthdays, ends of warranties."""

    def solve(v: Values, lot: random.Random) -> Solved:
        more = lot.randint(low, high)
        return _number(moves.total(number_in(v[name]), more), more=more)

    return Solver((name,), solve)


def apart(first: str, second: str) -> Solver:
    """The difference of two facts, whichever is larger."""

    def solve(v: Values, lot: random.Random) -> Solved:
        numbers = _numbers(v, (first, second))
        step = moves.gap(min(numbers), max(numbers))
        named = dict(zip((first, second), numbers, strict=True))
        return _number(step, _restated(named, step))

    return Solver((first, second), solve)


def left(whole: str, *parts: str) -> Solver:
    """What is left of a fact without others: these are added up first."""

    def solve(v: Values, lot: random.Random) -> Solved:
        full, used = number_in(v[whole]), _numbers(v, parts)
        named = dict(zip((whole, *parts), (full, *used), strict=True))
        step = moves.gap(sum(used), full)
        if len(used) > 1:
            step = Step(f"{moves.total(*used).working} {_sentence(step.working)}", step.result)
        return _number(step, _restated(named, step))

    return Solver((whole, *parts), solve)


def left_of(name: str, low: int, high: int, step: int = 1) -> Solver:
    """What is left of a fact without {x}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        full = number_in(v[name])
        used = min(lot.randrange(low, high + 1, step), full - 1)
        done = moves.gap(used, full)
        return _number(done, _restated({name: full}, done), x=used)

    return Solver((name,), solve)


def sum_of(*names: str) -> Solver:
    """The sum of facts."""

    def solve(v: Values, lot: random.Random) -> Solved:
        numbers = _numbers(v, names)
        step = moves.total(*numbers)
        return _number(step, _restated(dict(zip(names, numbers, strict=True)), step))

    return Solver(names, solve)


def plus(name: str, low: int, high: int, step: int = 1) -> Solver:
    """A fact and {x} more."""

    def solve(v: Values, lot: random.Random) -> Solved:
        more = lot.randrange(low, high + 1, step)
        return _number(moves.total(number_in(v[name]), more), x=more)

    return Solver((name,), solve)


def times(name: str, low: int, high: int) -> Solver:
    """A fact {x} times."""

    def solve(v: Values, lot: random.Random) -> Solved:
        count = lot.randint(low, high)
        step = moves.times(number_in(v[name]), count)
        return _number(step, f"{count} times {number_in(v[name])}: {step.working}", x=count)

    return Solver((name,), solve)


def product(name: str, count: str) -> Solver:
    """A fact as often as another says."""

    def solve(v: Values, lot: random.Random) -> Solved:
        number, often = _numbers(v, (name, count))
        step = moves.times(number, often)
        return _number(step, _restated({name: number, count: often}, step))

    return Solver((name, count), solve)


def per_item(name: str, listed: str) -> Solver:
    """A fact as often as another lists things."""

    def solve(v: Values, lot: random.Random) -> Solved:
        items = moves.numbered(items_in(v[listed]))
        number = number_in(v[name])
        step = moves.times(number, int(items.result))
        return _number(step, f"{items.working} {items.result} times {number}: {step.working}")

    return Solver((name, listed), solve)


def half(name: str) -> Solver:
    """Half of a fact."""
    return Solver((name,), lambda v, lot: _number(moves.half(number_in(v[name]))))


def hours_of(name: str) -> Solver:
    """Minutes as {spelled}: "2 hours 35 minutes"."""

    def solve(v: Values, lot: random.Random) -> Solved:
        step = moves.in_hours(number_in(v[name]))
        return Solved(step.working, {"spelled": step.result})

    return Solver((name,), solve)


def most(names: Mapping[str, str], word: str, *, lowest: bool = False, tie: str = "same") -> Solver:
    """Which of some facts is the largest: {it}; what each is called -> its name."""

    def solve(v: Values, lot: random.Random) -> Solved:
        numbers = {called: number_in(v[name]) for called, name in names.items()}
        step = moves.extreme(numbers, word, lowest=lowest)
        return _it(step, step.result or tie)

    return Solver(tuple(names.values()), solve)


def older(
    people: Mapping[str, tuple[str, str]],
    *,
    youngest: bool = False,
    tie: str = "same age",
    form: str = "{name}",
) -> Solver:
    """Who was born first: relation -> names of the facts with the name and the birth year.

    The answer, {it}, follows a form with {name} and {who}; a relation without a name is "".
    """

    def solve(v: Values, lot: random.Random) -> Solved:
        called = {v[name] if name else who: who for who, (name, _) in people.items()}
        years = {
            v[name] if name else who: number_in(v[year]) for who, (name, year) in people.items()
        }
        step = moves.extreme(years, "latest") if youngest else moves.earliest(years)
        if not step.result:
            return _it(step, tie)
        if step.result == called[step.result]:  # it has no name
            return _it(step)
        return _it(step, form.format(name=step.result, who=called[step.result]))

    needs = [name for pair in people.values() for name in pair if name]
    return Solver(tuple(needs), solve)


def years_apart(name: str, other: str, called: str, than: str) -> Solver:
    """Whether one is older or younger: {sentence}, as in "3 years older than me"."""

    def solve(v: Values, lot: random.Random) -> Solved:
        year, base = _numbers(v, (name, other))
        if year == base:
            step = moves.years_apart(year, base)
            return Solved(step.working, {"sentence": "the same age", "word": "the same age"})
        word = "older" if year < base else "younger"
        step = moves.gap(*sorted((year, base)))
        said = moves.counted(int(step.result), "year")
        restated = f"{called} {year}, {than} {base}: {year} is "
        restated += f"{'before' if word == 'older' else 'after'} {base}, so {word}."
        working = f"{restated[0].upper()}{restated[1:]} {_sentence(step.working)}"
        return Solved(working, {"sentence": f"{said} {word}", "word": word})

    return Solver((name, other), solve)


def at_least(name: str, step: int, spread: int) -> Solver:
    """Whether a fact is {x} or more; the threshold lies within some steps of it."""

    def solve(v: Values, lot: random.Random) -> Solved:
        have = number_in(v[name])
        asked = max(have // step * step + lot.randint(-spread, spread) * step, step)
        done = moves.compared(have, asked)
        answer = "No" if done.result == "less" else "Yes"
        return _it(done, answer, x=asked)

    return Solver((name,), solve)


def over(name: str, step: int, spread: int) -> Solver:
    """Whether a fact is more than {x}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        have = number_in(v[name])
        asked = max(have // step * step + lot.randint(-spread, spread) * step, step)
        done = moves.compared(have, asked)
        return _it(done, "Yes" if done.result == "more" else "No", x=asked)

    return Solver((name,), solve)


def covers(have: str, need: str) -> Solver:
    """Whether one fact is enough for another."""

    def solve(v: Values, lot: random.Random) -> Solved:
        numbers = dict(zip((have, need), _numbers(v, (have, need)), strict=True))
        done = moves.compared(*numbers.values())
        answer = "No" if done.result == "less" else "Yes"
        return _it(done, answer, _restated(numbers, done))

    return Solver((have, need), solve)


# Lists


def count(name: str) -> Solver:
    """How many things a fact lists."""
    return Solver((name,), lambda v, lot: _number(moves.numbered(items_in(v[name]))))


def includes(name: str, pool: Sequence[str] = DAYS) -> Solver:
    """Whether a fact lists {x}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        items = items_in(v[name])
        others = [one for one in pool if one not in items]
        asked = lot.choice(items if lot.random() < 0.5 else others)
        return _it(moves.among(asked, items), x=asked)

    return Solver((name,), solve)


def includes_both(name: str, pool: Sequence[str] = DAYS) -> Solver:
    """Whether a fact lists {x} and {y}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        items = items_in(v[name])
        others = [one for one in pool if one not in items]
        pair = lot.sample(items, min(2, len(items)))
        if len(pair) < 2 or lot.random() < 0.5:
            pair = [pair[0], lot.choice(others)]
            lot.shuffle(pair)
        return _it(moves.both(items, *pair), x=pair[0], y=pair[1])

    return Solver((name,), solve)


def in_both(first: str, second: str, pool: Sequence[str] = DAYS) -> Solver:
    """Whether two facts both list {x}."""

    def solve(v: Values, lot: random.Random) -> Solved:
        lists = [items_in(v[name]) for name in (first, second)]
        shared = [item for item in lists[0] if item in lists[1]]
        asked = lot.choice(shared if shared and lot.random() < 0.6 else list(pool))
        steps = [moves.among(asked, items) for items in lists]
        answer = "Yes" if all(step.result == "Yes" for step in steps) else "No"
        return _it(steps[0], answer, " ".join(step.working for step in steps), x=asked)

    return Solver((first, second), solve)


def nth(name: str, number: int) -> Solver:
    """What stands at a place of a list; -1 for the last."""
    return Solver((name,), lambda v, lot: _it(moves.place(items_in(v[name]), number)))


def holder(names: Mapping[str, str], pool: Sequence[str], nobody: str = "neither") -> Solver:
    """Which of some lists has {x}: what each is called -> its name."""

    def solve(v: Values, lot: random.Random) -> Solved:
        lists = {called: items_in(v[name]) for called, name in names.items()}
        everything = [item for items in lists.values() for item in items]
        once = [item for item in everything if everything.count(item) == 1]
        others = [one for one in pool if one not in everything]
        asked = lot.choice(once if once and (lot.random() < 0.75 or not others) else others)
        step = moves.holder(lists, asked)
        return _it(step, step.result or nobody, x=asked)

    return Solver(tuple(names.values()), solve)


def initial(name: str) -> Solver:
    """The first letter of a name."""
    return Solver((name,), lambda v, lot: _it(moves.initial(v[name])))


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"

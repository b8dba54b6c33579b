"""What the layered experiment claims: of several adapters the means, and of costs the worst."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.markdown import counted, percent
from benchmarks.promises import Promise, promise

LEAST_INDIRECT = 0.88
LEAST_DIRECT = 0.95
LEAST_UNKNOWN = 0.98
MOST_FALSELY_UNKNOWN = 0.02
ABOVE_PRIOR = 0.03
MOST_NATS = 0.02
MOST_SECONDS = 1.0
PRIORS = ("prior-data", "prior-people")

Results = dict[str, Any]


def claims(results: Results) -> list[Promise]:
    """Return the claims for which something was measured, each with what was found."""
    made = (_indirect, _controls, _users, _direct, _unknown, _outside, _written)
    return [one for claim in made for one in claim(results)]


def named(results: Results, name: str) -> Results | None:
    """Return a condition's results, None if it was not run."""
    found = (one for one in results["conditions"] if one["name"] == name and one["runs"])
    return next(found, None)


def prior(results: Results) -> float | None:
    """Return the share that the better of the priors gets right, over seeds; None for none."""
    found = [one["share"]["mean"] for name in PRIORS if (one := named(results, name))]
    return max(found, default=None)


def _indirect(results: Results) -> Iterable[Promise]:
    if ours := named(results, "rows-skill"):
        text = f"Indirect questions, rows + skill: at least {LEAST_INDIRECT:.0%} exact"
        yield promise(text, ours["share"]["mean"] >= LEAST_INDIRECT, _counts(ours["runs"]))


def _controls(results: Results) -> Iterable[Promise]:
    before = prior(results)
    if before is None:
        return
    most = before + ABOVE_PRIOR
    for name, shown in (("wrong-user", "A wrong user's rows + skill"), ("skill", "The skill only")):
        if one := named(results, name):
            text = f"{shown}: at most 3 points above the prior of {percent(before)}"
            yield promise(text, one["share"]["mean"] <= most, _counts(one["runs"]))


def _users(results: Results) -> Iterable[Promise]:
    if "worse_users" in results:
        worse = sorted({uid for some in results["worse_users"] for uid in some})
        found = f"{len(worse)} of {results['users']}{': ' if worse else ''}{', '.join(worse)}"
        yield promise("No user is worse off than with the untouched model", not worse, found)


def _direct(results: Results) -> Iterable[Promise]:
    ours = named(results, "rows-skill")
    if not ours or "direct" not in ours:
        return
    text = f"Direct questions, rows + skill: at least {LEAST_DIRECT:.0%} exact"
    yield promise(text, ours["direct_share"]["mean"] >= LEAST_DIRECT, _counts(ours["direct"]))
    for kind, runs in (("direct", ours["direct"]), ("indirect", ours["runs"])):
        held = all(run["unknown"] <= MOST_FALSELY_UNKNOWN * run["asked"] for run in runs)
        what = f'"I don\'t know." to {kind} questions whose facts are there'
        yield promise(f"{what}: at most {MOST_FALSELY_UNKNOWN:.0%}", held, _counts(runs, "unknown"))


def _unknown(results: Results) -> Iterable[Promise]:
    if runs := [one["absent"] for one in results["adapters_measured"] if "absent" in one]:
        held = all(run["asked"] and run["unknown"] >= LEAST_UNKNOWN * run["asked"] for run in runs)
        text = f'"I don\'t know." where the fact is missing: at least {LEAST_UNKNOWN:.0%}'
        yield promise(text, held, _counts(runs, "unknown"))


def _outside(results: Results) -> Iterable[Promise]:
    measured = [one for one in results["adapters_measured"] if "cost" in one]
    if not measured:
        return
    nats = [one["cost"]["nats"] for one in measured]
    text = f"The skill costs at most {MOST_NATS} nats per token of other text"
    tokens = measured[0]["cost"]["tokens"]
    yield promise(text, max(nats) <= MOST_NATS, f"{_each(nats, '+.4f')} on {tokens:,} tokens")
    equal = [one["bits"] for one in measured]
    held = all(one["compared"] > 0 and one["equal"] == one["compared"] for one in equal)
    found = "; ".join(
        f"{one['equal']:,} of {one['compared']:,} ({one['texts']} texts, {one['tables']} tables)"
        for one in equal
    )
    yield promise("A table on top of the skill leaves other text bit-identical", held, found)


def _written(results: Results) -> Iterable[Promise]:
    device = results.get("device", "")
    if "H100" not in device:
        return
    written = [one["written"] for one in results["adapters_measured"]]
    if not written:
        return
    held = all("seconds" in one and one["seconds"]["median"] <= MOST_SECONDS for one in written)
    found = _each([one["seconds"]["median"] for one in written if "seconds" in one], ".2f")
    text = f"A user's facts are written, with the skill, in at most {MOST_SECONDS:g} s on an H100"
    yield promise(text, held, found or "facts were left out")


def _counts(runs: Iterable[Results], key: str = "right") -> str:
    return "; ".join(counted(run[key], run["asked"]) for run in runs)


def _each(values: Iterable[float], form: str) -> str:
    shown: Callable[[float], str] = lambda value: format(value, form)  # noqa: E731
    return ", ".join(map(shown, values))

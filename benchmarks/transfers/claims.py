"""What the transfer experiment claims: means over the adapters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.layers.scoring import over_runs
from benchmarks.markdown import counted, percent
from benchmarks.promises import Promise, promise
from benchmarks.transfers import chains, families, paraphrases, unseen
from benchmarks.transfers.scoring import pooled

LEAST_TEMPLATE = 0.95
LEAST_SYNONYM = 0.80
LEAST_ABSENT = 0.98
LEAST_PARAPHRASE = 0.85
LEAST_DIRECT = 0.85
ABOVE_PRIOR = 0.15
LEAST_CHAIN = 0.80
MOST_CONTROL = 0.10

Results = dict[str, Any]


def claims(results: Results) -> list[Promise]:
    """Return the claims for which something was measured, each with what was found.

    They are made for names="unknown", or else for the first setting that was run.
    """
    names = "unknown" if "unknown" in results["names"] else results["names"][0]
    parts = {part["name"]: part for part in results["parts"]}
    makers = {
        "unseen": _unseen,
        "families": _families,
        "chains": _chains,
        "paraphrases": _paraphrases,
    }
    made = [*_written(results)]
    for name, claim in makers.items():
        if name in parts:
            made += claim(parts[name], names)
    return made


def _written(results: Results) -> Iterator[Promise]:
    written = [one for part in results["parts"] for one in part["written"]]
    left_out = sum(one["left_out"] for one in written)
    facts = sum(one["facts"] for one in written)
    found = counted(facts - left_out, facts)
    yield promise("Every fact is recalled when it is written", facts > 0 and not left_out, found)


def _unseen(part: Results, names: str) -> Iterator[Promise]:
    absent = {
        kind for run in part["runs"] for kind in run["kinds"] if kind.startswith(unseen.ABSENT)
    }
    yield from _least(
        part, names, [unseen.TEMPLATE], "Held-out attributes, held-out templates", LEAST_TEMPLATE
    )
    yield from _least(
        part, names, [unseen.SYNONYM], "Held-out attributes, synonyms not stored", LEAST_SYNONYM
    )
    text = 'Held-out attributes that the table lacks, "I don\'t know."'
    yield from _least(part, names, sorted(absent), text, LEAST_ABSENT)


def _families(part: Results, names: str) -> Iterator[Promise]:
    yield from _least(
        part, names, [families.DIRECT], "Held-out families, direct questions", LEAST_DIRECT
    )
    right, asked = part["prior"].get(families.INDIRECT, (0, 0))
    if asked:
        text = "Held-out families, indirect questions: at least 15 points above the prior of"
        least = right / asked + ABOVE_PRIOR
        for mean, found in _measured(part, names, [families.INDIRECT]):
            text = f"{text} {percent(right / asked)}{_with(names)}"
            yield promise(text, mean >= least, found)


def _chains(part: Results, names: str) -> Iterator[Promise]:
    yield from _least(part, names, [chains.CHAIN], "True chains", LEAST_CHAIN)
    for control in (chains.FIRST_ONLY, chains.SECOND_ONLY):
        kind = chains.controlled(chains.CHAIN, control)
        for mean, found in _measured(part, names, [kind]):
            text = f"True chains, {control}: at most {MOST_CONTROL:.0%} exact{_with(names)}"
            yield promise(text, mean <= MOST_CONTROL, found)


def _paraphrases(part: Results, names: str) -> Iterator[Promise]:
    yield from _least(part, names, [paraphrases.PARAPHRASE], "Paraphrases", LEAST_PARAPHRASE)


def _least(
    part: Results, names: str, kinds: Iterable[str], what: str, least: float
) -> Iterator[Promise]:
    for mean, found in _measured(part, names, kinds):
        text = f"{what}: at least {least:.0%} exact{_with(names)}"
        yield promise(text, mean >= least, found)


def _measured(part: Results, names: str, kinds: Iterable[str]) -> Iterator[tuple[float, str]]:
    """Yield the mean over the adapters, and what was found; nothing if nothing was asked."""
    runs = pooled(part, names, kinds)
    if runs:
        mean = float(over_runs(runs)["mean"])
        each = "; ".join(counted(run["right"], run["asked"]) for run in runs)
        yield mean, each if len(runs) == 1 else f"mean {percent(mean)}: {each}"


def _with(names: str) -> str:
    return "" if names == "unknown" else f' (names="{names}")'

"""How many facts one table holds: 10 to 10,000 distinct triggers, by all protocols.

    python -m benchmarks run density [--counts 10 100 1000] [--source generated published]

Facts are those of the project's seeded generator (people, numbers, dates, prices, phone numbers,
codes, paths, settings, six other scripts), and the 2,000 published ones of "User as Engram". Each
count is a table of its own; all of its facts are asked on their own, after nothing.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import markdown
from benchmarks.facts import GENERATOR, SOURCE, made_up_facts, published_facts
from benchmarks.methods.memory import Memory
from benchmarks.promises import Promise, are_checked, at_least
from benchmarks.setting import Setting
from benchmarks.tally import PROTOCOLS, ask_all, by_kind, write_all

NEEDS_MODEL = True
COUNTS = {"cuda": (10, 30, 100, 300, 1_000, 3_000, 10_000), "cpu": (10, 30, 100, 300)}
HELD = {100: 1.0, 1_000: 0.995, 10_000: 0.99}
"""Facts in the table -> the share that must be answered whole."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--counts", type=int, nargs="+", help="facts in a table; less on a CPU")
    parser.add_argument("--source", nargs="+", default=["generated", "published"])


def run(setting: Setting) -> dict[str, Any]:
    options = setting.options
    counts = (3, 6) if setting.quick else COUNTS.get(setting.device.type, COUNTS["cpu"])
    counts = sorted(options.counts or counts)
    results: dict[str, Any] = {"sources": [], "promises": []}
    for name in options.source:
        facts, kinds, source = facts_from(name, counts[-1], setting)
        points = [
            measure(setting, facts[:count], kinds[:count], name)
            for count in counts
            if count <= len(facts)
        ]
        results["sources"].append({"name": name, "facts_from": source, "points": points})
        if are_checked(setting):
            results["promises"] += promises(name, points)
    return results


def facts_from(
    name: str, count: int, setting: Setting
) -> tuple[list[tuple[str, str]], list[str], str]:
    """Return facts, the kind of each, and where they are from."""
    if name == "published":
        facts = published_facts(setting.data)
        return facts, ["published"] * len(facts), SOURCE
    made_up = made_up_facts(count, setting.seed)
    pairs = [(fact.trigger, fact.answer) for fact in made_up]
    return pairs, [fact.kind for fact in made_up], f"{GENERATOR}, seed {setting.seed}"


def measure(
    setting: Setting, facts: list[tuple[str, str]], kinds: list[str], name: str
) -> dict[str, Any]:
    """Write a table and ask all of it."""
    memory = Memory(setting)
    try:
        written = write_all(memory, facts)
        recall = ask_all(memory, facts)
        point = {**written, **recall.counts(), "kinds": by_kind(kinds, recall.whole)}
    finally:
        memory.close()
    print(
        f"{len(facts):,} {name} facts: {markdown.counted(point['whole'], len(facts))} whole,"
        f" {point['forced']:,} forced, {point['first']:,} first; {written['left_out']} left out;"
        f" {written['seconds']:.2f} s, {written['bytes_of_rows_and_addresses']:,} bytes"
    )
    return point


def promises(name: str, points: list[dict[str, Any]]) -> list[Promise]:
    return [
        at_least(
            f"{point['facts']:,} {name} facts answered whole",
            HELD[point["facts"]],
            point["whole"],
            point["asked"],
        )
        for point in points
        if point["facts"] in HELD
    ]


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Density: how many facts one table holds",
        "",
        "Distinct triggers, each count in a table of its own, every fact asked on its own. Facts"
        " that `write` left out count as not recalled.",
        "",
    ]
    for run in runs:
        for source in filter(_has_points, run["sources"]):
            lines += [
                f"### {source['name'].capitalize()} facts: {markdown.where(run)}",
                "",
                f"Facts: {source['facts_from']}; {markdown.provenance(run)}.",
                "",
                *_table(source["points"]),
                *_kinds(source["points"][-1]),
            ]
    return lines


def _has_points(source: dict[str, Any]) -> bool:
    return bool(source["points"])


def _table(points: list[dict[str, Any]]) -> list[str]:
    header = ["facts", *PROTOCOLS, "left out", "seconds", "asking, seconds", "rows", "addresses"]
    return markdown.table(
        [*header, "bytes of both", "bytes on disk"],
        [
            [
                f"{one['facts']:,}",
                *(markdown.percent(one[protocol] / one["asked"]) for protocol in PROTOCOLS),
                one["left_out"],
                f"{one['seconds']:.2f}",
                f"{one['evaluation_seconds']:.2f}",
                f"{one['rows']:,}",
                f"{one['addresses']:,}",
                f"{one['bytes_of_rows_and_addresses']:,}",
                f"{one['bytes_on_disk']:,}",
            ]
            for one in points
        ],
    )


def _kinds(point: dict[str, Any]) -> list[str]:
    if len(point["kinds"]) < 2:
        return []
    shown = [f"{kind} {one['whole']:,} of {one['asked']:,}" for kind, one in point["kinds"].items()]
    return [f"By kind, whole answers among {point['facts']:,}: {', '.join(shown)}.", ""]


def plot(runs: list[dict[str, Any]]) -> Any:
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 6), sharex=True)
    for run in runs:
        for source in filter(_has_points, run["sources"]):
            counts = [one["facts"] for one in source["points"]]
            label = f"{source['name']}, {markdown.where(run)}"
            (line,) = above.plot(counts, _shares(source, "whole"), marker="o", label=label)
            above.plot(counts, _shares(source, "first"), ":", color=line.get_color())
            taken = [one["seconds"] for one in source["points"]]
            below.plot(counts, taken, marker="o", color=line.get_color())
    sources = [source for run in runs for source in filter(_has_points, run["sources"])]
    lowest = min(share for source in sources for share in _shares(source, "whole"))
    above.set_ylim(min(lowest, 95) - 1, 101)
    above.set_ylabel("recalled, %\n(dotted: first token)")
    above.legend(fontsize="small")
    below.set_ylabel("seconds to write")
    below.set_xlabel("facts in one table")
    below.set_xscale("log")
    below.set_yscale("log")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure


def _shares(source: dict[str, Any], protocol: str) -> list[float]:
    return [100 * one[protocol] / one["asked"] for one in source["points"]]

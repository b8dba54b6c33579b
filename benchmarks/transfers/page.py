"""The transfer experiment's part of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks import markdown, promises
from benchmarks.transfers.parts import PARTS

Run = dict[str, Any]


def section(runs: list[Run]) -> list[str]:
    """Return the part of docs/benchmarks.md."""
    lines = [
        "## How far the skill carries: what it was never trained on (`transfer`)",
        "",
        "Wordings, attributes, kinds of people and chains that are held out of the skill's"
        " training. Counted is the exact match of the final answer (lower case, without a full"
        " stop); an answer that never came is wrong. Names are of facts, never their values:"
        ' "unknown" shows them where the skill asks by a name that no fact has, "always" with each'
        ' question, "never" not at all. **Resolved** are answers for which a fact\'s name was taken'
        " in place of another. Tokens said are those of the recitation and the answer. Over several"
        " adapters, exact is their mean, with its range; other counts are their sums. *Controls*"
        " lack what they need.",
        "",
        *markdown.provenances(runs),
    ]
    for run in runs:
        lines += _of_run(run)
    return lines


def _of_run(run: Run) -> list[str]:
    lines = [
        f"### {markdown.where(run)}",
        "",
        f"Data: {run['data']}, and what the skill's own generators make up. Adapters:"
        f" {', '.join(run['adapters'])}.",
        "",
    ]
    for source in PARTS:
        for part in run["parts"]:
            if part["name"] == source.name:
                lines += [
                    f"**{source.title}** (`{source.name}`; {part['facts']:,} facts in"
                    f" {part['tables']:,} tables). {source.about}",
                    "",
                    *markdown.table(_HEADER, _rows(part, run["names"])),
                    *_notes(part),
                ]
    return [*lines, *promises.lines([run])]


_HEADER = ("", "names", "exact", "range", '"I don\'t know."', "no end", "resolved", "tokens said")


def _rows(part: Run, settings: list[str]) -> Iterator[list[str]]:
    for kind in part["kinds"]:
        for names in settings:
            runs = [
                run["kinds"][kind]
                for run in part["runs"]
                if run["names"] == names and kind in run["kinds"]
            ]
            if not runs:
                continue
            share = part["shares"][names][kind]
            yield [
                f"*{kind}*" if kind in part["controls"] else kind,
                names,
                _exact(share, runs[0]),
                _range(share),
                *(_sum(runs, count) for count in ("unknown", "no_end", "resolved")),
                f"{sum(run['tokens_said'] for run in runs) / len(runs):,.0f}",
            ]
        if kind in part["prior"]:
            exact = markdown.counted(*part["prior"][kind])
            yield [f"*{kind}, the prior*", "", exact, *[""] * (len(_HEADER) - 3)]


def _exact(share: Run, first: Run) -> str:
    if share["n"] == 1:
        return markdown.counted(first["right"], first["asked"])
    return f"{markdown.percent(share['mean'])} of {first['asked']:,} (n = {share['n']})"


def _range(share: Run) -> str:
    if share["n"] == 1:
        return ""
    return f"{markdown.percent(share['min'])} to {markdown.percent(share['max'])}"


def _sum(runs: list[Run], count: str) -> str:
    return f"{sum(run[count] for run in runs):,} of {sum(run['asked'] for run in runs):,}"


def _notes(part: Run) -> list[str]:
    """Return what could not be written or asked."""
    lines = [
        f"- {one['adapter']}: {one['left_out']:,} of {one['facts']:,} facts were left out, such as"
        f" {one['examples'][0]!r}."
        for one in part["written"]
        if one["left_out"]
    ]
    lines += [
        f"- {run['adapter']}: {run['not_asked']:,} questions to tables with more names than fit a"
        f' question are not asked with names "{run["names"]}".'
        for run in part["runs"]
        if run["not_asked"]
    ]
    return [*lines, ""] if lines else []

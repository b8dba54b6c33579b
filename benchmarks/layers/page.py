"""The layered experiment's part of docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks import markdown, promises
from benchmarks.layers.scoring import CONSTANT, PUBLISHED

Run = dict[str, Any]


def section(runs: list[Run]) -> list[str]:
    """Return the part of docs/benchmarks.md."""
    lines = [
        "## Layer by layer: rows, the shared skill, both (`layered`)",
        "",
        "Test users ask about themselves: **indirect** questions need a fact and a thought, as age"
        " from a birth year; **direct** ones need the fact. Counted is the exact match of the final"
        " answer (lower case, without a full stop) over all questions; an answer that never came is"
        " wrong. A model without the skill is asked in a chat, and its whole first line is its"
        " answer. The **published** metric, for reference only, looks for the right answer anywhere"
        f" in the first 16 tokens, for the first {PUBLISHED} questions of each user: the published"
        f' 44 % are what the constant "{CONSTANT.strip()}" gets, but for a point.'
        " The **prior** is the commonest answer of other people to the same question. Rows of a"
        " **wrong user** are the next user's. **With sums calculated** the library completes"
        " what the model writes before an equals sign, which is an option and no part of a claim."
        " Intervals are 95 %, users drawn anew; ranges are over seeds or adapters.",
        "",
        *markdown.provenances(runs),
    ]
    for run in runs:
        lines += _of_run(run)
    return lines


def _of_run(run: Run) -> list[str]:
    conditions = run["conditions"]
    lines = [
        f"### {run['users']} users, {run['facts']:,} facts: {markdown.where(run)}",
        "",
        f"Data: {run['data']}. Adapters: {', '.join(run['adapters'])}.",
        "",
        *markdown.table(_HEADER, [_row(one) for one in conditions]),
    ]
    lines += _schemas(conditions)
    lines += _wrong_user(run)
    for measured in run["adapters_measured"]:
        lines += _measured(measured)
    if "worse_users" in run:
        counts = ", ".join(f"{len(some)} of {run['users']}" for some in run["worse_users"])
        lines += [f"- Users who are worse off than with the untouched model: {counts}."]
    return [*lines, "", *promises.lines([run])]


_HEADER = (
    "",
    "indirect, exact",
    "95 %",
    "range",
    "published metric",
    "direct, exact",
    "bytes per user",
    "context tokens",
    "tokens said",
)


def _row(one: Run) -> list[str]:
    if not one["runs"]:
        return [one["title"], f"not run: {one['not_run']}", *[""] * (len(_HEADER) - 2)]
    first, share = one["runs"][0], one["share"]
    notes = first["notes"]
    low, high = first["interval"]
    right = markdown.counted(first["right"], first["asked"])
    direct, said = one.get("direct"), first.get("published")
    return [
        one["title"],
        right if share["n"] == 1 else f"{markdown.percent(share['mean'])} (n = {share['n']})",
        f"{markdown.percent(low)} to {markdown.percent(high)}" if share["n"] == 1 else "",
        _range(share),
        markdown.percent(said["hits"] / said["asked"]) if said else "",
        "" if not direct else _direct(direct, one["direct_share"]),
        f"{notes['bytes']:,.0f}" if "bytes" in notes else "",
        f"{notes['context_tokens']:,.0f}" if "context_tokens" in notes else "",
        f"{first['tokens_said']:,.0f}" if first["tokens_said"] else "",
    ]


def _direct(runs: list[Run], share: dict[str, Any]) -> str:
    if share["n"] == 1:
        return markdown.counted(runs[0]["right"], runs[0]["asked"])
    return f"{markdown.percent(share['mean'])} ({_range(share)})"


def _range(share: dict[str, Any]) -> str:
    if share["n"] == 1:
        return ""
    return f"{markdown.percent(share['min'])} to {markdown.percent(share['max'])}"


def _schemas(conditions: Iterable[Run]) -> list[str]:
    """Return a table of each kind of question; of several runs the first one's."""
    shown = [one for one in conditions if one["runs"]]
    kinds = list(shown[0]["runs"][0]["schemas"]) if shown else []
    if not kinds:
        return []
    asked = shown[0]["runs"][0]["schemas"]
    header = ("indirect, exact", *(f"{kind} ({asked[kind][1]})" for kind in kinds))
    rows = [
        (one["title"], *(markdown.percent(r / n) for r, n in one["runs"][0]["schemas"].values()))
        for one in shown
    ]
    return markdown.table(header, rows)


def _wrong_user(run: Run) -> list[str]:
    found = run.get("wrong_user")
    if not found:
        return []
    return [
        f"- Wrong users: in {found['differing_keys']} of {found['pairs']} pairs one has facts that"
        f" the other has not, such as a child; {found['lacking_a_fact']} questions need a fact that"
        f" the wrong user has not, and {found['same_answer']} have the same answer for both."
    ]


def _measured(one: Run) -> list[str]:
    """Return what is seen with one adapter besides its answers."""
    lines: list[str] = []
    written = one["written"]
    if "seconds" in written:
        lines += [
            f"- {one['adapter']}, writing one user's facts, all of them asked: "
            f"{markdown.seconds(written['seconds'])} seconds;"
            f" {written['bytes']['mean']:,.0f} bytes ({written['bytes']['min']:,} to"
            f" {written['bytes']['max']:,})."
        ]
    elif written["left_out"]:
        left_out = len(written["left_out"])
        lines += [f"- {one['adapter']}: {left_out} of {written['facts']:,} facts were left out."]
    if "absent" in one:
        absent = one["absent"]
        lines += [
            f'- {one["adapter"]}, "I don\'t know." where the fact is missing and all others are'
            f" there: {markdown.counted(absent['unknown'], absent['asked'])}."
        ]
    if "cost" in one:
        cost, bits = one["cost"], one["bits"]
        each = ", ".join(f"{s['name']} {s['nats']:+.4f}" for s in cost["sources"])
        lines += [
            f"- {one['adapter']}, what the skill costs text that asks nothing:"
            f" {cost['nats']:+.4f} nats per token of {cost['tokens']:,} ({each}). With a table on"
            f" top, all logits are the same bits in {bits['equal']:,} of {bits['compared']:,}"
            f" readings ({bits['texts']} texts, {bits['tables']} tables; a row was found in"
            f" {bits['with_row']})."
        ]
    return lines

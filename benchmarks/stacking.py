"""Stacking: tables of an organisation, a user, a project and more, all active at once.

    python -m benchmarks run stacking [--tables 1 2 4 8] [--facts 100] [--shared 10]

Every owner has a table of its own, written without knowing of the others. In a stack, every fact of
every table is asked, in several orders of the tables. Some triggers are in all tables, each time
with another answer: there the strongest table, the first of the stack, has to win. Beside that,
each table is asked alone: what it loses in a stack is the stack's loss.
"""

from __future__ import annotations

import argparse
import random
from typing import Any, NamedTuple

from benchmarks import markdown
from benchmarks.asking import Question, Recall, recall
from benchmarks.fact_kinds import SHARED
from benchmarks.facts import GENERATOR, made_up_facts
from benchmarks.promises import are_checked, promise
from benchmarks.setting import Setting
from benchmarks.tally import PROTOCOLS
from engram_transformers import UserTable, add_engram, remove_engram, use_tables

NEEDS_MODEL = True
OWNERS = ("organisation", "user", "project", "household", "team", "city", "device", "session")


class Owned(NamedTuple):
    """An owner's table, its own facts, and those whose triggers the others have, too."""

    table: UserTable
    own: list[tuple[str, str]]
    shared: list[tuple[str, str]]
    left_out: set[str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tables", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--facts", type=int, default=100, help="in each table")
    parser.add_argument(
        "--shared", type=int, default=10, help="of which so many are in every table"
    )
    parser.add_argument("--orders", type=int, default=3, help="of the tables, by lot, beside two")


def run(setting: Setting) -> dict[str, Any]:
    options = setting.options
    depths, count, shared = sorted(set(options.tables)), options.facts, options.shared
    if setting.quick:
        depths, count, shared = [1, 2], 4, 1
    add_engram(setting.model, setting.tokenizer, **setting.config_fields)
    try:
        owned = [write(setting, number, count, shared) for number in range(depths[-1])]
        alone = [ask(setting, [one]) for one in owned]
        stacks = [measure(setting, owned[:depth], alone[:depth]) for depth in depths]
    finally:
        remove_engram(setting.model)
    promises = []
    if are_checked(setting):
        lost = sum(one["lost"] for one in stacks)
        asked = sum(one["asked"] for one in stacks)
        promises.append(
            promise(
                f"up to {depths[-1]} tables of {count} facts in a stack lose nothing",
                lost == 0,
                f"{lost:,} of {asked:,} answers lost",
            )
        )
    return {
        "facts_from": f"{GENERATOR}, seed {setting.seed}",
        "facts_per_table": count,
        "shared_triggers": shared,
        "stacks": stacks,
        "promises": promises,
    }


def write(setting: Setting, number: int, count: int, shared: int) -> Owned:
    """Write the table of one owner."""
    own_count = count - shared
    made_up = made_up_facts((number + 1) * own_count, setting.seed)[number * own_count :]
    own = [(fact.trigger, fact.answer) for fact in made_up]
    in_all = shared_facts(shared, setting.seed)[number]
    table = UserTable(setting.model, OWNERS[number % len(OWNERS)] + f"-{number}")
    report = table.write([*own, *in_all], progress=False)
    left_out = {str(failed.fact.prompt) for failed in report.failed}
    print(f"{table.owner}: {len(report.written)} of {count} facts, {len(left_out)} left out")
    return Owned(table, own, in_all, left_out)


def shared_facts(count: int, seed: int) -> list[list[tuple[str, str]]]:
    """Return, for each owner, facts whose triggers are the same and whose answers differ."""
    rng = random.Random(f"shared {seed}")
    tables: list[list[tuple[str, str]]] = [[] for _ in OWNERS]
    for trigger, draw in SHARED[:count]:
        answers: dict[str, None] = {}
        while len(answers) < len(OWNERS):
            answers[draw(rng)] = None
        for table, answer in zip(tables, answers, strict=True):
            table.append((trigger, answer))
    return tables


def asked_of(stack: list[Owned]) -> list[tuple[Owned, tuple[str, str]]]:
    """Return what is asked: the own facts of all tables, then the shared ones of the strongest."""
    own = [(one, fact) for one in stack for fact in one.own]
    return own + [(stack[0], fact) for fact in stack[0].shared]


def ask(setting: Setting, stack: list[Owned]) -> Recall:
    """Ask in a stack. What its table left out is not recalled, whatever is said."""
    pairs = asked_of(stack)
    questions = [Question(*fact) for _, fact in pairs]
    tables = [one.table for one in stack]
    found = recall(
        setting.model,
        setting.tokenizer,
        questions,
        active=lambda part: use_tables(setting.model, [tables] * len(part)),
    )
    kept = [fact[0] not in one.left_out for one, fact in pairs]
    return Recall(*([a and b for a, b in zip(flags, kept, strict=True)] for flags in found))


def measure(setting: Setting, owned: list[Owned], alone: list[Recall]) -> dict[str, Any]:
    """Ask all facts of a stack in several orders of its tables."""
    orders = {"as written": list(range(len(owned)))}
    if len(owned) > 1:
        orders["reversed"] = orders["as written"][::-1]
    for number in range(setting.options.orders if len(owned) > 2 and not setting.quick else 0):
        order = list(range(len(owned)))
        random.Random(f"{number} {setting.seed}").shuffle(order)
        orders[f"by lot {number + 1}"] = order
    runs: list[dict[str, Any]] = []
    for name, order in orders.items():
        stack = [owned[i] for i in order]
        found = ask(setting, stack)
        own = len(found.whole) - len(stack[0].shared)
        # Alone, each table was asked its own facts and then the shared ones.
        before = [flag for i in order for flag in alone[i].whole[: len(owned[i].own)]]
        before += alone[order[0]].whole[len(stack[0].own) :]
        lost = [b and not flag for b, flag in zip(before, found.whole, strict=True)]
        runs.append(
            {
                "order": name,
                **found.counts(),
                "alone": sum(before),
                "lost": sum(lost),
                "shared_asked": len(stack[0].shared),
                "strongest_wins": sum(found.whole[own:]),
                "lost_facts": [
                    {"trigger": fact[0], "owner": one.table.owner}
                    for (one, fact), gone in zip(asked_of(stack), lost, strict=True)
                    if gone
                ][:5],
            }
        )
        print(
            f"{len(owned)} tables, {name}: {markdown.counted(sum(found.whole), len(found.whole))}"
            f" whole, {sum(before)} alone, {sum(lost)} lost; strongest wins"
            f" {sum(found.whole[own:])} of {len(stack[0].shared)} shared triggers"
        )
    totals = {key: sum(one[key] for one in runs) for key in ("asked", *PROTOCOLS, "alone", "lost")}
    return {"tables": len(owned), **totals, "orders": runs}


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Stacking: several tables at once",
        "",
        "Tables of different owners, written apart and active together; every fact of every table"
        " asked, in several orders of the tables. Triggers that all tables have are to be answered"
        " as the strongest one says. Lost is what its table answers alone and not in the stack.",
        "",
    ]
    for run in runs:
        lines += [
            *markdown.heading(
                run,
                f"{run['facts_per_table']} facts a table, {run['shared_triggers']} of them with the"
                f" same triggers in all ({run['facts_from']}); {markdown.provenance(run)}.",
            ),
            *markdown.table(
                ["tables", "order", *PROTOCOLS, "of", "alone", "lost", "strongest wins"],
                [
                    [
                        stack["tables"],
                        one["order"],
                        *(markdown.percent(one[name] / one["asked"]) for name in PROTOCOLS),
                        f"{one['asked']:,}",
                        markdown.percent(one["alone"] / one["asked"]),
                        one["lost"],
                        f"{one['strongest_wins']} of {one['shared_asked']}",
                    ]
                    for stack in run["stacks"]
                    for one in stack["orders"]
                ],
            ),
        ]
    return lines

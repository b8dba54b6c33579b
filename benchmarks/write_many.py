"""Facts of many users written in one call: facts per second, with and without asking them.

    python -m benchmarks run write_many [--users 500] [--facts 20]

Each user has facts of their own; all are found together and asked in the same batches, each with
its user's table. Some users are then written one by one, for comparison, and must get the same
table.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from benchmarks import markdown
from benchmarks.asking import Question, encode, is_whole, tokens_of
from benchmarks.common import spread, synchronise
from benchmarks.facts import GENERATOR, generated_facts
from benchmarks.promises import are_checked, at_least, promise
from benchmarks.setting import Setting
from engram_transformers import UserTable, add_engram, remove_engram, use_tables, write_many
from engram_transformers.attachment import require_attachment

NEEDS_MODEL = True
SIZES = {"cuda": ((500, 20), (100, 100)), "cpu": ((5, 20), (20, 5))}
HELD_PER_SECOND = {"cuda": 2_500, "cpu": 50}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--users", type=int)
    parser.add_argument("--facts", type=int, help="of each user")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--alone", type=int, default=3, help="users that are also written alone")


def run(setting: Setting) -> dict[str, Any]:
    options = setting.options
    sizes = SIZES.get(setting.device.type, SIZES["cpu"])
    if options.users or options.facts:
        sizes = ((options.users or sizes[0][0], options.facts or sizes[0][1]),)
    if setting.quick:
        sizes = ((2, 2),)
    add_engram(setting.model, setting.tokenizer, **setting.config_fields)
    try:
        started = time.perf_counter()
        UserTable(setting.model, "first").write(generated_facts(8, seed=99), progress=False)
        first_seconds = time.perf_counter() - started
        points = [measure(setting, users, facts) for users, facts in sizes]
    finally:
        remove_engram(setting.model)
    promises = []
    if are_checked(setting):
        for point in points:
            facts = point["users"] * point["facts"]
            name = f"{point['users']} users with {point['facts']} facts each"
            promises.append(at_least(name, 0.99, point["whole"], facts))
        held = HELD_PER_SECOND.get(setting.device.type, HELD_PER_SECOND["cpu"])
        best = max(facts_per_second(point, asking=False) for point in points)
        text = f"at least {held:,} facts/s, asking apart"
        promises.append(promise(text, best >= held, f"{best:,.0f}"))
    return {
        "facts_from": f"{GENERATOR}, seed {setting.seed}",
        "first_write_seconds": first_seconds,
        "points": points,
        "promises": promises,
    }


def measure(setting: Setting, users: int, facts: int) -> dict[str, Any]:
    """Write and ask some users' facts."""
    options = setting.options
    made = generated_facts(users * facts, setting.seed)
    given = {f"user-{n}": made[n * facts : (n + 1) * facts] for n in range(users)}
    seconds: list[float] = []
    whole: list[float] = []
    # The first time, rows of tokens are found; they are known from then on.
    require_attachment(setting.model).token_rows.clear()
    for _ in range(2 if setting.quick else 1 + options.repeats):
        synchronise(setting.device)
        started = time.perf_counter()
        written = write_many(setting.model, given, progress=False)
        synchronise(setting.device)
        whole.append(time.perf_counter() - started)
        seconds.append(whole[-1] - written.evaluation_seconds)
    right = ask(setting, given, written.tables)
    alone_seconds: list[float] = []
    for owner in list(given)[: options.alone]:
        table = UserTable(setting.model, owner)
        started = time.perf_counter()
        table.write(given[owner], progress=False)
        alone_seconds.append(time.perf_counter() - started)
        same = torch.equal(table.rows.addresses, written.tables[owner].rows.addresses)
        if not same:
            raise SystemExit(f"{owner} has other addresses when written alone")
    point = {
        "users": users,
        "facts": facts,
        "whole": right,
        "left_out": sum(map(len, written.failed.values())),
        "steps": max(report.steps for report in written.reports.values()),
        "first_seconds": seconds[0],
        "seconds": spread(seconds[1:]),
        "seconds_with_asking": spread(whole[1:]),
        "seconds_alone_with_asking": spread(alone_seconds),
        "bytes_per_user": sum(t.nbytes for t in written.tables.values()) / users,
    }
    print(
        f"{users} users x {facts} facts: {right} of {users * facts} answered,"
        f" {facts_per_second(point, asking=False):,.0f} facts/s,"
        f" {facts_per_second(point, asking=True):,.0f} with asking"
    )
    return point


def ask(
    setting: Setting, given: dict[str, list[tuple[str, str]]], tables: dict[str, UserTable]
) -> int:
    """Ask every fact, each with its user's table, in mixed batches; return how many are whole."""
    asked = [(owner, *fact) for owner, facts in given.items() for fact in facts]
    size = 512 if setting.device.type == "cuda" else 32
    right = 0
    for start in range(0, len(asked), size):
        part = asked[start : start + size]
        tokens = tokens_of(setting.tokenizer, [Question(prompt, a) for _, prompt, a in part])
        inputs = encode(setting.tokenizer, [prompt for _, prompt, _ in part])
        inputs = inputs.to(setting.device)
        with use_tables(setting.model, [tables[owner] for owner, _, _ in part]):
            output = setting.model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        said = setting.tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :])
        right += sum(
            is_whole(text, answer) for text, (_, _, answer) in zip(said, part, strict=True)
        )
    return right


def facts_per_second(point: dict[str, Any], *, asking: bool) -> float:
    """Return how many facts were written per second."""
    name = "seconds_with_asking" if asking else "seconds"
    return point["users"] * point["facts"] / point[name]["median"]


def section(runs: list[dict[str, Any]]) -> list[str]:
    """Return this benchmark's part of docs/benchmarks.md."""
    found = [
        "## Many users at once (`write_many`)",
        "",
        "Facts of many users written in one call, and asked in mixed batches. Every fact is asked"
        " while it is written; that time is shown apart. The first call on a model also finds the"
        " rows of tokens, which are known from then on.",
        "",
    ]
    rows = [
        (
            markdown.where(run),
            f"{point['users']:,} × {point['facts']}",
            markdown.counted(point["whole"], point["users"] * point["facts"]),
            f"{point['users'] * point['facts'] / point['first_seconds']:,.0f}",
            f"{facts_per_second(point, asking=False):,.0f}",
            f"{facts_per_second(point, asking=True):,.0f}",
            f"{point['facts'] / point['seconds_alone_with_asking']['median']:,.0f}",
            f"{point['bytes_per_user']:,.0f}",
        )
        for run in runs
        for point in run["points"]
    ]
    header = ("", "users × facts", "answered whole", "facts/s, first call", "facts/s")
    more = ("with asking", "one user at a time, with asking", "bytes per user")
    found += markdown.table((*header, *more), rows)
    return found

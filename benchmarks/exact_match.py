"""Exact match: the engram-poc sets of 550 and 5,500 pairs, every pair written and every pair asked.

    python -m benchmarks run exact_match [--sets small large] [--forms chat text]

Acronyms, ports, HTTP codes, element names and synthetic keys with random values. In the data each
pair is a user's message and the assistant's answer; "chat" writes and asks it like that, through
the chat template, "text" as the bare key. Training, validation and test files are taken together:
a memory is to hold what it was given, so there is nothing to hold out. Pairs that repeat or
contradict each other are counted.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import markdown
from benchmarks.asking import Question
from benchmarks.chats import has_template, rendered
from benchmarks.facts import made_up_facts
from benchmarks.methods.memory import Memory
from benchmarks.promises import are_checked, at_least
from benchmarks.setting import Setting
from benchmarks.tally import PROTOCOLS, by_kind, written

NEEDS_MODEL = True
SOURCE = "github.com/softwarewrighter/engram-poc (MIT), data"
SETS = {"small": Path(), "large": Path("exact_5k")}
FILES = ("train_exact", "valid_exact", "test_exact")
HELD = 0.99


class Pair(NamedTuple):
    """A pair of the data.

    Attributes:
        key: What the user says.
        value: What the assistant is to say.
        category: Of the data.
    """

    key: str
    value: str
    category: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--forms", nargs="+", choices=["chat", "text"], default=["chat", "text"])
    parser.add_argument("--pairs", type=int, help="of each set, the first ones; default all")


def run(setting: Setting) -> dict[str, Any]:
    options = setting.options
    sets = ["small"] if setting.quick else options.sets
    most = 6 if setting.quick else options.pairs
    results: dict[str, Any] = {"sets": [], "promises": []}
    for name in sets:
        pairs, source = pairs_of(name, setting)
        pairs = pairs[:most]
        for form in options.forms:
            if form == "chat" and not has_template(setting.tokenizer):
                print("no chat template: asked as text only")
                continue
            found = {
                "name": name,
                "form": form,
                "pairs_from": source,
                **measure(setting, pairs, form),
            }
            results["sets"].append(found)
            if are_checked(setting) and most is None:
                what = f"{found['asked']:,} pairs as {form}"
                results["promises"].append(at_least(what, HELD, found["whole"], found["asked"]))
    return results


def pairs_of(name: str, setting: Setting) -> tuple[list[Pair], str]:
    """Return all pairs of a set, and where they are from."""
    folder = setting.data / "engram_poc" / SETS[name]
    if not all((folder / f"{file}.jsonl").exists() for file in FILES):
        print(f"The pairs are not there (see {SOURCE}); using the generator.")
        count = 500 if name == "small" else 5_000
        facts = made_up_facts(count, setting.seed, ("codes", "code", "numbers"))
        return [Pair(f.trigger, f.answer, f.kind) for f in facts], "benchmarks/facts.py"
    pairs: list[Pair] = []
    for file in FILES:
        for line in (folder / f"{file}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            user, assistant = (message["content"].strip() for message in row["messages"])
            pairs.append(Pair(user, assistant, row["category"]))
    return pairs, SOURCE


def measure(setting: Setting, pairs: list[Pair], form: str) -> dict[str, Any]:
    """Write all pairs in one call and ask each of them."""
    values: dict[str, str] = {}
    contradicted: set[str] = set()
    for pair in pairs:
        if values.setdefault(pair.key, pair.value) != pair.value:
            contradicted.add(pair.key)
    distinct = list(dict.fromkeys(pairs))
    # One write can't hold two values of a key: the last one is written, both are asked.
    latest = {pair.key: pair.value for pair in distinct}
    as_prompt = as_chat if form == "chat" else str
    memory = Memory(setting)
    try:
        report = memory.table.write(
            [(as_prompt(key), value) for key, value in latest.items()], progress=False
        )
        left_out = {failed.fact.prompt for failed in report.failed}
        prompts = {key: rendered(setting.tokenizer, as_prompt(key)) for key in latest}
        recall = memory.recall([Question(prompts[p.key], p.value) for p in distinct])
        kept = [as_prompt(pair.key) not in left_out for pair in distinct]
        flags = {
            name: [a and b for a, b in zip(getattr(recall, name), kept, strict=True)]
            for name in PROTOCOLS
        }
        described = written(memory, report)
    finally:
        memory.close()
    right = {name: dict(zip(distinct, flags[name], strict=True)) for name in PROTOCOLS}
    result = {
        "asked": len(pairs),
        **{name: sum(right[name][pair] for pair in pairs) for name in PROTOCOLS},
        "distinct_pairs": len(distinct),
        "distinct_keys": len(latest),
        "keys_with_several_values": len(contradicted),
        "categories": by_kind([p.category for p in pairs], [right["whole"][p] for p in pairs]),
        **described,
    }
    print(
        f"{len(pairs):,} pairs as {form}: {markdown.counted(result['whole'], len(pairs))} whole;"
        f" {len(latest):,} distinct keys, {len(contradicted)} with several values,"
        f" {described['left_out']} left out; {described['seconds']:.2f} s"
    )
    return result


def as_chat(key: str) -> tuple[tuple[str, str], ...]:
    """Return a key as a user's message."""
    return (("user", key),)


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Exact match: keys and values",
        "",
        "The pairs of engram-poc, all written in one call, all asked, as chats and as bare keys."
        " Pairs that stand in several files of the data are asked as often; keys with several"
        " values would be counted as wrong for all but one.",
        "",
    ]
    for run in runs:
        lines += markdown.heading(run, f"{markdown.provenance(run)}.")
        header = ["pairs", "as", *PROTOCOLS, "left out", "distinct keys", "with several values"]
        lines += markdown.table(
            [*header, "seconds", "asking, seconds", "bytes on disk"],
            [
                [
                    f"{one['asked']:,}",
                    one["form"],
                    *(markdown.percent(one[protocol] / one["asked"]) for protocol in PROTOCOLS),
                    one["left_out"],
                    f"{one['distinct_keys']:,}",
                    one["keys_with_several_values"],
                    f"{one['seconds']:.2f}",
                    f"{one['evaluation_seconds']:.2f}",
                    f"{one['bytes_on_disk']:,}",
                ]
                for one in run["sets"]
            ],
        )
        for one in run["sets"]:
            shown = [f"{k} {v['whole']:,} of {v['asked']:,}" for k, v in one["categories"].items()]
            lines += [f"{one['asked']:,} as {one['form']}: {', '.join(shown)}.", ""]
        sources = sorted({one["pairs_from"] for one in run["sets"]})
        lines += [f"Pairs: {', '.join(sources)}.", ""]
    return lines

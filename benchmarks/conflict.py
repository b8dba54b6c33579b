"""Conflict: updates of one fact, writes and erases in turn, and facts written in any order.

    python -m benchmarks run conflict [--facts 1000] [--updates 10]

Updates: one fact gets new answers, each of which must be the only one from then on; the ledger
keeps the old ones as history, and nothing else may be left of them: the table must have as many
addresses as one that was only ever told the last answer, and the saved file must name old answers
in its ledger only. Interleaving: facts are written and erased in batches; in the end every fact
that remains is answered and every erased prompt goes on as in the bare model. Order: the same facts
in three orders, and in one, two and five calls.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import markdown
from benchmarks.asking import Question, generate, recall
from benchmarks.fact_words import VILLAGES
from benchmarks.facts import GENERATOR, generated_facts
from benchmarks.promises import are_checked, promise
from benchmarks.setting import Setting
from engram_transformers import UserTable, add_engram, engram_disabled, remove_engram, use_tables

NEEDS_MODEL = True
UPDATED = "My sister Runa lives in"
Facts = list[tuple[str, str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--facts", type=int, help="written and erased in turn; less on a CPU")
    most = len(VILLAGES) - 1
    parser.add_argument("--updates", type=int, default=10, choices=range(1, most + 1), metavar="N")
    parser.add_argument("--ordered", type=int, help="facts that are written in several orders")


def run(setting: Setting) -> dict[str, Any]:
    options, on_gpu = setting.options, setting.device.type == "cuda"
    count = options.facts or (4 if setting.quick else 1_000 if on_gpu else 60)
    ordered = options.ordered or (3 if setting.quick else 100 if on_gpu else 20)
    updates = 2 if setting.quick else options.updates
    add_engram(setting.model, setting.tokenizer, **setting.config_fields)
    try:
        results = {
            "facts_from": f"{GENERATOR}, seed {setting.seed}",
            "updates": measure_updates(setting, updates),
            "interleaved": measure_interleaving(setting, count),
            "order": measure_order(setting, ordered),
        }
    finally:
        remove_engram(setting.model)
    results["promises"] = promises(results) if are_checked(setting) else []
    return results


def measure_updates(setting: Setting, updates: int) -> dict[str, Any]:
    """Write one fact with one answer after the other, among others that stay."""
    answers = list(VILLAGES[: updates + 1])
    others = generated_facts(10 if not setting.quick else 2, setting.seed)
    table = UserTable(setting.model, "changing")
    table.write([*others, (UPDATED, answers[0])], progress=False)
    latest, kept, leftovers = 0, 0, 0
    for place, answer in enumerate(answers[1:], 1):
        report = table.write((UPDATED, answer), progress=False)
        latest += _holds(setting, table, [(UPDATED, answer)])[0]
        kept += all(_holds(setting, table, others))
        entry = next(entry for entry in table.entries or () if entry.fact.prompt == UPDATED)
        history = [old.answer for old in entry.history]
        # Nothing may be kept of an old answer but the history.
        leftovers += history != answers[:place]
        leftovers += len(table.facts) != len(others) + 1
        leftovers += [fact.answer for fact in report.superseded] != [answers[place - 1]]
    fresh = UserTable(setting.model, "unchanging")
    fresh.write([*others, (UPDATED, answers[-1])], progress=False)
    with_text, without = _saved(table, store_text=True), _saved(table, store_text=False)
    named = [answer for answer in answers[:-1] if answer.encode() in without]
    addresses, expected = table.rows.addresses, fresh.rows.addresses
    table.erase(UPDATED)
    erased = _saved(table, store_text=True)
    named_after = [answer for answer in answers if answer.encode() in erased]
    bare = _as_bare(setting, table, [UPDATED])
    result = {
        "updates": updates,
        "latest_answered": latest,
        "others_kept": kept,
        "leftovers": leftovers + len(named) + len(named_after),
        "history_in_file": sum(answer.encode() in with_text for answer in answers[:-1]),
        "old_answers_in_file_without_text": len(named),
        "answers_in_file_after_erasing": len(named_after),
        "addresses": addresses.numel(),
        "addresses_of_a_fresh_table": expected.numel(),
        "same_addresses_as_a_fresh_table": torch.equal(addresses, expected),
        "as_the_bare_model_after_erasing": bare,
    }
    print(f"updates: {result}")
    return result


def measure_interleaving(setting: Setting, count: int) -> dict[str, Any]:
    """Write facts in batches, and after each erase some of those that are there."""
    facts = generated_facts(count, setting.seed + 1)
    rng = random.Random(setting.seed)
    table = UserTable(setting.model, "busy")
    batch = max(2, count // 10)
    present: dict[str, str] = {}
    erased: dict[str, str] = {}
    left_out = 0
    for start in range(0, count, batch):
        part = facts[start : start + batch]
        report = table.write(part, progress=False)
        failed = {failed.fact.prompt for failed in report.failed}
        left_out += len(failed)
        present.update({prompt: answer for prompt, answer in part if prompt not in failed})
        gone = rng.sample(sorted(present), len(present) // 4)
        table.erase(gone)
        erased.update({prompt: present.pop(prompt) for prompt in gone})
        # Some come back with the answer that they had.
        back = rng.sample(sorted(erased), len(erased) // 4)
        again = table.write([(prompt, erased[prompt]) for prompt in back], progress=False)
        failed = {failed.fact.prompt for failed in again.failed}
        left_out += len(failed)
        present.update({prompt: erased.pop(prompt) for prompt in back if prompt not in failed})
    right = _holds(setting, table, list(present.items()))
    bare = _as_bare(setting, table, list(erased))
    still = _holds(setting, table, list(erased.items()))
    found = {
        "facts": count,
        "calls": 3 * -(-count // batch),
        "left_out": left_out,
        "in_table": len(table.facts),
        "expected_in_table": len(present),
        "answered": sum(right),
        "erased": len(erased),
        "as_the_bare_model": bare,
        "erased_and_still_answered": sum(still),
    }
    table.erase(all=True)
    found["addresses_after_erasing_all"] = table.rows.addresses.numel()
    found["bit_identical_after_erasing_all"] = _is_bare(setting, table, facts[0][0])
    print(f"interleaved: {found}")
    return found


def measure_order(setting: Setting, count: int) -> dict[str, Any]:
    """Write the same facts in several orders and calls."""
    facts = generated_facts(count, setting.seed + 2)
    by_lot = random.Random(setting.seed).sample(facts, count)
    ways = {"as given": [facts], "reversed": [facts[::-1]], "by lot": [by_lot]}
    for calls in (2, 5):
        size = -(-count // calls)
        ways[f"in {calls} calls"] = [facts[i : i + size] for i in range(0, count, size)]
    found: list[dict[str, Any]] = []
    first = b""
    for name, calls in ways.items():
        table = UserTable(setting.model, "ordered")
        reports = [table.write(part, progress=False) for part in calls]
        left_out = {failed.fact.prompt for report in reports for failed in report.failed}
        right = _holds(setting, table, facts)
        saved = _saved(table, store_text=False)
        first = first or saved
        found.append(
            {
                "way": name,
                "facts": count,
                "left_out": len(left_out),
                "answered": sum(right),
                "addresses": table.rows.addresses.numel(),
                "same_bytes_as_the_first": saved == first,
            }
        )
        print(f"order: {found[-1]}")
    return {"ways": found}


def _holds(setting: Setting, table: UserTable, facts: Facts) -> list[bool]:
    with use_tables(setting.model, table):
        return recall(setting.model, setting.tokenizer, [Question(*fact) for fact in facts]).whole


def _as_bare(setting: Setting, table: UserTable, prompts: list[str]) -> int:
    """Count the prompts that go on as in the bare model."""
    tokens = 8
    with engram_disabled(setting.model):
        bare = generate(setting.model, setting.tokenizer, prompts, tokens)
    with use_tables(setting.model, table):
        said = generate(setting.model, setting.tokenizer, prompts, tokens)
    return sum(a == b for a, b in zip(said, bare, strict=True))


@torch.inference_mode()
def _is_bare(setting: Setting, table: UserTable, text: str) -> bool:
    inputs = setting.tokenizer(text, return_tensors="pt").to(setting.model.device)
    with engram_disabled(setting.model):
        bare = setting.model(**inputs).logits
    with use_tables(setting.model, table):
        return torch.equal(setting.model(**inputs).logits, bare)


def _saved(table: UserTable, *, store_text: bool) -> bytes:
    """Return the bytes of a table's file."""
    with tempfile.TemporaryDirectory() as folder:
        table.save_pretrained(folder, store_text=store_text)
        return (Path(folder) / "table.safetensors").read_bytes()


def promises(results: dict[str, Any]) -> list[Any]:
    updates, busy = results["updates"], results["interleaved"]
    n = updates["updates"]
    return [
        promise(
            f"of {n} updates the latest answer always wins",
            updates["latest_answered"] == n and updates["others_kept"] == n,
            f"{updates['latest_answered']} of {n}",
        ),
        promise(
            "nothing but history is left of old answers",
            updates["leftovers"] == 0
            and updates["addresses"] == updates["addresses_of_a_fresh_table"],
            f"{updates['leftovers']} leftovers, {updates['addresses']} addresses against"
            f" {updates['addresses_of_a_fresh_table']} of a fresh table",
        ),
        promise(
            "after writes and erases in turn every remaining fact is answered",
            busy["answered"] == busy["in_table"] == busy["expected_in_table"],
            markdown.counted(busy["answered"], busy["in_table"]),
        ),
        promise(
            "no erased fact is answered",
            busy["erased_and_still_answered"] == 0,
            f"{busy['erased_and_still_answered']} of {busy['erased']:,} are",
        ),
        promise(
            "every erased fact goes on as in the bare model",
            busy["as_the_bare_model"] == busy["erased"] and busy["bit_identical_after_erasing_all"],
            markdown.counted(busy["as_the_bare_model"], busy["erased"]),
        ),
        promise(
            "the order of writing and the number of calls change no recall",
            len({one["answered"] for one in results["order"]["ways"]}) == 1,
        ),
    ]


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Conflict: updates, erasing, and the order of writing",
        "",
        "Whole answers by free generation throughout. A fact is gone if its prompt goes on exactly"
        " as in the bare model.",
        "",
    ]
    for run in runs:
        lines += [
            *markdown.heading(run, f"Facts: {run['facts_from']}; {markdown.provenance(run)}."),
            _updates(run["updates"]),
            _interleaved(run["interleaved"]),
            "",
            *markdown.table(
                ["written", "answered", "left out", "addresses", "same bytes as given"],
                [
                    [
                        one["way"],
                        markdown.counted(one["answered"], one["facts"]),
                        one["left_out"],
                        f"{one['addresses']:,}",
                        "yes" if one["same_bytes_as_the_first"] else "no",
                    ]
                    for one in run["order"]["ways"]
                ],
            ),
        ]
    return lines


def _updates(found: dict[str, Any]) -> str:
    n = found["updates"]
    return (
        f"- {n} updates of one fact: the latest answered {found['latest_answered']} times of {n},"
        f" the other facts {found['others_kept']} times of {n}, {found['leftovers']} leftovers."
        f" {found['addresses']} addresses; a fresh table has {found['addresses_of_a_fresh_table']}."
        f" {found['history_in_file']} old answers are in the ledger's history,"
        f" {found['old_answers_in_file_without_text']} in a file saved without it,"
        f" {found['answers_in_file_after_erasing']} answers in the file after the fact was erased."
    )


def _interleaved(found: dict[str, Any]) -> str:
    return (
        f"- {found['facts']:,} facts written and erased in {found['calls']} calls: of"
        f" {found['in_table']:,} that remain {found['answered']:,} are answered; of"
        f" {found['erased']:,} that are erased {found['as_the_bare_model']:,} are gone and"
        f" {found['erased_and_still_answered']} are still answered; {found['left_out']} were left"
        " out by `write`."
    )

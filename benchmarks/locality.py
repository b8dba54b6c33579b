"""What a table does to text that it is not about: bits, nats, false fires, other owners.

    python -m benchmarks run locality [--text FOLDER_OR_FILE ...]

Four measurements. *Bits*: logits and answers against those of the unpatched model, with triggers
at the end, nowhere, and in the middle of a text. *Nats*: what happens to texts that share only the
end of a trigger. *False fires*: how often addresses occur in real text; see `real_text.py` for
where to get more of it. *Other owners*: look-ups of identical triggers by many owners.
"""

from __future__ import annotations

import argparse
import copy
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks import other_owners
from benchmarks.addresses import allocated, allocated_again
from benchmarks.bit_equality import compare_answers, compare_logits
from benchmarks.common import require
from benchmarks.false_fires import FEWEST_TOKENS, count_fires
from benchmarks.hundred_facts import FactSet, fact_sets
from benchmarks.locality_page import plot, section
from benchmarks.near_texts import NearText, continued, effects, near_texts, summary
from benchmarks.promises import Promise, are_checked, promise
from benchmarks.real_text import Source, sources
from benchmarks.setting import Setting
from benchmarks.texts import sentences
from engram_transformers import UserTable, add_engram
from engram_transformers.attachment import require_attachment

__all__ = ["NEEDS_MODEL", "add_arguments", "plot", "run", "section"]

NEEDS_MODEL = True
MIN_ORDERS = (2, 3, 4, 5, 8)
_WRITE = inspect.signature(UserTable.write).parameters
DEFAULT = f'context="{_WRITE["context"].default}"'
SHORTEST = "shortest"
GUARD = f"min_order={_WRITE['min_order'].default}, guard"
KNOWN = "github.com/kmeng01/rome, known_1000.json (MIT)"
MOST_FIRES = 1.0  # per 100,000 tokens
OWNER_LOOK_UPS = 1_000_000


class Sizes(NamedTuple):
    """How much is measured.

    Attributes:
        facts: In the table whose effect is measured.
        sentences: Unrelated ones.
        known: Prompts of things that a model may know.
        answer: Tokens of an answer.
        batch: Texts at once.
        owners: Who have the same triggers, asked in one batch.
    """

    facts: int
    sentences: int
    known: int
    answer: int
    batch: int
    owners: int


SIZES = {"cuda": Sizes(100, 1_000, 1_209, 10, 128, 16), "cpu": Sizes(24, 80, 48, 6, 12, 3)}
QUICK = Sizes(4, 8, 4, 3, 8, 2)
DTYPES = {"cuda": ("float32", "bfloat16"), "cpu": ("float32",)}
"""A CPU takes eight times as long for bfloat16."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add options."""
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="more real text")
    parser.add_argument("--dtypes", nargs="+", help="for bits; on a CPU float32 alone")
    parser.add_argument("--facts", type=int, help="in the table; less on a CPU")
    parser.add_argument("--sentences", type=int, help="unrelated ones; less on a CPU")
    parser.add_argument("--known", type=int, help="known facts; less on a CPU")


def run(setting: Setting) -> dict[str, Any]:
    """Measure all four."""
    sizes = sizes_of(setting)
    sets = fact_sets(setting.data, setting.seed)
    facts = sets[0].facts[: sizes.facts]
    results: dict[str, Any] = {"facts": len(facts), "facts_kind": sets[0].kind, "bits": {}}
    for name in setting.options.dtypes or DTYPES.get(setting.device.type, DTYPES["cpu"]):
        results["bits"][name] = bits(setting, getattr(torch, name), facts, sizes)
    patched = copy.deepcopy(setting.model)
    add_engram(patched, setting.tokenizer, **setting.config_fields)
    others = [prompt for one in sets[1:] for prompt, _ in one.facts]
    results["near"] = near(setting, patched, facts, others, sizes)
    results["false_fires"] = false_fires(setting, patched, sets)
    results["other_owners"] = owners(setting, patched, facts, sizes)
    results["promises"] = promises(results) if are_checked(setting) else []
    return results


def sizes_of(setting: Setting) -> Sizes:
    """Return how much is measured: less on a CPU."""
    if setting.quick:
        return QUICK
    sizes = SIZES.get(setting.device.type, SIZES["cpu"])
    given = {name: getattr(setting.options, name) for name in ("facts", "sentences", "known")}
    return sizes._replace(**{name: value for name, value in given.items() if value is not None})


def bits(
    setting: Setting, dtype: torch.dtype, facts: Sequence[tuple[str, str]], sizes: Sizes
) -> dict[str, Any]:
    """Compare with the unpatched model, in one type of weights."""
    bare = setting.model if dtype == setting.dtype else copy.deepcopy(setting.model).to(dtype)
    patched = copy.deepcopy(bare)
    add_engram(patched, setting.tokenizer, **setting.config_fields)
    table = written(patched, facts)
    models = (bare, patched, table, setting.tokenizer)
    unrelated = sentences(sizes.sentences + 2 * len(facts))
    around = unrelated[sizes.sentences :]
    middle = [
        f"{before} {prompt} {after}"
        for (prompt, _), before, after in zip(facts, around[::2], around[1::2], strict=False)
    ]
    found: dict[str, Any] = {}

    def keep(name: str, one: dict[str, Any]) -> None:
        found[name] = one
        counts = {key: count for key, count in one.items() if isinstance(count, int)}
        print(f"{str(dtype).removeprefix('torch.')}, {name}: {counts}", flush=True)

    keep("sentences", compare_logits(*models, unrelated[: sizes.sentences], sizes.batch))
    keep("trigger_in_the_middle", compare_logits(*models, middle, sizes.batch))
    require(found["trigger_in_the_middle"]["with_row"] == len(facts), "triggers fire anywhere")
    prompts = known_prompts(setting.data)[: sizes.known]
    if prompts:
        keep("known_facts", compare_logits(*models, prompts, sizes.batch))
        answers = compare_answers(*models, prompts, sizes.answer, 2 * sizes.batch)
        keep("known_answers", answers)
    return found


def known_prompts(data: Path) -> list[str]:
    """Return prompts of things that a model may know; none where the file is missing."""
    path = data / "rome" / "known_1000.json"
    if not path.exists():
        print(f"Known facts are left out: {path.name} is not there (see {KNOWN}).")
        return []
    return [one["prompt"] for one in json.loads(path.read_text(encoding="utf-8"))]


def written(model: Any, facts: Sequence[tuple[str, str]], **options: Any) -> UserTable:
    """Return a table with facts."""
    table = UserTable(model, "benchmark")
    report = table.write(list(facts), progress=False, **options)
    for failed in report.failed:
        print(f"left out: {failed}")
    return table


def near(
    setting: Setting,
    patched: Any,
    facts: Sequence[tuple[str, str]],
    others: Sequence[str],
    sizes: Sizes,
) -> dict[str, Any]:
    """Measure near texts, by how addresses are allocated."""
    triggers = [prompt for prompt, _ in facts]
    seen, held_out = (near_texts(triggers, others, setting.seed + n) for n in range(2))
    known = {text.text for text in seen}
    held_out = [text for text in held_out if text.text not in known]
    prepared = {
        name: continued(setting.model, setting.tokenizer, texts, sizes.answer, 2 * sizes.batch)
        for name, texts in (("seen", seen), ("held_out", held_out))
    }
    ways = {**ways_to_address(setting), GUARD: {"context": SHORTEST, "guard": _guards(seen)}}
    found: dict[str, Any] = {}
    for name, options in ways.items():
        table = written(patched, facts, **options)
        found[name] = {"written": len(table)}
        for kind, texts in prepared.items():
            measured = summary(effects(patched, table, texts, sizes.batch))
            found[name][kind] = measured
            print(
                f"{name}, {kind}: a row in {measured['fired']} of {measured['texts']} near texts,"
                f" first token {measured['first_token_nats']:+.4f} nats on average"
            )
        if name == DEFAULT:
            found[name]["addresses"] = same_addresses(table, facts)
    require(found[GUARD]["seen"]["fired_at_end"] == 0, "no guard fires")
    return found


def ways_to_address(setting: Setting) -> dict[str, dict[str, Any]]:
    """Return options of `write` by name; the default ones are given as none at all."""
    orders = MIN_ORDERS[:2] if setting.quick else MIN_ORDERS
    ways: dict[str, dict[str, Any]] = {
        f"min_order={n}": {"context": SHORTEST, "min_order": n} for n in orders
    }
    return {**ways, DEFAULT: {}}


def _guards(texts: Sequence[NearText]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text.text for text in texts))


def same_addresses(table: UserTable, facts: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Check that addresses allocated without looking for rows are those of a written table."""
    entries = table.entries or ()
    there = set(table.rows.addresses.tolist())
    if len(entries) == len(facts):  # a fact that is left out leaves shorter addresses to others
        again = set(allocated_again(table.attachment, entries).parts)
        require(there <= again, "a written table has the addresses that were allocated")
    planned = set(allocated(table.attachment, facts).parts)
    return {"written": len(there), "allocated": len(planned), "same": len(there & planned)}


def false_fires(setting: Setting, patched: Any, sets: Sequence[FactSet]) -> dict[str, Any]:
    """Count how often tables of a hundred facts fire in real text, by how addresses are chosen."""
    attachment = require_attachment(patched)
    text = sources(setting.data, setting.options.text, quick=setting.quick)
    sets = sets[::4] if setting.quick else sets
    ways = ways_to_address(setting)
    found = count_fires(attachment, setting.device, text, sets, ways)
    prompts = known_prompts(setting.data)
    if prompts:
        known = Source("prompts of known facts", prompts[:64] if setting.quick else prompts)
        found["known"] = count_fires(attachment, setting.device, [known], sets, ways)
        found["known"]["prompts"] = len(known.documents)
    return {"default": DEFAULT, **found}


def owners(
    setting: Setting, patched: Any, facts: Sequence[tuple[str, str]], sizes: Sizes
) -> dict[str, Any]:
    """Look for rows of other owners."""
    wanted = 10_000 if setting.quick else OWNER_LOOK_UPS
    people = other_owners.crowd(require_attachment(patched), setting.device, setting.seed)
    triggers = [prompt for prompt, _ in facts[:8]]
    answers = list(dict.fromkeys(answer for _, answer in facts))[: max(len(triggers), sizes.owners)]
    found = {
        "identical_triggers": other_owners.look_ups(people, wanted, setting.seed),
        "forged": other_owners.forged(people, wanted, setting.seed),
        "asked": other_owners.asked_in_one_batch(
            patched, setting.tokenizer, triggers, answers, sizes.owners
        ),
    }
    print(f"other owners: {found}")
    return found


def promises(results: dict[str, Any]) -> list[Promise]:
    """Return what must hold: every row that is found counts, whatever trigger it is of."""
    found = results["false_fires"]
    total = found["ways"][found["default"]]["all"]
    size = f"{total['text_tokens']:,} tokens of text, {total['tables']} tables"
    is_enough = total["text_tokens"] >= FEWEST_TOKENS
    return [
        promise(
            "Rows found in real text, default settings, 100 facts: at most"
            f" {MOST_FIRES:g} in 100,000 tokens",
            is_enough and total["fires"] <= MOST_FIRES * total["tokens"] / 1e5,
            f"{total['fires'] / total['tokens'] * 1e5:.2f} ({total['fires']} in {size})",
        )
    ]

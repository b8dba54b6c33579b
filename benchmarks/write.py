"""Writing facts into a model: recall, seconds, memory, bytes, and what else moves.

    python -m benchmarks run write [--facts 100 1000] [--settings gate_type=content row_dim=32]

Every claim is checked before a speed is reported. `compare` sets other ways beside it.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks import markdown
from benchmarks.asking import Question, generate, is_whole, tokens_of
from benchmarks.common import peak_memory, require, spread
from benchmarks.facts import distinct_facts
from benchmarks.setting import Setting
from benchmarks.texts import sentences, unseen_contexts
from engram_transformers import UserTable, add_engram, engram_disabled, remove_engram, use_tables
from engram_transformers.attachment import require_attachment

NEEDS_MODEL = True

Facts = list[tuple[str, str]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--facts", type=int, nargs="+", help="default 100 and 1,000")
    parser.add_argument("--repeats", type=int, default=5, help="timed writes of the first count")
    parser.add_argument("--ask-in", type=int, default=8, help="so many contexts, shortest first")
    parser.add_argument("--ask-in-large", type=int, default=8, help="the same, over 100 facts")
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--contexts", type=int, default=None, help="as in UserTable.write")


def run(setting: Setting) -> dict[str, Any]:
    options = setting.options
    if setting.quick:
        options = argparse.Namespace(**vars(options))
        options.repeats, options.ask_in, options.sentences = 1, 1, 4
    counts = options.facts or ([4] if setting.quick else [100, 1000])
    facts, source = distinct_facts(max(counts), setting.data)
    results: dict[str, Any] = {"facts_from": source, "write": []}
    results["import"] = import_seconds(1 if setting.quick else 5)
    for count in counts:
        results["write"].append(measure(setting, facts[:count], options))
    results["locality"] = locality(setting, facts[: counts[0]], options.sentences)
    return results


def measure(setting: Setting, facts: Facts, options: argparse.Namespace) -> dict[str, Any]:
    """Write facts, ask them everywhere, and time it."""
    model, tokenizer = setting.model, setting.tokenizer
    add_engram(model, tokenizer, **setting.config_fields)
    UserTable(model, "warm-up").write(facts[:8], progress=False)
    taken: list[float] = []
    evaluation: list[float] = []
    arguments = {} if options.contexts is None else {"contexts": options.contexts}
    for _ in range(options.repeats if len(facts) <= 100 else 1):
        table = UserTable(model, "benchmark")
        # Rows of tokens are found once per model: here they are found anew each time.
        require_attachment(model).token_rows.clear()
        with peak_memory(setting.device) as peak:
            report = table.write(facts, progress=False, **arguments)
        taken.append(report.seconds)
        evaluation.append(report.evaluation_seconds)
    again = UserTable(model, "again").write(facts, progress=False, **arguments)
    recall = {}
    asked_in = options.ask_in if len(facts) <= 100 else options.ask_in_large
    for name, context in list(unseen_contexts(tokenizer).items())[:asked_in]:
        tokens = len(tokenizer(context)["input_ids"])
        with use_tables(model, table):
            right = ask(model, tokenizer, facts, context)
        recall[name] = {"tokens": tokens, "recall": sum(right) / len(facts)}
        print(f"{len(facts)} facts after {name} ({tokens} tokens): {recall[name]['recall']:.2%}")
    with tempfile.TemporaryDirectory() as folder:
        table.save_pretrained(folder, store_text=False)
        size = (Path(folder) / "table.safetensors").stat().st_size
        loaded = UserTable.from_pretrained(folder, model)
        require(torch.equal(loaded.rows.values, table.rows.values), "saved rows are the rows")
    remove_engram(model)
    result = {
        "facts": len(facts),
        "written": report.recalled,
        "failed": [str(failed.fact.prompt) for failed in report.failed],
        "recall": recall,
        "steps": report.steps,
        "seconds": spread(taken),
        "seconds_with_known_rows": again.seconds,
        "evaluation_seconds": spread(evaluation),
        "rows": report.rows,
        "bytes_of_rows_and_addresses": report.nbytes,
        "bytes_on_disk": size,
        "peak_mib": peak["mib"],
    }
    print(
        f"{len(facts)} facts: {report.recalled:.2%} written in {result['seconds']['median']:.3f} s"
        f" ({result['evaluation_seconds']['median']:.2f} s of asking apart), {size} bytes on disk,"
        f" peak +{peak['mib']:.0f} MiB"
    )
    return result


def ask(model: Any, tokenizer: Any, facts: Facts, context: str) -> list[bool]:
    """Ask by free greedy generation: is the whole answer said, and does it end there?"""
    questions = [Question(context + prompt, answer) for prompt, answer in facts]
    prompts = [question.prompt for question in questions]
    said = generate(model, tokenizer, prompts, tokens_of(tokenizer, questions))
    return [is_whole(text, q.answer) for text, q in zip(said, questions, strict=True)]


@torch.no_grad()
def locality(setting: Setting, facts: Facts, count: int) -> dict[str, Any]:
    """Check sentences without a trigger bit for bit, in float32 and bfloat16."""
    counts: dict[str, Any] = {}
    texts = sorted(sentences(count), key=len)
    tokenizer = setting.tokenizer
    for dtype in (torch.float32, torch.bfloat16):
        twin = copy.deepcopy(setting.model).to(dtype)
        add_engram(twin, tokenizer, **setting.config_fields)
        table = UserTable(twin, "benchmark")
        table.write(facts, progress=False)
        equal = 0
        for start in range(0, len(texts), 10):
            inputs = tokenizer(texts[start : start + 10], return_tensors="pt", padding=True)
            inputs = inputs.to(twin.device)
            with use_tables(twin, table):
                with_table = twin(**inputs).logits
            with engram_disabled(twin):
                base = twin(**inputs).logits
            equal += int((with_table == base).flatten(1).all(1).sum())
        name = str(dtype).removeprefix("torch.")
        counts[name] = {"sentences": len(texts), "bit_identical": equal}
        print(f"{name}: {equal} of {len(texts)} sentences bit-identical with the table active")
        require(equal == len(texts), "text without a trigger is not changed")
    return counts


def import_seconds(repeats: int) -> dict[str, Any]:
    """Measure what importing the library adds to torch and transformers, and what it pulls in."""
    code = (
        "import time, sys, torch, transformers\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "before = set(sys.modules); start = time.perf_counter()\n"
        "import engram_transformers\n"
        "print(time.perf_counter() - start, *({m.split('.')[0] for m in set(sys.modules) - before}"
        " & {'peft', 'accelerate', 'trl'}))"
    )
    seconds: list[float] = []
    pulled: set[str] = set()
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        first, *modules = done.stdout.split()
        seconds.append(float(first))
        pulled.update(modules)
    require(not pulled, "importing the library pulls in neither peft nor accelerate nor trl")
    print(f"import adds {min(seconds):.3f} to {max(seconds):.3f} s")
    return {"seconds_added": spread(seconds)}


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = ["## Writing facts: seconds, memory, bytes", ""]
    for run in runs:
        lines += _section(run)
    return lines


def _section(run: dict[str, Any]) -> list[str]:
    lines = [
        *markdown.heading(
            run,
            f"{markdown.provenance(run)[:1].upper()}{markdown.provenance(run)[1:]}. Facts:"
            f" {run['facts_from']}. Importing the library adds"
            f" {run['import']['seconds_added']['median']:.3f} s to importing torch and"
            " transformers.",
        ),
    ]
    header = [
        "facts",
        "written",
        "seconds (min to max, n)",
        "rows known",
        "asking, seconds",
        "steps",
        "rows",
    ]
    lines += markdown.table(
        [*header, "bytes on disk", "peak memory"],
        [
            [
                f"{one['facts']:,}",
                markdown.percent(one["written"]),
                markdown.seconds(one["seconds"]),
                f"{one['seconds_with_known_rows']:.2f}",
                f"{one['evaluation_seconds']['median']:.2f}",
                one["steps"],
                f"{one['rows']:,}",
                f"{one['bytes_on_disk']:,}",
                f"+{one['peak_mib']:.0f} MiB",
            ]
            for one in run["write"]
        ],
    )
    lines += ["Recall of whole answers after texts that were not used in writing:", ""]
    lines += markdown.table(
        ["context", "tokens", *(f"{one['facts']:,} facts" for one in run["write"])],
        [
            [name, first["tokens"], *(_recall(one, name) for one in run["write"])]
            for name, first in run["write"][0]["recall"].items()
        ],
    )
    found = (
        f"{name}: {one['bit_identical']:,} of {one['sentences']:,} bit-identical"
        for name, one in run["locality"].items()
    )
    lines += [f"Sentences without a trigger, with the table active: {'; '.join(found)}.", ""]
    return lines


def _recall(one: dict[str, Any], context: str) -> str:
    found = one["recall"].get(context)
    return markdown.percent(found["recall"]) if found else ""

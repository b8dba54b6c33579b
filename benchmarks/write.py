"""Writing facts into a model: recall, seconds, memory, bytes, and what else moves.

    python -m benchmarks run write [--facts 100 1000] [--settings gate_type=content row_dim=32]

Every claim is checked before a speed is reported. The baseline is one LoRA per user (PEFT, rank 16)
trained on the same facts until it recalls as many; it is timed in the same run.
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
from benchmarks.asking import STOP, Question, generate, is_whole, tokens_of
from benchmarks.common import peak_memory, require, spread, timed
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
    parser.add_argument("--no-lora", action="store_true")
    parser.add_argument("--contexts", type=int, default=None, help="as in UserTable.write")


def run(setting: Setting) -> dict[str, Any]:
    options = setting.options
    if setting.quick:
        options = argparse.Namespace(**vars(options))
        options.repeats, options.ask_in, options.sentences, options.no_lora = 1, 1, 4, True
    counts = options.facts or ([4] if setting.quick else [100, 1000])
    facts, source = distinct_facts(max(counts), setting.data)
    results: dict[str, Any] = {"facts_from": source, "write": []}
    results["import"] = import_seconds(1 if setting.quick else 5)
    for count in counts:
        results["write"].append(measure(setting, facts[:count], options))
    results["locality"] = locality(setting, facts[: counts[0]], options.sentences)
    if not options.no_lora:
        results["lora"] = lora(setting, facts[: counts[0]])
        ours = results["write"][0]
        results["lora_over_ours"] = {
            "seconds": results["lora"]["seconds"] / ours["seconds"]["median"],
            "bytes": results["lora"]["bytes"] / ours["bytes_on_disk"],
            "peak_memory": results["lora"]["peak_mib"] / ours["peak_mib"],
        }
        print("LoRA over ours:", results["lora_over_ours"])
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


def lora(setting: Setting, facts: Facts) -> dict[str, Any]:
    """Train one LoRA on the facts until every answer token is won, then ask."""
    from peft import LoraConfig, get_peft_model

    tokenizer, device = setting.tokenizer, setting.device
    torch.manual_seed(setting.seed)
    adapted: Any = get_peft_model(
        copy.deepcopy(setting.model), LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    )
    rows = [
        (
            tokenizer(prompt)["input_ids"],
            tokenizer(answer)["input_ids"] + tokenizer(STOP)["input_ids"],
        )
        for prompt, answer in facts
    ]
    longest = max(len(p) + len(a) for p, a in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    labels = torch.full_like(ids, -100)
    mask = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(rows):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        mask[row, : len(prompt) + len(answer)] = 1
        labels[row, len(prompt) : len(prompt) + len(answer)] = torch.tensor(answer)
    ids, labels, mask = ids.to(device), labels.to(device), mask.to(device)
    optimiser = torch.optim.AdamW(
        [p for p in adapted.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.0
    )
    epochs = 0

    def train() -> None:
        nonlocal epochs
        adapted.train()
        for _ in range(100):
            order = torch.randperm(len(rows), device=device)
            wrong = 0
            for part in order.split(25):
                logits = adapted(input_ids=ids[part], attention_mask=mask[part]).logits[:, :-1]
                gold = labels[part][:, 1:]
                loss = torch.nn.functional.cross_entropy(
                    logits.flatten(0, 1).float(), gold.flatten(), ignore_index=-100
                )
                loss.backward()
                optimiser.step()
                optimiser.zero_grad()
                missed = (logits.argmax(-1) != gold) & (gold != -100)
                wrong += int(missed.any(1).sum())
            epochs += 1
            if wrong == 0:
                return

    with peak_memory(device) as peak:
        taken, _ = timed(device, train)
    adapted.eval()
    recall = sum(ask(adapted, tokenizer, facts, "")) / len(facts)
    with tempfile.TemporaryDirectory() as folder:
        adapted.save_pretrained(folder)
        size = (Path(folder) / "adapter_model.safetensors").stat().st_size
    result = {
        "rank": 16,
        "epochs": epochs,
        "recall": recall,
        "seconds": taken,
        "peak_mib": peak["mib"],
        "bytes": size,
    }
    print("LoRA:", result)
    return result


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
        f"### {markdown.where(run)}",
        "",
        f"{markdown.provenance(run)[:1].upper()}{markdown.provenance(run)[1:]}. Facts:"
        f" {run['facts_from']}. Importing the library adds"
        f" {run['import']['seconds_added']['median']:.3f} s to importing torch and transformers.",
        "",
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
    if "lora" in run:
        found, ratio = run["lora"], run["lora_over_ours"]
        lines += [
            f"One LoRA (rank {found['rank']}) trained on the same {run['write'][0]['facts']} facts"
            f" until every answer token was won: {found['epochs']} epochs,"
            f" {found['seconds']:.1f} s, recall {found['recall']:.0%}, {found['bytes']:,} bytes,"
            f" peak +{found['peak_mib']:.0f} MiB. That is {ratio['seconds']:.0f} times our seconds,"
            f" {ratio['bytes']:,.0f} times our bytes and {ratio['peak_memory']:.1f} times our"
            " memory.",
            "",
        ]
    return lines


def _recall(one: dict[str, Any], context: str) -> str:
    found = one["recall"].get(context)
    return markdown.percent(found["recall"]) if found else ""

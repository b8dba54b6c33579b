"""Writing facts into a model: recall, seconds, memory, bytes, and what else moves.

    python benchmarks/write.py [--model ID_OR_PATH] [--device cuda] [--data FOLDER] [--facts 100]

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
from common import environment, peak_memory, require, spread, timed, write_results
from facts import distinct_facts
from texts import sentences, unseen_contexts

from engram_transformers import UserTable, add_engram, engram_disabled, remove_engram, use_tables
from engram_transformers.pretrained import load_pretrained

STOP = "."


def main() -> None:
    args = parse_arguments()
    device = torch.device(args.device)
    model, tokenizer = load_pretrained(args.model, dtype=getattr(torch, args.dtype), device=device)
    model.eval()
    facts, source = distinct_facts(max(args.facts), args.data)
    results: dict[str, Any] = {
        "benchmark": "write",
        "model": args.label or args.model,
        "dtype": args.dtype,
        "facts_from": source,
        "environment": environment(device),
        "import": import_seconds(),
        "write": [],
    }
    for count in args.facts:
        results["write"].append(measure(model, tokenizer, facts[:count], device, args))
    results["locality"] = locality(model, tokenizer, facts[: args.facts[0]], args)
    if not args.no_lora:
        results["lora"] = lora(model, tokenizer, facts[: args.facts[0]], device, args)
        ours = results["write"][0]
        results["lora_over_ours"] = {
            "seconds": results["lora"]["seconds"] / ours["seconds"]["median"],
            "bytes": results["lora"]["bytes"] / ours["bytes_on_disk"],
            "peak_memory": results["lora"]["peak_mib"] / ours["peak_mib"],
        }
        print("LoRA over ours:", results["lora_over_ours"])
    write_results(args.out or f"write-{device.type}-{args.dtype}", results)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--label", help="the model's name in the results, if --model is a folder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--facts", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--repeats", type=int, default=5, help="timed writes of the first count")
    parser.add_argument("--ask-in", type=int, default=8, help="so many contexts, shortest first")
    parser.add_argument("--ask-in-large", type=int, default=8, help="the same, over 100 facts")
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--no-lora", action="store_true")
    parser.add_argument("--out", help="name of the JSON file")
    parser.add_argument("--settings", nargs="*", default=[], help="EngramConfig fields, name=value")
    parser.add_argument("--contexts", type=int, default=None, help="as in UserTable.write")
    return parser.parse_args()


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the configuration fields given on the command line."""
    pairs = (item.split("=", 1) for item in args.settings)
    return {name: int(value) if value.lstrip("-").isdigit() else value for name, value in pairs}


def write_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the write options given on the command line."""
    return {} if args.contexts is None else {"contexts": args.contexts}


def measure(
    model: Any, tokenizer: Any, facts: list[tuple[str, str]], device: torch.device, args: Any
) -> dict[str, Any]:
    """Write facts, ask them everywhere, and time it."""
    add_engram(model, tokenizer, **settings(args))
    UserTable(model, "warm-up").write(facts[:8], progress=False)
    seconds: list[float] = []
    evaluation: list[float] = []
    repeats = args.repeats if len(facts) <= 100 else 1
    for _ in range(repeats):
        table = UserTable(model, "benchmark")
        with peak_memory(device) as peak:
            report = table.write(facts, progress=False, **write_options(args))
        seconds.append(report.seconds)
        evaluation.append(report.evaluation_seconds)
    recall = {}
    contexts = unseen_contexts(tokenizer)
    for name, context in list(contexts.items())[
        : args.ask_in if len(facts) <= 100 else args.ask_in_large
    ]:
        tokens = len(tokenizer(context)["input_ids"])
        with use_tables(model, table):
            right = ask(model, tokenizer, facts, context)
        recall[name] = {"tokens": tokens, "recall": sum(right) / len(facts)}
        print(f"{len(facts)} facts after {name} ({tokens} tokens): {recall[name]['recall']:.2%}")
    with tempfile.TemporaryDirectory() as folder:
        table.save_pretrained(folder, store_text=False)
        size = (Path(folder) / "table.safetensors").stat().st_size
        again = UserTable.from_pretrained(folder, model)
        require(torch.equal(again.rows.values, table.rows.values), "saved rows are the rows")
    remove_engram(model)
    result = {
        "facts": len(facts),
        "written": report.recalled,
        "failed": [str(failed.fact.prompt) for failed in report.failed],
        "recall": recall,
        "steps": report.steps,
        "seconds": spread(seconds),
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


@torch.inference_mode()
def ask(
    model: Any, tokenizer: Any, facts: list[tuple[str, str]], context: str, batch: int = 50
) -> list[bool]:
    """Ask by free greedy generation: is the whole answer said, and does it end there?"""
    right: list[bool] = []
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    for start in range(0, len(facts), batch):
        part = facts[start : start + batch]
        inputs = tokenizer(
            [context + prompt for prompt, _ in part], return_tensors="pt", padding=True
        ).to(model.device)
        longest = max(len(tokenizer(answer)["input_ids"]) for _, answer in part) + 2
        output = model.generate(**inputs, max_new_tokens=longest, do_sample=False)
        texts = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :])
        right += [
            text.strip().startswith(answer.strip() + STOP)
            for text, (_, answer) in zip(texts, part, strict=True)
        ]
    return right


@torch.no_grad()
def locality(model: Any, tokenizer: Any, facts: list[tuple[str, str]], args: Any) -> dict[str, Any]:
    """Check sentences without a trigger bit for bit, in float32 and bfloat16."""
    counts: dict[str, Any] = {}
    texts = sorted(sentences(args.sentences), key=len)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    for dtype in (torch.float32, torch.bfloat16):
        twin = copy.deepcopy(model).to(dtype)
        add_engram(twin, tokenizer, **settings(args))
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


def lora(
    model: Any, tokenizer: Any, facts: list[tuple[str, str]], device: torch.device, args: Any
) -> dict[str, Any]:
    """Train one LoRA on the facts until every answer token is won, then ask."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    adapted: Any = get_peft_model(
        copy.deepcopy(model), LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
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
        seconds, _ = timed(device, train)
    adapted.eval()
    recall = sum(ask(adapted, tokenizer, facts, "")) / len(facts)
    with tempfile.TemporaryDirectory() as folder:
        adapted.save_pretrained(folder)
        size = (Path(folder) / "adapter_model.safetensors").stat().st_size
    result = {
        "rank": 16,
        "epochs": epochs,
        "recall": recall,
        "seconds": seconds,
        "peak_mib": peak["mib"],
        "bytes": size,
    }
    print("LoRA:", result)
    return result


def import_seconds() -> dict[str, Any]:
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
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        first, *modules = done.stdout.split()
        seconds.append(float(first))
        pulled.update(modules)
    require(not pulled, "importing the library pulls in neither peft nor accelerate nor trl")
    print(f"import adds {min(seconds):.3f} to {max(seconds):.3f} s")
    return {"seconds_added": spread(seconds)}


if __name__ == "__main__":
    main()

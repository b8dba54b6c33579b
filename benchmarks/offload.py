"""Offload: what a bank costs whose rows are in host memory or in files, beside one on the device.

    python -m benchmarks run offload --device cuda --dtype bfloat16 --gigabytes 1 10 50

Four models with the same weights take turns, piece by piece in random order: without a bank, with
the tables on the device, in host memory, and in files. A round's ratio is that of the medians of
its pieces. Before anything is timed, the logits of the three that have a bank must be equal bit for
bit, in prefill, under padding, in cached steps and in beams.

Tokens are drawn at random, so nearly every n-gram of a batch is another one: real text repeats
n-grams, and needs fewer rows. Files have just been written: as far as they fit into memory, the
system reads them from there ("in memory" in the results says whether they could).
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from benchmarks import markdown
from benchmarks.common import require, spread, timed
from benchmarks.overhead import random_ids
from benchmarks.promises import Promise, promise
from benchmarks.setting import Setting
from engram_transformers import add_engram, engram_disabled, load_engram, remove_engram, save_engram
from engram_transformers.attachment import require_attachment

NEEDS_MODEL = True
PLACES = ("device", "host", "disk")
HELD = 0.97
"""What host memory must reach of the device's throughput, on a GPU with batches of 32 or more."""

Pieces = list[Callable[[], None]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[0.1], help="of all tables")
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--tokens", type=int, default=256, help="of each sample in prefill")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bank-layers", type=int, nargs="+", help="default: 1 and the middle")
    parser.add_argument("--folder", type=Path, help="for the files; default: a temporary one")


def run(setting: Setting) -> dict[str, Any]:
    options = setting.options
    if setting.quick:
        options.gigabytes, options.batch = [0.001], options.batch[:1]
        options.tokens, options.steps, options.rounds = 12, 3, 1
    cases: list[dict[str, Any]] = []
    for gigabytes in options.gigabytes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            cases += measure_size(setting, gigabytes, Path(folder))
    return {
        "tokens": options.tokens,
        "steps": options.steps,
        "layers": layers_of(setting),
        "cases": cases,
        "promises": promises(cases) if setting.device.type == "cuda" and not setting.quick else [],
    }


def layers_of(setting: Setting) -> list[int]:
    blocks = setting.model.config.get_text_config().num_hidden_layers
    return setting.options.bank_layers or [1, blocks // 2]


def measure_size(setting: Setting, gigabytes: float, folder: Path) -> list[dict[str, Any]]:
    """Measure all batches with a bank of one size."""
    options = setting.options
    layers = layers_of(setting)
    fields = {"bank_dim": 128, **setting.config_fields, "layers": layers}
    head_dim = fields["bank_dim"] // (2 * fields.get("bank_heads", 8))
    row_bytes = head_dim * setting.dtype.itemsize
    fields["memory_size"] = int(gigabytes * 1e9 / row_bytes / len(layers))
    on_device = share_weights(setting.model)
    add_engram(on_device, setting.tokenizer, **fields)
    fill(on_device, setting)
    save_engram(on_device, folder)
    models: dict[str, Any] = {"no bank": setting.model, "device": on_device}
    for place in ("host", "disk"):
        other = share_weights(setting.model)
        models[place] = load_engram(other, folder, setting.tokenizer, offload=place)
    banks = require_attachment(on_device).banks.values()
    stored = sum(bank.table.weight.nbytes for bank in banks)
    try:
        cases: list[dict[str, Any]] = []
        for batch in options.batch:
            check(models, random_ids(setting.model, batch, 24, setting.seed))
            for kind in ("prefill", "decode"):
                case = measure(models, kind, batch, setting)
                memory = _memory_bytes()
                case |= {
                    "gigabytes": stored / 1e9,
                    "rows": sum(bank.bank_hash.rows for bank in banks),
                    "files_fit_into_memory": memory is None or 2 * stored < memory,
                }
                cases.append(case)
                shown = ", ".join(f"{n} {r['median']:.3f}" for n, r in case["over_device"].items())
                rate = case["tokens_per_second"]["device"]["median"]
                print(f"{stored / 1e9:.3g} GB, {kind}, batch {batch}: {rate:,.0f} tok/s; {shown}")
        return cases
    finally:
        for place in PLACES:
            remove_engram(models[place])


def share_weights(model: Any) -> Any:
    """Return another object with the same weights."""
    weights = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(weight): weight for weight in weights})


@torch.no_grad()
def fill(model: Any, setting: Setting) -> None:
    """Draw all weights of a model's banks, so that wrong rows would change the output."""
    for layer, bank in require_attachment(model).banks.items():
        bank.to(setting.dtype)
        generator = torch.Generator(bank.numbers.device).manual_seed(setting.seed + layer)
        for name, weight in bank.named_parameters():
            wide = name in ("value_projection.weight", "key_projection.weight")
            weight.normal_(0, weight.shape[1] ** -0.5 if wide else 1, generator=generator)


@torch.no_grad()
def check(models: dict[str, Any], ids: torch.Tensor) -> None:
    """Stop unless the models with a bank compute the same, and another thing than without."""
    with engram_disabled(models["host"]):
        bare = models["host"](input_ids=ids, use_cache=False).logits
    seen = {place: said_by(models[place], ids) for place in PLACES}
    for place in ("host", "disk"):
        for name, expected in seen["device"].items():
            require(torch.equal(seen[place][name], expected), f"{name} from {place} are the same")
    require(not torch.equal(bare, seen["device"]["logits"]), "the bank adds something")


def said_by(model: Any, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what a model says in each way of running it."""
    mask = torch.ones_like(ids)
    mask[0, :7] = 0
    cache = DynamicCache()
    parts = [model(input_ids=ids[:, :8], past_key_values=cache).logits]
    for place in range(8, 12):
        parts.append(model(input_ids=ids[:, place : place + 1], past_key_values=cache).logits)
    settings = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    few, few_mask = ids[:2], mask[:2]
    return {
        "logits": model(input_ids=ids, use_cache=False).logits,
        "padded logits": model(input_ids=ids, attention_mask=mask, use_cache=False).logits,
        "cached steps": torch.cat(parts, dim=1),
        "beams": model.generate(few, attention_mask=few_mask, num_beams=3, **settings),
    }


def measure(models: dict[str, Any], kind: str, batch: int, setting: Setting) -> dict[str, Any]:
    """Return tokens per second of each model, and each over the one with its bank on the device."""
    options = setting.options
    order = random.Random(setting.seed)
    tokens = batch * (options.tokens if kind == "prefill" else 1)
    rates: dict[str, list[float]] = {name: [] for name in models}
    for number in range(options.rounds + 1):
        # Other tokens in every round: the same rows would not have to be found again.
        length = options.tokens + options.steps
        ids = random_ids(setting.model, batch, length, setting.seed + number)
        pieces = {name: PREPARE[kind](model, ids, options) for name, model in models.items()}
        seconds: dict[str, list[float]] = {name: [] for name in models}
        for place in range(len(pieces["device"])):
            names = list(models)
            order.shuffle(names)
            for name in names:
                seconds[name].append(timed(setting.device, pieces[name][place])[0])
        if number:  # the first round warms up
            for name, taken in seconds.items():
                rates[name].append(tokens / statistics.median(taken))
    return {
        "kind": kind,
        "batch": batch,
        "tokens_per_second": {name: spread(found) for name, found in rates.items()},
        "over_device": {
            name: spread([a / b for a, b in zip(found, rates["device"], strict=True)])
            for name, found in rates.items()
            if name != "device"
        },
    }


def prefills(model: Any, ids: torch.Tensor, options: argparse.Namespace) -> Pieces:
    """Return some forwards of whole prompts, each of other tokens."""

    vocab = len(model.get_input_embeddings().weight)

    @torch.inference_mode()
    def work(shift: int) -> None:
        given = (ids[:, : options.tokens] + shift) % vocab
        model(input_ids=given, logits_to_keep=1)

    return [lambda shift=shift: work(shift) for shift in range(4)]


def steps(model: Any, ids: torch.Tensor, options: argparse.Namespace) -> Pieces:
    """Return some steps of one token each, after a prompt."""
    cache = DynamicCache()
    with torch.inference_mode():
        prompt = ids[:, : options.tokens]
        model(input_ids=prompt, past_key_values=cache, logits_to_keep=1)

    @torch.inference_mode()
    def work(place: int) -> None:
        model(input_ids=ids[:, place : place + 1], past_key_values=cache)

    first = options.tokens
    return [lambda place=place: work(place) for place in range(first, first + options.steps)]


PREPARE: dict[str, Callable[[Any, torch.Tensor, argparse.Namespace], Pieces]] = {
    "prefill": prefills,
    "decode": steps,
}


def promises(cases: list[dict[str, Any]]) -> list[Promise]:
    return [
        promise(
            f"{case['kind']} with {case['gigabytes']:.3g} GB in host memory, batch"
            f" {case['batch']}: at least {HELD:.0%} of the device's throughput",
            case["over_device"]["host"]["median"] >= HELD,
            markdown.percent(case["over_device"]["host"]["median"]),
        )
        for case in cases
        if case["batch"] >= 32
    ]


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Offloaded banks",
        "",
        "Throughput with the tables of banks in host memory or in files, over that with the same"
        " tables on the device: median (min to max of the rounds). Tokens are random, so hardly an"
        " n-gram is there twice. The logits were equal bit for bit.",
        "",
    ]
    for run in runs:
        layers = ", ".join(map(str, run["layers"]))
        lines += markdown.heading(
            run,
            f"Prompts of {run['tokens']} tokens, then {run['steps']} steps; banks at layers"
            f" {layers}; {markdown.provenance(run)}.",
        )
        lines += markdown.table(
            ["GB", "", "batch", "tokens/s, device", "no bank", "host memory", "files"],
            [
                [
                    f"{case['gigabytes']:.3g}",
                    case["kind"],
                    case["batch"],
                    f"{case['tokens_per_second']['device']['median']:,.0f}",
                    *(_ratio(case["over_device"][name]) for name in ("no bank", "host")),
                    _ratio(case["over_device"]["disk"])
                    + ("" if case["files_fit_into_memory"] else ", larger than memory"),
                ]
                for case in run["cases"]
            ],
        )
    return lines


def _ratio(found: dict[str, Any]) -> str:
    return f"{found['median']:.3f} ({found['min']:.3f} to {found['max']:.3f})"


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None

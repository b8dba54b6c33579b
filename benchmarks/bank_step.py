"""What one step of training a bank costs, beside a LoRA and engram-peft on the same batches.

    python -m benchmarks run bank_step [--memory-size 1000000 10000000 100000000] [--bf16]

Every condition is trained by its own trainer, alone on the device; they take turns in rounds. A
step is everything from the end of one to the end of the next. First it is checked that nothing
but what should learn changes, that a bank learns a repeated batch, and that the rows read, and no
others, change and are remembered.

Peak memory is what torch holds on a GPU. On a CPU it is left out: the resident size also has what
the allocator keeps of earlier turns. engram-peft is optional (`pip install engram-peft==1.2.7`, on
Python 3.12 or newer); where it is missing or fails, that is said in the results.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import random
import statistics
from collections import defaultdict
from typing import Any

from benchmarks.bank_steps import claims
from benchmarks.bank_steps.batches import examples
from benchmarks.bank_steps.checks import check, require_same_base, require_same_losses
from benchmarks.bank_steps.conditions import (
    DIFFERS,
    LORA,
    OTHER,
    Bank,
    Condition,
    banks,
    lora,
    other,
)
from benchmarks.bank_steps.page import section
from benchmarks.bank_steps.turn import PRECISIONS, Turn, take_turn
from benchmarks.common import spread
from benchmarks.promises import are_checked
from benchmarks.setting import Setting
from engram_transformers import EngramConfig
from engram_transformers.architectures import text_config

__all__ = ["NEEDS_MODEL", "add_arguments", "run", "section"]

NEEDS_MODEL = True
Turns = dict[tuple[str, str], list[Turn]]
"""(condition, precision) -> its turns, one for each round."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add options."""
    parser.add_argument(
        "--memory-size", type=int, nargs="+", default=[1_000_000], help="rows of each layer"
    )
    parser.add_argument("--bank-layers", type=int, nargs="+", help="blocks; default 1 and half way")
    parser.add_argument("--batch", type=int, default=8, help="sequences in a batch")
    parser.add_argument("--length", type=int, default=512, help="tokens of a sequence")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="timed, in each round")
    parser.add_argument("--warm-up", type=int, default=5, help="steps before, in each round")
    parser.add_argument("--bf16", action="store_true", help="in bfloat16 autocast as well")


def run(setting: Setting) -> dict[str, Any]:
    """Check all conditions, then let them take turns."""
    options = setting.options
    if setting.quick:
        options.memory_size, options.batch, options.length = [10_000], 2, 32
        options.rounds, options.steps, options.warm_up = 1, 2, 1
    precisions = list(PRECISIONS)[: 2 if options.bf16 else 1]
    count = options.batch * (options.warm_up + options.steps)
    data, source = examples(setting, count, options.length)
    made, left_out = _conditions(setting)
    conditions, failed = _checked(setting, made, data, precisions)
    turns = _measured(setting, conditions, data, precisions)
    cases = [_case(one, precision, turns) for one in conditions for precision in precisions]
    for case in cases:
        print(_described(case), flush=True)
    found: dict[str, Any] = {
        "text": source,
        **{name: getattr(options, name) for name in ("batch", "length", "rounds", "steps")},
        "warm_up_steps": options.warm_up,
        "bank": _bank_fields(setting),
        "cases": cases,
        "left_out": [*left_out, *failed],
        "differs": list(DIFFERS) if any(case["kind"] == OTHER for case in cases) else [],
    }
    is_checked = are_checked(setting) and setting.device.type == "cuda"
    return {**found, "promises": claims.promises(cases) if is_checked else []}


def _conditions(setting: Setting) -> tuple[list[Condition], list[dict[str, str]]]:
    """Return all conditions that can be built here, and why others can't."""
    made, left_out = [lora(setting.model)], list[dict[str, str]]()
    for rows in setting.options.memory_size:
        bank = Bank(rows=rows, **_bank_fields(setting))
        made += banks(setting.model, setting.tokenizer, bank, **_other_fields(setting))
        try:
            made.append(other(setting.model, setting.tokenizer, bank))
        except Exception as error:  # whatever a library of others stumbles over
            left_out.append(_left_out(f"{OTHER}, {rows:,} rows", error))
    return made, left_out


def _checked(
    setting: Setting, conditions: list[Condition], data: list[dict[str, Any]], precisions: list[str]
) -> tuple[list[Condition], list[dict[str, str]]]:
    """Return the conditions that learn; stop if one does what it must not."""
    batch, device, base = setting.options.batch, setting.device, setting.model
    kept: list[Condition] = []
    failed: list[dict[str, str]] = []
    first: dict[int, tuple[Condition, Turn]] = {}  # of each model, while it adds nothing
    for condition in conditions:
        try:
            for precision in precisions:
                turn = check(condition, data, device, batch, precision=precision)
                first.setdefault(id(condition.model), (condition, turn))
                require_same_base(condition, base)
        except Exception as error:
            if not condition.is_other:
                raise
            failed.append(_left_out(condition.name, error))
        else:
            kept.append(condition)
    require_same_losses([one for one in first.values() if one[0] in kept], precisions[0])
    return kept, failed


def _measured(
    setting: Setting, conditions: list[Condition], data: list[dict[str, Any]], precisions: list[str]
) -> Turns:
    """Return the turns of all conditions."""
    options = setting.options
    turns: Turns = defaultdict(list)
    order = random.Random(setting.seed)
    pairs = [(one, precision) for one in conditions for precision in precisions]
    for number in range(options.rounds):
        order.shuffle(pairs)
        for condition, precision in pairs:
            turn = take_turn(
                condition,
                data,
                setting.device,
                batch=options.batch,
                steps=options.steps,
                warm_up=options.warm_up,
                precision=precision,
            )
            turns[condition.name, precision].append(turn)
        print(f"round {number + 1} of {options.rounds}", flush=True)
    for condition in conditions:
        require_same_base(condition, setting.model)
    return turns


def _case(condition: Condition, precision: str, turns: Turns) -> dict[str, Any]:
    """Return what is told of one condition."""
    mine, base = turns[condition.name, precision], turns[LORA, precision]
    last = mine[-1]
    peaks = [turn.peak_bytes for turn in mine if turn.peak_bytes is not None]
    pairs = zip(mine, base, strict=True)
    return {
        "condition": condition.name,
        "kind": OTHER if condition.is_other else "LoRA" if condition.bank is None else "bank",
        "rows": None if condition.bank is None else condition.bank.rows,
        "precision": precision,
        "step_seconds": spread([taken for turn in mine for taken in turn.seconds]),
        "over_lora": spread([_median(turn) / _median(other) for turn, other in pairs]),
        "trained_bytes": last.trained_bytes,
        "state_bytes": last.state_bytes,
        "touched": [vars(one) for one in last.touched],
        "row_width": _row_width(condition),
        "peak_bytes": max(peaks, default=None),
    }


def _median(turn: Turn) -> float:
    return statistics.median(turn.seconds)


def _row_width(condition: Condition) -> int | None:
    bank = condition.bank
    return None if bank is None else bank.dim // ((bank.order - 1) * bank.heads)


def _bank_fields(setting: Setting) -> dict[str, Any]:
    """Return what banks of all sizes share."""
    asked = {name: n for name, n in setting.config_fields.items() if name.startswith("bank_")}
    config = EngramConfig(**asked)
    depth = text_config(setting.model).num_hidden_layers
    # Of 30 blocks 1 and 14, as in the paper (arXiv 2601.07372), which counts from 1.
    layers = setting.options.bank_layers or sorted({1, max(depth // 2 - 1, 2)})
    return {
        "layers": tuple(layers),
        "order": config.bank_order,
        "heads": config.bank_heads,
        "dim": config.bank_dim,
        "kernel_size": config.bank_kernel_size,
        "seed": int(setting.config_fields.get("seed", 0)),
    }


def _other_fields(setting: Setting) -> dict[str, Any]:
    fields = setting.config_fields.items()
    return {name: value for name, value in fields if not name.startswith("bank_")}


def _left_out(condition: str, error: Exception) -> dict[str, str]:
    try:
        installed = f"version {importlib.metadata.version('engram-peft')}"
    except importlib.metadata.PackageNotFoundError:
        installed = "not installed"
    first = (str(error).strip().splitlines() or [""])[0][:200]
    reason = f"{installed}; {type(error).__name__}: {first}"
    print(f"left out: {condition} ({reason})", flush=True)
    return {"condition": condition, "reason": reason}


def _described(case: dict[str, Any]) -> str:
    seconds, ratio = case["step_seconds"], case["over_lora"]
    peak = "" if case["peak_bytes"] is None else f", peak {case['peak_bytes'] / 2**20:,.0f} MiB"
    return (
        f"{case['condition']}, {case['precision']}: {1e3 * seconds['median']:.1f} ms a step,"
        f" {ratio['median']:.3f} of the LoRA's{peak}"
    )

"""Fuzz what is read: random batches against a slow reader in plain Python.

    python -m benchmarks run fuzz [--batches 10000] [--model-batches 1000] [--seed 0]

Batches of 1 to 5 samples (more rows as beams), padded left, right, on both sides or anywhere,
packed, or with a 4-D mask; in chunks of any size, with dynamic, sliding and static caches that are
reordered, selected from, repeated and cut in between; with tables per sample, addresses of orders 1
to 64 and shared rows. Plans, and both ways of carrying them out, are those of tests/test_fuzz.py.
A mismatch is counted, the first ones are kept, and the script fails.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import require
from benchmarks.setting import Setting

NEEDS_MODEL = False

KEPT = 3
"""Mismatches of which the plan is written down."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batches", type=int, default=10_000, help="with the reader alone")
    parser.add_argument("--model-batches", type=int, default=1_000, help="with a whole model")


def run(setting: Setting) -> dict[str, Any]:
    # Where the plans are; hypothesis comes with the tests' requirements.
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import hypothesis
    from fuzz_runs import model_plans, reader_plans, run_model, run_reader

    torch.set_num_threads(1)
    setting.device = torch.device("cpu")
    batches = 1 if setting.quick else setting.options.batches
    with_model = 1 if setting.quick else setting.options.model_batches
    results: dict[str, Any] = {
        "hypothesis": hypothesis.__version__,
        "reader": carry_out(batches, reader_plans, run_reader, setting.seed),
        "model": carry_out(with_model, model_plans, run_model, setting.seed),
    }
    for part in ("reader", "model"):
        found = results[part]["mismatches"]
        require(found == 0, f"{found} of {results[part]['batches']} batches read something else")
    return results


def carry_out(
    count: int,
    plans: Callable[[Any, Any], Any],
    run: Callable[[Any, Any], None],
    first_seed: int,
) -> dict[str, Any]:
    """Carry out so many plans, of each kind as many; say what was compared and what differed."""
    from fuzz_runs import MismatchError, Tally
    from fuzz_strategies import KINDS
    from hypothesis import HealthCheck, Phase, given, seed, settings

    tally, mismatches, batches = Tally(), [], {}
    started = time.perf_counter()
    for number, (style, cache) in enumerate(KINDS):

        @seed(first_seed + number)
        @settings(
            max_examples=-(-count // len(KINDS)),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(plan=plans(style, cache))
        def each(plan: Any) -> None:
            try:
                run(plan, tally)
            except MismatchError as error:
                mismatches.append(f"{plan}: {error}")

        before = tally.batches
        each()
        batches[f"{style}, {cache}"] = tally.batches - before
    seconds = time.perf_counter() - started
    print(f"{tally}, {len(mismatches)} mismatches, {seconds:.0f} s")
    return {
        "batches": tally.batches,
        "calls": tally.calls,
        "positions": tally.positions,
        "rows_read": tally.rows,
        "mismatches": len(mismatches),
        "first_mismatches": mismatches[:KEPT],
        "seconds": seconds,
        "batches_told_by_and_cached_in": batches,
    }


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = ["## Random batches against a slow reader", ""]
    names = {"reader": "The hooks and the reader alone", "model": "A whole tiny model"}
    for run in runs:
        for key, name in names.items():
            found = run[key]
            lines.append(
                f"- {name}: {found['batches']:,} batches, {found['positions']:,} positions,"
                f" {found['rows_read']:,} rows read, {found['mismatches']} mismatches."
            )
    return lines

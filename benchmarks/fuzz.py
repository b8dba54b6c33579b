"""Fuzz what is read: random batches against a slow reader in plain Python.

    python benchmarks/fuzz.py [--batches 10000] [--model-batches 1000] [--seed 0]

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

import hypothesis
import torch
from common import environment, require, write_results
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from fuzz_plans import CacheKind, Plan, Style
from fuzz_runs import MismatchError, Tally, model_plans, reader_plans, run_model, run_reader
from fuzz_strategies import KINDS

KEPT = 3
"""Mismatches of which the plan is written down."""


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(1)
    results: dict[str, Any] = {
        "benchmark": "fuzz",
        "seed": args.seed,
        "environment": environment(torch.device("cpu")) | {"hypothesis": hypothesis.__version__},
        "reader": carry_out(args.batches, reader_plans, run_reader, args.seed),
        "model": carry_out(args.model_batches, model_plans, run_model, args.seed),
    }
    write_results(args.out, results)
    for part in ("reader", "model"):
        found = results[part]["mismatches"]
        require(found == 0, f"{found} of {results[part]['batches']} batches read something else")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=10_000, help="with the reader alone")
    parser.add_argument("--model-batches", type=int, default=1_000, help="with a whole model")
    parser.add_argument("--seed", type=int, default=0, help="of hypothesis")
    parser.add_argument("--out", default="fuzz", help="name of the results file")
    return parser.parse_args()


def carry_out(
    count: int,
    plans: Callable[[Style, CacheKind], SearchStrategy[Plan]],
    run: Callable[[Plan, Tally], None],
    first_seed: int,
) -> dict[str, Any]:
    """Carry out so many plans, of each kind as many; say what was compared and what differed."""
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
        def each(plan: Plan) -> None:
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


if __name__ == "__main__":
    main()

"""Random batches against the slow reader of `reference`.

`ENGRAM_FUZZ_BATCHES` says how many (300 if it is not set; a tenth of them with a whole model), and
`ENGRAM_FUZZ_SEED` which ones (hypothesis' own choice if it is not set). For many, with a summary:

    ENGRAM_FUZZ_BATCHES=10000 python -m pytest tests/test_fuzz.py -s
"""

from __future__ import annotations

import os
from collections.abc import Callable

import fuzz_runs
import pytest
from fuzz_plans import (
    Batch,
    CacheKind,
    Cell,
    Crop,
    Feed,
    Owned,
    Plan,
    Reorder,
    Repeat,
    Select,
    Style,
    expected,
)
from fuzz_runs import MismatchError, Tally
from fuzz_strategies import KINDS
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

BATCHES = int(os.environ.get("ENGRAM_FUZZ_BATCHES", "300"))
SEED = os.environ.get("ENGRAM_FUZZ_SEED")

pytestmark = pytest.mark.timeout(0)


Plans = Callable[[Style, CacheKind], SearchStrategy[Plan]]


def carry_out(count: int, plans: Plans, run: Callable[[Plan, Tally], None]) -> Tally:
    """Carry out so many plans, of each kind as many; stop at the first mismatch.

    Says what was compared (pytest shows it with `-s`).
    """
    tally = Tally()
    for number, (style, cache) in enumerate(KINDS):

        @settings(
            max_examples=1 + -(-count // len(KINDS)),  # older hypothesis begins with the simplest
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(plan=plans(style, cache))
        def each(plan: Plan) -> None:
            run(plan, tally)

        (each if SEED is None else seed(int(SEED) + number)(each))()
    print(f"\n{tally}, 0 mismatches")  # noqa: T201
    assert tally.batches >= count
    return tally


def test_fuzzed_batches_read_what_the_slow_reader_reads():
    tally = carry_out(BATCHES, fuzz_runs.reader_plans, fuzz_runs.run_reader)
    assert tally.rows > BATCHES  # and not nothing on both sides


def test_fuzzed_batches_of_a_model_read_what_the_slow_reader_reads():
    """And their logits are those of recomputation without a cache."""
    tally = carry_out(-(-BATCHES // 10), fuzz_runs.model_plans, fuzz_runs.run_model)
    assert tally.rows > BATCHES // 10


# The fuzz itself


def cells(tokens: list[int], padding: int = 0) -> tuple[Cell, ...]:
    return tuple(Cell(token, place < padding, False) for place, token in enumerate(tokens))


@pytest.fixture
def plan() -> Plan:
    """Two rows of one sample each, repeated, cut, reordered and selected."""
    ids = fuzz_runs.tokens()
    key = tuple(fuzz_runs.canonical()[token] for token in ids[:2])
    return Plan(
        "mask",
        "dynamic",
        64,
        (
            Feed((cells(ids[:3]), cells(ids[:3], padding=1))),
            Repeat(2),
            Crop(2),
            Reorder((1, 0, 2, 3)),
            Select((0, 2)),
            Feed((cells(ids[1:2]), cells(ids[1:2]))),
        ),
        1,
        ((0,), ()),
        (Owned(1, {key: 3}),),
    )


@pytest.mark.parametrize("run", [fuzz_runs.run_reader, fuzz_runs.run_model])
def test_a_plan_made_by_hand_reads_what_it_says(plan, run):
    batch = Batch.before(plan)
    for step in plan.steps:
        batch.apply(step)
    canonical = fuzz_runs.canonical()
    assert expected(plan, batch, canonical, 1, 2) == [[None, (0, 3)], [None, None]]
    assert expected(plan, batch, canonical, 3, 2) == [[None, None], [None, None]]
    tally = Tally()
    run(plan, tally)
    assert (tally.batches, tally.calls, tally.rows) == (1, 2, 2)


@pytest.mark.parametrize("run", [fuzz_runs.run_reader, fuzz_runs.run_model])
def test_a_mismatch_is_not_overlooked(plan, run, monkeypatch):
    """A reader that forgets what was said before the call is found out."""
    import engram_transformers.attachment as attachment
    from engram_transformers.history import Recalled

    monkeypatch.setattr(attachment, "recall", lambda new, cache, reach: Recalled(new))
    with pytest.raises(MismatchError, match="layer 1, call 2"):
        run(plan, Tally())

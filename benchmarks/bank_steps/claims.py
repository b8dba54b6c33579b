"""What a bank's step is promised to cost."""

from __future__ import annotations

from typing import Any

from benchmarks.bank_steps.conditions import LORA, OTHER
from benchmarks.promises import Promise, promise

MOST_OF_LORA = 1.15
MOST_ROOM = 1.5
"""`RowStore` grows by half when it is full."""


def promises(cases: list[dict[str, Any]]) -> list[Promise]:
    """Return what is promised of all banks of a run."""
    made: list[Promise] = []
    for case in cases:
        if case["kind"] != "bank":
            continue
        made += [_time(case), _states(case)]
        theirs = [
            one
            for one in cases
            if (one["kind"], one["rows"], one["precision"])
            == (OTHER, case["rows"], case["precision"])
        ]
        made += [one for other in theirs for one in _beside(case, other)]
    return made


def bytes_of_a_row(condition: str, width: int) -> int:
    """Return what an optimiser remembers of a row that it knows, with where it is kept.

    Args:
        condition: The name, which ends with the optimiser's.
        width: Numbers in a row.
    """
    index = 16
    return index + (4 if condition.endswith("adagrad") else 4 + 8 * width)


def _time(case: dict[str, Any]) -> Promise:
    ratio = case["over_lora"]["median"]
    text = f"{_name(case)}: a step takes at most {MOST_OF_LORA} times as long as with {LORA}"
    return promise(text, ratio <= MOST_OF_LORA, f"{ratio:.3f}, median of the rounds")


def _states(case: dict[str, Any]) -> Promise:
    row = bytes_of_a_row(case["condition"], case["row_width"])
    seen = case["touched"]
    held = len(seen) == 2 and 0 < seen[0]["rows"] < seen[1]["rows"]
    held = held and all(row <= one["bytes"] / one["rows"] <= MOST_ROOM * row for one in seen)
    found = "; ".join(
        f"{one['bytes'] / one['rows']:.1f} bytes for each of {one['rows']:,} rows"
        f" after {one['steps']} step{'s' if one['steps'] > 1 else ''}"
        for one in seen
        if one["rows"]
    )
    return promise(
        f"{_name(case)}: what is remembered of rows is {row} bytes for each row ever read, with"
        f" room at most {MOST_ROOM} times that",
        held,
        found,
    )


def _beside(case: dict[str, Any], other: dict[str, Any]) -> list[Promise]:
    mine, theirs = (one["step_seconds"]["median"] for one in (case, other))
    made = [
        promise(
            f"{_name(case)}: a step takes no longer than engram-peft's",
            mine <= theirs,
            f"{1e3 * mine:.1f} ms against {1e3 * theirs:.1f} ms",
        )
    ]
    if case["peak_bytes"] is not None and other["peak_bytes"] is not None:
        mine, theirs = case["peak_bytes"], other["peak_bytes"]
        made.append(
            promise(
                f"{_name(case)}: peak memory is no more than engram-peft's",
                mine <= theirs,
                f"{mine / 2**20:,.0f} MiB against {theirs / 2**20:,.0f} MiB",
            )
        )
    return made


def _name(case: dict[str, Any]) -> str:
    return f"{case['condition']}, {case['precision']}"

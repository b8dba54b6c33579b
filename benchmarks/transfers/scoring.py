"""Scores of the transfer experiment: exact match of the final answer, by kind of question."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.layers.scoring import is_exact, over_runs
from benchmarks.transfers.questions import Question
from engram_transformers import Answer

SHOWN = 15
"""So many wrong answers are kept of each run, those of controls left out."""


def score(
    questions: Sequence[Question],
    answers: Sequence[Answer | None],
    tokens: Callable[[str], int],
) -> dict[str, Any]:
    """Return counts of one run of a part.

    Args:
        questions: All questions.
        answers: What was said to each; None where no answer came.
        tokens: Counts those of a text.

    Returns:
        kinds: By kind: right, asked, unknown ("I don't know." was said), resolved (a fact's name
            was taken for another), no_end, and tokens_said on average.
        wrong: Some that are wrong.
    """
    kinds: dict[str, dict[str, Any]] = {}
    wrong: list[dict[str, Any]] = []
    for one, found in zip(questions, answers, strict=True):
        counts = kinds.setdefault(one.kind, dict.fromkeys(_COUNTED, 0))
        is_right = is_exact(None if found is None else found.text, one.answer)
        counts["right"] += is_right
        counts["asked"] += 1
        if found is None:
            counts["no_end"] += 1
        else:
            counts["unknown"] += not found.is_known
            counts["resolved"] += bool(found.resolved)
            counts["tokens_said"] += tokens(f"{found.recited} {found.text}")
        if not is_right and not one.is_control:
            wrong.append(_shown(one, found))
    for counts in kinds.values():
        counts["tokens_said"] /= max(counts["asked"] - counts["no_end"], 1)
    kept = sorted(random.Random(0).sample(range(len(wrong)), min(len(wrong), SHOWN)))
    return {"kinds": kinds, "wrong": [wrong[i] for i in kept]}


_COUNTED = ("right", "asked", "unknown", "resolved", "no_end", "tokens_said")


def _shown(one: Question, found: Answer | None) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "question": one.text,
        "gold": one.answer,
        "said": None if found is None else found.text,
        "recited": None if found is None else found.recited,
        "resolved": [] if found is None else [list(pair) for pair in found.resolved],
    }


def pooled(part: dict[str, Any], names: str, kinds: Iterable[str]) -> list[dict[str, int]]:
    """Return of each adapter's run of a part how many answers to some kinds are right.

    Args:
        part: Results of a part.
        names: The setting in which it was asked.
        kinds: Those that are counted together; those that were not asked count for nothing.
    """
    wanted = list(kinds)
    found: list[dict[str, int]] = []
    for run in part["runs"]:
        if run["names"] == names:
            some = [run["kinds"][kind] for kind in wanted if kind in run["kinds"]]
            sums = {name: sum(one[name] for one in some) for name in ("right", "asked")}
            found += [sums] if sums["asked"] else []
    return found


def shares(part: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return mean and range over the adapters, by setting of the names and kind."""
    found: dict[str, dict[str, Any]] = {}
    for run in part["runs"]:
        names = run["names"]
        found[names] = {kind: over_runs(pooled(part, names, [kind])) for kind in run["kinds"]}
    return found

"""Facts written to a table and asked: counts by protocol, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.asking import Question, Recall, tokens_of
from benchmarks.methods import KnownFact
from benchmarks.methods.memory import Memory
from engram_transformers.report import WriteReport

PROTOCOLS = ("whole", "forced", "first")


def write_all(memory: Memory, facts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Write facts and say what that took."""
    memory.write([KnownFact(prompt, answer) for prompt, answer in facts])
    if memory.report is None:
        raise RuntimeError("write left no report")
    return {"facts": len(facts), **written(memory, memory.report)}


def written(memory: Memory, report: WriteReport) -> dict[str, Any]:
    """Return what writing took, and what a table takes."""
    return {
        "left_out": len(report.failed),
        "seconds": report.seconds,
        "evaluation_seconds": report.evaluation_seconds,
        "steps": report.steps,
        "rows": report.rows,
        "addresses": memory.table.rows.addresses.numel(),
        "bytes_of_rows_and_addresses": report.nbytes,
        "bytes_on_disk": memory.nbytes,
    }


def ask_all(memory: Memory, facts: Sequence[tuple[str, str]], context: str = "") -> Recall:
    """Ask facts by all protocols. Those that `write` left out are not recalled, whatever comes."""
    recall = memory.recall([Question(prompt, answer) for prompt, answer in facts], context)
    failed = memory.report.failed if memory.report else ()
    left_out = {one.fact.prompt for one in failed}
    kept = [prompt not in left_out for prompt, _ in facts]
    return Recall(*([a and b for a, b in zip(flags, kept, strict=True)] for flags in recall))


def misses(
    memory: Memory, questions: Sequence[Question], flags: Sequence[bool], most: int = 3
) -> list[dict[str, str]]:
    """Return what is said instead of some answers: the ends of prompts, and the beginnings."""
    missed = [q for q, flag in zip(questions, flags, strict=True) if not flag][:most]
    if not missed:
        return []
    said = memory.say([q.prompt for q in missed], tokens_of(memory.tokenizer, missed))
    return [
        {"prompt": q.prompt[-80:], "answer": q.answer, "said": text}
        for q, text in zip(missed, said, strict=True)
    ]


def by_kind(kinds: Sequence[str], flags: Sequence[bool]) -> dict[str, dict[str, int]]:
    """Count what was asked and what was right, by kind."""
    asked = Counter(kinds)
    right = Counter(kind for kind, flag in zip(kinds, flags, strict=True) if flag)
    return {kind: {"asked": asked[kind], "whole": right[kind]} for kind in sorted(asked)}

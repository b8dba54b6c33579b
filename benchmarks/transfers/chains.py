"""Chains of two facts: made up anew, and those of the evaluation data with their controls."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.setting import Setting
from benchmarks.skill import chains
from benchmarks.transfers.questions import SEED, Part, Question, read_json, tables_of
from engram_transformers.facts import FactLike
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

MADE_UP = "made up anew"
UNKNOWN = "made up anew, a fact is missing"
CHAIN, OVERLAP = "true chain", "overlap"
NO_TABLE, FIRST_ONLY, SECOND_ONLY = "no table", "first fact only", "second fact only"
_QUICK = 4


def controlled(kind: str, control: str) -> str:
    """Return what a control of some kind of question is counted under."""
    return f"{kind}, {control}"


def make(setting: Setting) -> Part:
    """Ask for chains, each in a table of its own."""
    made = chains.episodes(setting.options.episodes, SEED + setting.seed)
    tables: dict[str, Sequence[FactLike]] = tables_of(made, "made up")
    questions = [
        Question(
            UNKNOWN if one.answer == UNKNOWN_ANSWER else MADE_UP, one.question, one.answer, name
        )
        for name, one in zip(tables, made, strict=True)
    ]
    items: list[dict[str, Any]] = read_json(setting.data, "multihop_chains.json")["items"]
    if setting.quick:
        items = items[-_QUICK:]
    for number, item in enumerate(items):
        both = [(prompt, gold.strip()) for prompt, gold in item["facts"]]
        kind = OVERLAP if item["overlap"] else CHAIN
        asked = {kind: both}
        asked |= {controlled(kind, FIRST_ONLY): both[:1], controlled(kind, SECOND_ONLY): both[1:]}
        expected = item["expected"].strip()
        for name, facts in asked.items():
            owner = f"{name} {number}"
            tables[owner] = facts
            questions.append(Question(name, item["query"], expected, owner, name != kind))
        nothing = controlled(kind, NO_TABLE)
        questions.append(Question(nothing, item["query"], expected, None, is_control=True))
    return Part(tables, questions)

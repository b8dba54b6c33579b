"""Statements in one table, asked for in other words."""

from __future__ import annotations

from typing import Any

from benchmarks.setting import Setting
from benchmarks.transfers.questions import Part, Question, read_json

PARAPHRASE, NO_TABLE = "paraphrase", "no table"
_QUICK = 2


def make(setting: Setting) -> Part:
    """Ask each statement's paraphrases, with the table and without any."""
    entries: list[dict[str, Any]] = read_json(setting.data, "paraphrase_16x4.json")
    if setting.quick:
        entries = entries[:_QUICK]
    asked = [(text, one["gold"].strip()) for one in entries for text in one["paraphrases"]]
    questions = [Question(PARAPHRASE, text, gold, "statements") for text, gold in asked]
    questions += [Question(NO_TABLE, text, gold, None, is_control=True) for text, gold in asked]
    facts = [(one["prompt"], one["gold"].strip()) for one in entries]
    return Part({"statements": facts}, questions)

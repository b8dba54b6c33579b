"""Facts told in any wording, of groups that the skill was never trained on."""

from __future__ import annotations

from benchmarks.setting import Setting
from benchmarks.skill import told
from benchmarks.transfers.questions import SEED, Part, Question, tables_of
from engram_transformers import Episode
from engram_transformers.facts import as_facts
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

QUESTION = "a question"
UNFINISHED = "a sentence left unfinished"
VERBATIM = "the table's own words"
UNKNOWN = "not in the table"


def make(setting: Setting) -> Part:
    """Ask for facts of held-out groups, each in a table of its own."""
    _, held_out = told.split()
    made = told.episodes(held_out, setting.options.episodes, SEED + setting.seed)
    tables = tables_of(made, "told")
    questions = [
        Question(_kind(one), one.question, one.answer, name)
        for name, one in zip(tables, made, strict=True)
    ]
    return Part(tables, questions)


def _kind(one: Episode) -> str:
    if one.answer == UNKNOWN_ANSWER:
        return UNKNOWN
    if any(one.question in fact.prompts for fact in as_facts(one.facts)):
        return VERBATIM
    return QUESTION if "?" in one.question else UNFINISHED

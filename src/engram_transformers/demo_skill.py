"""The demo's last step: questions around corners, where a skill comes with the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from transformers import PreTrainedTokenizerBase

from engram_transformers.demo_report import AroundCorners
from engram_transformers.errors import AnswerError
from engram_transformers.lora import attach_shared_lora, detach_shared_lora
from engram_transformers.skill.answering import Answer, answer
from engram_transformers.skill.keys import named_fact
from engram_transformers.table import UserTable

if TYPE_CHECKING:
    from engram_transformers.demo_screen import Screen

_OWNER = "ann"
_FACTS = (
    named_fact("birth year", "1992"),
    named_fact("spouse's name", "Ravi"),
    named_fact("spouse's birth year", "1990"),
    named_fact("phone", "Pixel 9"),
    named_fact("dentist", "Dr. Okafor"),
    named_fact("allergy", "peanuts"),
    named_fact("work start time", "08:30"),
    named_fact("commute in minutes", "20"),
    named_fact("work days", "Monday, Tuesday, Thursday"),
)
_ASKED = (
    ("How old am I right now (it's 2026)?", "34"),
    ("Who is older, me or my spouse?", "Ravi (my spouse)"),
    ("If I want to arrive exactly at work start time, what time should I leave home?", "08:10"),
    ("Do I work on Sundays?", "No"),
    ("Is it safe for me to eat pad thai?", "No"),
    ("Who should I call about a dental issue?", "Dr. Okafor"),
    ("What smartphone do I have?", "Pixel 9"),
    ("Who is my landlord?", "I don't know."),
)
"""Questions with their answers. None has the words of a trigger, and the last has no fact."""


def ask_around_corners(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, skill: Path, screen: Screen
) -> tuple[AroundCorners, ...]:
    """Attach the skill, write a few facts with it, ask, and take the skill off again.

    Args:
        model: A patched model.
        tokenizer: Its tokenizer.
        skill: The folder of the adapter.
        screen: Shown what was said.
    """
    attach_shared_lora(model, skill)
    try:
        table = UserTable(model, _OWNER)
        with screen.step(f"Writing {len(_FACTS)} facts of {_OWNER} with the skill", None):
            report = table.write(_FACTS, progress=False)
        questions = [question for question, _ in _ASKED]
        with screen.step(f"Asking {len(questions)} questions around corners", None):
            said = _answers(model, tokenizer, questions, table)
    finally:
        detach_shared_lora(model)
    found = tuple(
        AroundCorners(question, expected, one.recited if one else "", one.text if one else "")
        for (question, expected), one in zip(_ASKED, said, strict=True)
    )
    screen.show_around_corners(skill.name, table, report, found)
    return found


def _answers(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, questions: list[str], table: UserTable
) -> list[Answer | None]:
    try:
        return list(answer(model, tokenizer, questions, [table] * len(questions)))
    except AnswerError as error:
        return [one if isinstance(one, Answer) else None for one in error.answers]

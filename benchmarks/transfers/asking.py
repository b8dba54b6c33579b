"""Write tables, and ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.setting import Setting
from benchmarks.transfers.questions import Part, Question
from engram_transformers import Answer, UserTable, answer, write_many
from engram_transformers.errors import AnswerError
from engram_transformers.skill.answering import NamesShown
from engram_transformers.skill.keys import are_shown_at_once
from engram_transformers.skill.resolving import triggers_of


class Written(NamedTuple):
    """What was written for a part.

    Attributes:
        tables: By name.
        facts: How many facts were given.
        left_out: Those that are not recalled, with their tables.
    """

    tables: dict[str, UserTable]
    facts: int
    left_out: list[str]


def write(setting: Setting, part: Part) -> Written:
    """Write all tables of a part, and ask each fact."""
    done = write_many(setting.model, part.tables, progress=False)
    left_out = [
        f"{owner}: {one.fact.prompt}" for owner, failed in done.failed.items() for one in failed
    ]
    facts = sum(len(one.written) for one in done.reports.values()) + len(left_out)
    return Written(done.tables, facts, left_out)


def askable(
    questions: Sequence[Question], tables: Mapping[str, UserTable], names: NamesShown
) -> list[Question]:
    """Return the questions that can be asked: with "always" those whose table's names fit one."""
    if names != "always":
        return list(questions)
    return [
        one
        for one in questions
        if one.table is None or are_shown_at_once(triggers_of(tables[one.table]))
    ]


def batch_of(setting: Setting) -> int:
    """Return how many questions are asked at once."""
    return setting.options.batch or (384 if setting.device.type == "cuda" else 64)


def ask(
    setting: Setting,
    questions: Sequence[Question],
    tables: Mapping[str, UserTable],
    names: NamesShown,
) -> list[Answer | None]:
    """Ask all questions, those of a length together; an answer that never comes is None."""
    given: list[Answer | None] = [None] * len(questions)
    order = sorted(range(len(questions)), key=lambda i: len(questions[i].text))
    size = batch_of(setting)
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        asked = [questions[i] for i in batch]
        try:
            found: Sequence[object] = answer(
                setting.model,
                setting.tokenizer,
                [one.text for one in asked],
                [None if one.table is None else tables[one.table] for one in asked],
                names=names,
            )
        except AnswerError as error:
            found = error.answers
        for i, one in zip(batch, found, strict=True):
            given[i] = one if isinstance(one, Answer) else None
    return given

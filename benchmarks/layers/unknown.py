"""Does the skill say that it does not know, where and only where a fact is missing?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.layers.asking import say_with_skill
from benchmarks.layers.scoring import SHOWN
from benchmarks.layers.stages import Stage, without
from benchmarks.layers.users import User
from engram_transformers import UserTable


def absent(stage: Stage, users: Sequence[User]) -> dict[str, Any]:
    """Ask each fact's direct question with a table that has all other facts.

    Returns:
        asked: How many questions.
        unknown: To how many "I don't know." was said.
        no_end: How many have no answer.
        others: What was said instead, at first.
    """
    asked = [(user, one) for user in users for one in user.direct]
    tables: list[UserTable | None] = [without(stage, user, one.variant) for user, one in asked]
    questions = [one.question for _, one in asked]
    said = say_with_skill(stage.model, stage.tokenizer, questions, tables)
    others = [
        {"uid": user.uid, "key": one.variant, "said": reply.answer, "before": reply.before}
        for (user, one), reply in zip(asked, said, strict=True)
        if reply.answer is None or reply.is_known
    ]
    return {
        "users": len(users),
        "asked": len(asked),
        "unknown": len(asked) - len(others),
        "no_end": sum(reply.answer is None for reply in said),
        "others": others[:SHOWN],
    }

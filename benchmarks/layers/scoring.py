"""Scores of the layered experiment: exact match of the final answer, over all questions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from benchmarks.layers.users import Asked

SHOWN = 20
"""So many wrong answers are kept."""
CONSTANT = " no, yes, me"
"""What beats the published metric without reading anything (see `is_mentioned`)."""
PUBLISHED = 20
"""So many questions of each user were asked where that metric comes from, the first ones."""
_DRAWN = 2000


class Said(NamedTuple):
    """What was said to a question.

    Attributes:
        answer: What is judged; None if the model came to no end.
        before: What it said before its answer.
        begins: What it says in its first 16 tokens, where the published metric looks.
        is_known: Whether it says anything else than "I don't know."
        tokens: How many it said in all.
    """

    answer: str | None
    before: str = ""
    begins: str = ""
    is_known: bool = True
    tokens: int = 0


def plain(text: str) -> str:
    """Return an answer as it is compared: lower case, without spaces and a full stop around it."""
    text = text.strip().lower()
    return text.removesuffix(".").strip()


def is_exact(said: str | None, answer: str) -> bool:
    """Say whether an answer is the right one; one that never came is not."""
    return said is not None and plain(said) == plain(answer)


def is_mentioned(begins: str, answer: str) -> bool:
    """Say whether the right answer is anywhere in the beginning of what is said.

    This is the published metric of "User as Engram" for questions around corners: of the first 20
    of each user, 44 % with facts, as without any. "No", "Yes" and "me" are so common among them
    that a constant gets 43 %: it does not show that facts are used.
    """
    return plain(answer) in begins.lower()


def score(asked: Sequence[Asked], said: Sequence[Said], *, mentions: bool) -> dict[str, Any]:
    """Return counts of one run of a condition.

    Args:
        asked: All questions.
        said: What was said to each.
        mentions: Whether to count the published metric as well.
    """
    users: dict[str, list[int]] = {}
    schemas: dict[str, list[int]] = {}
    wrong: list[dict[str, Any]] = []
    for one, reply in zip(asked, said, strict=True):
        right = is_exact(reply.answer, one.answer)
        for counts in (users.setdefault(one.uid, [0, 0]), schemas.setdefault(one.schema, [0, 0])):
            counts[0] += right
            counts[1] += 1
        if not right and len(wrong) < SHOWN:
            answer = one._asdict() | {"said": reply.answer, "before": reply.before}
            wrong.append({name: answer[name] for name in _KEPT})
    found: dict[str, Any] = {
        "right": sum(right for right, _ in users.values()),
        "asked": len(asked),
        "no_end": sum(reply.answer is None for reply in said),
        "unknown": sum(not reply.is_known for reply in said),
        "tokens_said": sum(reply.tokens for reply in said) / max(len(said), 1),
        "interval": interval(list(users.values())),
        "schemas": schemas,
        "users": users,
        "wrong": wrong,
    }
    if mentions:
        mentioned: dict[str, list[bool]] = {}
        for one, reply in zip(asked, said, strict=True):
            of_user = mentioned.setdefault(one.uid, [])
            of_user.append(is_mentioned(reply.begins, one.answer))
        first = [hit for hits in mentioned.values() for hit in hits[:PUBLISHED]]
        found["published"] = {"hits": sum(first), "asked": len(first)}
        found["mentioned"] = sum(sum(hits) for hits in mentioned.values())
    return found


_KEPT = ("uid", "question", "answer", "said", "before")


def interval(users: Sequence[Sequence[int]]) -> list[float]:
    """Return the 95 % interval of the share that is right: users are drawn anew (bootstrap).

    Args:
        users: Of each how many answers were right, and how many were asked.
    """
    if not users:
        return [0.0, 0.0]
    lot = random.Random(0)
    shares: list[float] = []
    for _ in range(_DRAWN):
        drawn = lot.choices(users, k=len(users))
        shares.append(sum(one[0] for one in drawn) / max(sum(one[1] for one in drawn), 1))
    shares.sort()
    return [shares[int(0.025 * _DRAWN)], shares[int(0.975 * _DRAWN) - 1]]


def over_runs(runs: Sequence[dict[str, Any]]) -> dict[str, float | int]:
    """Return mean, least and greatest share of several runs of a condition."""
    shares = [run["right"] / max(run["asked"], 1) for run in runs]
    return {
        "mean": sum(shares) / len(shares),
        "min": min(shares),
        "max": max(shares),
        "n": len(shares),
    }


def worse_users(run: dict[str, Any], base: dict[str, Any]) -> list[str]:
    """Return the users who get fewer right answers than they got from the base model."""
    return [uid for uid, (right, _) in run["users"].items() if right < base["users"][uid][0]]

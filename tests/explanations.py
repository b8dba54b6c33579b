"""Explanations made by hand, for tests of how they are shown."""

from __future__ import annotations

from typing import Any

from engram_transformers import Fact
from engram_transformers.explanation import (
    Change,
    Explanation,
    Firing,
    FoundRow,
    NextToken,
    SequenceExplanation,
)

CODE = Fact("My locker code is", "4471")
CHAT = Fact((("system", "Be brief."), ("user", "Where do I $live_{x?")), "Oslo")


def found(**changes: Any) -> FoundRow:
    """Return a row of the fact `CODE`."""
    return FoundRow(**{**_row(), **changes})


def firing(position: int, token: str = " is", **changes: Any) -> Firing:
    """Return a firing of the fact `CODE`."""
    own = {"layer": 3, "gate": 1.0, "added": 3.0, "hidden": 4.0, "shadowed": ()}
    return Firing(**{**_row(), **own, "position": position, "token": token, **changes})


def change(position: int, token: str, before: str, after: str) -> Change:
    """Return a change of the most likely token; another one stays where it was."""
    new = NextToken(5, after, 0.0004, 0.9, -1.0, 9.0, 1203, 1)
    old = NextToken(6 if before != after else 5, before, 0.5, 0.01, 4.0, 2.0, 1, 7)
    same = NextToken(7, "same", 0.2, 0.02, 3.0, 3.0, 2, 2)
    return Change(position, token, (old, same), (new, same))


def sequence(*tokens: str, **changes: Any) -> SequenceExplanation:
    """Return a sequence in which nothing fires."""
    plain = {"firings": (), "changes": (), "changed": (), "layers": (1, 3), "owners": ("ilse",)}
    fields: dict[str, Any] = {**plain, "token_ids": tuple(range(len(tokens))), "tokens": tokens}
    return SequenceExplanation(**{**fields, **changes})


def fired(**changes: Any) -> SequenceExplanation:
    """Return a sequence in which a fact fires at its last two tokens."""
    fields = {
        "firings": (
            firing(3),
            firing(4, " 44", part=1, target="71", order=5, agreeing=5, length=5),
        ),
        "changes": (change(3, " is", " a", " 44"), change(4, " 44", "-", "71")),
        "changed": (3, 4),
    }
    return sequence("My", " locker", " code", " is", " 44", **{**fields, **changes})


def explanation(*sequences: SequenceExplanation) -> Explanation:
    """Return an explanation of some sequences."""
    return Explanation("some/model", sequences)


def _row() -> dict[str, Any]:
    return {
        "owner": "ilse",
        "place": 0,
        "row": 2,
        "address": -2,
        "order": 4,
        "fact": CODE,
        "prompt": CODE.prompt,
        "part": 0,
        "parts": 3,
        "target": " 44",
        "agreeing": 4,
        "length": 4,
        "shared_with": (),
    }

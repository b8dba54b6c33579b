"""Ways of giving a model facts, behind one interface, so that they can be compared in one run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from benchmarks.asking import Question, Recall


class KnownFact(NamedTuple):
    """A fact as every method gets it.

    Attributes:
        prompt: The text that leads up to the answer.
        answer: What is to be said.
    """

    prompt: str
    answer: str


class Method(Protocol):
    """A way of giving one model the facts of one user. Made anew for each set of facts.

    Attributes:
        name: In results: "memory", "none", "in context", "retrieval, top 3", "LoRA, fair", …
    """

    name: str

    def write(self, facts: Sequence[KnownFact]) -> None:
        """Take the facts in. The caller times it, evaluation of facts included."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes to store for this user, as on disk."""
        ...

    def recall(self, questions: Sequence[Question], context: str = "") -> Recall:
        """Ask by all protocols."""
        ...

    def say(self, prompts: Sequence[str], tokens: int) -> list[str]:
        """Continue prompts greedily."""
        ...

    def context_tokens(self, questions: Sequence[Question]) -> float:
        """Tokens put before a question, on average."""
        ...

    def active(self) -> AbstractContextManager[object]:
        """Within the block the model is as it is while answering, for text that asks nothing."""
        ...

    def close(self) -> None:
        """Leave the model as it was found."""
        ...

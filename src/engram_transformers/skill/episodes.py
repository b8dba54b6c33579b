"""Episodes: what the skill is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from engram_transformers.errors import EpisodeError
from engram_transformers.facts import FactLike, Prompt, as_facts

UNKNOWN_VALUE = "unknown"
"""What the skill says behind a trigger that no row answers."""
UNKNOWN_ANSWER = "I don't know."
"""Its answer to a question that asks for it."""


@dataclass(frozen=True)
class Episode:
    """Somebody's facts, a question, and what is to be answered.

    Attributes:
        facts: What the table holds, in any form that `UserTable.write` takes.
        question: What is asked.
        answer: The right answer.
        needed: The trigger, or all triggers, that lead to it, in the order in which they are said.
            One that is no fact's teaches to say that it is unknown. None at all: a question that
            needs no memory.
        working: What leads from the facts to the answer, as in "2026 - 1993 = 33." Empty for none.

    Raises:
        EpisodeError: If a text is empty, or facts of the table contradict each other.
        FactError: If something is no fact.

    Example:
        >>> facts, key = [("My birth year is", "1993")], "My birth year is"
        >>> Episode(facts, "How old am I in 2026?", "33", (key,), "2026 - 1993 = 33.").value(key)
        '1993'
    """

    facts: Sequence[FactLike]
    question: str
    answer: str
    needed: str | Sequence[str] = ()
    working: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", tuple(as_facts(self.facts)))
        needed = (self.needed,) if isinstance(self.needed, str) else self.needed
        object.__setattr__(self, "needed", tuple(needed))
        for name in ("question", "answer"):
            text: object = getattr(self, name)
            if not isinstance(text, str) or not text.strip():
                raise EpisodeError(str(self.question or self.answer), f"its {name} is no text.")
        if not all(trigger.strip() for trigger in self.needed):
            raise EpisodeError(self.question, "a needed trigger is empty.")
        _ = self._values  # where two facts may contradict each other

    @cached_property
    def _values(self) -> dict[Prompt, str]:
        """What the table answers to each trigger."""
        values: dict[Prompt, str] = {}
        for fact in as_facts(self.facts):
            for prompt in fact.prompts:
                if values.setdefault(prompt, fact.answer) != fact.answer:
                    raise EpisodeError(self.question, f"two facts answer {prompt!r}.")
        return values

    def value(self, trigger: str) -> str | None:
        """Return what the table answers to a trigger; None if nothing."""
        return self._values.get(trigger)

"""What a table knows about its facts, apart from their rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from engram_transformers.errors import FactError
from engram_transformers.facts import Fact


@dataclass(frozen=True)
class Superseded:
    """An answer that a later write replaced.

    Attributes:
        answer: The old answer.
        written_at: When it was written, ISO 8601 in UTC.
        until: When it was replaced.
    """

    answer: str
    written_at: str
    until: str


@dataclass(frozen=True)
class Entry:
    """One fact of a table.

    Attributes:
        fact: The fact.
        written_at: ISO 8601 in UTC.
        stop: As given to `write`.
        orders: For each wording of the fact (one or two per prompt, see `sequences.wordings`), the
            order of each written position's address; 0 where the model needs no row.
        source: Where the fact comes from, in the words of whoever wrote it.
        history: Earlier answers to the same prompt, oldest first.
        guard: Texts that no address of this fact may occur in.
        min_order: As given to `write`.
        whole: Whether addresses are as long as they can be.
    """

    fact: Fact
    written_at: str
    stop: str | None
    orders: tuple[tuple[int, ...], ...]
    source: str | None = None
    history: tuple[Superseded, ...] = ()
    guard: tuple[str, ...] = ()
    min_order: int = 3
    whole: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Entry:
        """Return the entry that `to_dict` described.

        Raises:
            ValueError: If it is not the description of an entry.
        """
        try:
            fact = fields["fact"]
            prompts = [_prompt(prompt) for prompt in (fact["prompt"], *fact["paraphrases"])]
            return cls(
                Fact(prompts[0], fact["answer"], tuple(prompts[1:])),
                str(fields["written_at"]),
                None if fields["stop"] is None else str(fields["stop"]),
                tuple(tuple(int(order) for order in orders) for orders in fields["orders"]),
                None if fields["source"] is None else str(fields["source"]),
                tuple(Superseded(**old) for old in fields["history"]),
                tuple(str(text) for text in fields["guard"]),
                int(fields["min_order"]),
                bool(fields["whole"]),
            )
        except (KeyError, TypeError, AttributeError, FactError) as error:
            raise ValueError(f"not an entry of a ledger ({error!r})") from error


def _prompt(prompt: Any) -> Any:
    return prompt if isinstance(prompt, str) else tuple((role, text) for role, text in prompt)

"""Facts in context: all of them, one per line, before every question."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.methods import KnownFact
from benchmarks.methods.asked import Asked
from benchmarks.methods.forms import SENTENCE, Form, fact_line
from benchmarks.setting import Setting

_ROOM = 256
"""Tokens of the window that are left for the question, its answer and the form around both."""


class InContext(Asked):
    """As many facts as fit the model's window, the latest ones.

    Attributes:
        lines: What is told.
        given: How many facts there were.
        window: Tokens that the model can read.
    """

    shares = True

    def __init__(
        self,
        setting: Setting,
        name: str = "in context",
        form: Form = SENTENCE,
        window: int | None = None,
    ) -> None:
        super().__init__(setting, name, form)
        self.window = window or window_of(self.model)
        self.lines: list[str] = []
        self.given = 0

    def write(self, facts: Sequence[KnownFact]) -> None:
        self.given = len(facts)
        self.lines = latest_that_fit(
            self.tokenizer, [fact_line(*fact) for fact in facts], self.window - _ROOM
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the lines."""
        return sum(len(line.encode()) + 1 for line in self.lines)

    def told(self, prompts: Sequence[str]) -> list[Sequence[str]]:
        return [self.lines] * len(prompts)


def window_of(model: object, default: int = 2048) -> int:
    """Return how many tokens a model reads."""
    config = getattr(model, "config", None)
    text = config.get_text_config() if config is not None else None
    window = getattr(text, "max_position_embeddings", None)
    return window if isinstance(window, int) and window > 0 else default


def latest_that_fit(tokenizer: object, lines: Sequence[str], tokens: int) -> list[str]:
    """Return the last lines that take at most so many tokens together, line ends included."""
    kept: list[str] = []
    if not lines:
        return kept
    encoded = tokenizer(list(lines), add_special_tokens=False)["input_ids"]  # type: ignore[operator]
    for line, ids in zip(reversed(lines), reversed(encoded), strict=True):
        tokens -= len(ids) + 1
        if tokens < 0:
            break
        kept.append(line)
    return kept[::-1]

"""The options of `UserTable.write`, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from engram_transformers.contexts import WRITING_CONTEXTS
from engram_transformers.errors import ConfigError
from engram_transformers.sequences import AUTO_STOP


@dataclass(frozen=True)
class WriteOptions:
    """How facts are written. See `UserTable.write`."""

    stop: str | None = AUTO_STOP
    min_order: int = 3
    context: Literal["full", "shortest"] = "full"
    guard: str | Sequence[str] = ()
    contexts: int | Sequence[str] = 1
    source: str | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        stop: Any = self.stop
        if stop is not None and (not isinstance(stop, str) or not stop):
            raise ConfigError("stop", stop, 'a text, "auto" or None')
        if type(self.min_order) is not int or self.min_order < 1:
            raise ConfigError("min_order", self.min_order, "an integer of at least 1")
        if self.context not in ("shortest", "full"):
            raise ConfigError("context", self.context, '"shortest" or "full"')
        if isinstance(self.contexts, int) and not 0 <= self.contexts <= len(WRITING_CONTEXTS):
            raise ConfigError("contexts", self.contexts, f"0 to {len(WRITING_CONTEXTS)}, or texts")

    @property
    def guards(self) -> tuple[str, ...]:
        """The texts that no address may occur in."""
        return (self.guard,) if isinstance(self.guard, str) else tuple(self.guard)

    @property
    def context_texts(self) -> tuple[str, ...]:
        """The texts that facts are written in besides on their own."""
        if isinstance(self.contexts, int):
            return WRITING_CONTEXTS[: self.contexts]
        return tuple(self.contexts)

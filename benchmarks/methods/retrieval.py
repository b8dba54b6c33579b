"""Retrieval: a sentence encoder finds the facts that a question is likely to be about."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmarks.methods import KnownFact
from benchmarks.methods.asked import Asked
from benchmarks.methods.forms import SENTENCE, Form, fact_line
from benchmarks.methods.minilm import Encoder
from benchmarks.setting import Setting


class Retrieval(Asked):
    """The same model, told the facts nearest to the question; the nearest one last, beside it.

    Attributes:
        top: How many facts are told.
        lines: All facts.
    """

    def __init__(self, setting: Setting, encoder: Encoder, top: int, form: Form = SENTENCE) -> None:
        super().__init__(setting, f"retrieval, top {top}", form)
        self.encoder = encoder
        self.top = top
        self.lines: list[str] = []
        self._vectors = torch.zeros(0, 0)  # (facts, dim)

    def write(self, facts: Sequence[KnownFact]) -> None:
        self.write_lines([fact_line(*fact) for fact in facts])

    def write_lines(self, lines: Sequence[str]) -> None:
        """Take in lines that are not facts of a prompt and an answer."""
        self.lines = list(lines)
        self._vectors = self.encoder.embed(self.lines)

    @property
    def nbytes(self) -> int:
        """Bytes of the lines and of their vectors in half precision."""
        return sum(len(line.encode()) + 1 for line in self.lines) + self._vectors.numel() * 2

    def nearest(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the numbers of the lines nearest to each prompt, the nearest last."""
        alike = self.encoder.embed(prompts) @ self._vectors.T  # (prompts, facts)
        found = alike.topk(min(self.top, len(self.lines)), dim=1).indices
        return found.flip(1).tolist()

    def told(self, prompts: Sequence[str]) -> list[Sequence[str]]:
        return [[self.lines[i] for i in numbers] for numbers in self.nearest(prompts)]

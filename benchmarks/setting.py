"""What a benchmark is run with, and what it gives back."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch


@dataclass
class Setting:
    """A model on a device, and the options of the command line.

    Attributes:
        model_name: Folder or Hub id to load.
        label: The model's name in results.
        device: Where it runs.
        dtype: Of its weights.
        data: Folder of the evaluation data; parts may be missing.
        quick: Whether a small version is asked for, which shows that the benchmark works.
        seed: Of everything random.
        options: The benchmark's own options.
        config_fields: Fields of `EngramConfig` that differ from the defaults.
    """

    model_name: str
    label: str
    device: torch.device
    dtype: torch.dtype
    data: Path
    quick: bool
    seed: int
    options: argparse.Namespace
    config_fields: dict[str, Any] = field(default_factory=dict)
    _loaded: tuple[Any, Any] | None = None

    @property
    def model(self) -> Any:
        """The model, in evaluation mode, without memories unless a benchmark put them there."""
        return self._pair[0]

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, padding on the left."""
        return self._pair[1]

    @cached_property
    def _pair(self) -> tuple[Any, Any]:
        if self._loaded is not None:
            return self._loaded
        from engram_transformers.pretrained import load_pretrained

        with torch.inference_mode(False):  # whoever asks first may measure; others train
            model, tokenizer = load_pretrained(
                self.model_name, dtype=self.dtype, device=self.device
            )
        tokenizer.padding_side = "left"
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
        return model.eval(), tokenizer


class Benchmark(Protocol):
    """A module of this package: its first docstring line is what `list` shows.

    Attributes:
        NEEDS_MODEL: Whether it runs the model asked for; if not, its results name none.
        SHOWN_UNMEASURED: May be left out. True: `section([])` says what would be measured, and
            stands in docs/benchmarks.md until there are results.
    """

    NEEDS_MODEL: bool

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the benchmark's own options."""
        ...

    def run(self, setting: Setting) -> dict[str, Any]:
        """Measure, check what must hold, and return JSON types."""
        ...

    def section(self, runs: list[dict[str, Any]]) -> list[str]:
        """Return the benchmark's part of docs/benchmarks.md, from the JSON of its runs."""
        ...

"""This library: facts as rows of a table."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.methods import KnownFact
from benchmarks.methods.asked import Asked
from benchmarks.methods.forms import SENTENCE, Form
from benchmarks.setting import Setting
from engram_transformers import UserTable, add_engram, remove_engram, use_tables
from engram_transformers.report import WriteReport


class Memory(Asked):
    """A `UserTable`, with options of `write` and of `add_engram`."""

    def __init__(
        self,
        setting: Setting,
        name: str = "memory",
        *,
        owner: str = "benchmark",
        form: Form = SENTENCE,
        **options: Any,
    ) -> None:
        super().__init__(setting, name, form)
        self.options = options
        add_engram(self.model, self.tokenizer, **setting.config_fields)
        self.table = UserTable(self.model, owner)
        self.report: WriteReport | None = None

    def write(self, facts: Sequence[KnownFact]) -> None:
        self.report = self.table.write(
            [(f.prompt, f.answer) for f in facts], progress=False, **self.options
        )

    @property
    def nbytes(self) -> int:
        """Bytes of the file, without the facts' texts."""
        with tempfile.TemporaryDirectory() as folder:
            self.table.save_pretrained(folder, store_text=False)
            return (Path(folder) / "table.safetensors").stat().st_size

    def active(self) -> AbstractContextManager[object]:
        return use_tables(self.model, self.table)

    def close(self) -> None:
        remove_engram(self.model)

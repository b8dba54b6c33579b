"""What tests of banks share: small configurations, golden values, cuts of a sequence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

from engram_transformers.banks.module import BankMemory
from engram_transformers.banks.sizes import BankConfig

DATA = Path(__file__).parent / "data"
VOCABULARY = 13
SIZE = 6


def golden() -> dict[str, Any]:
    """Return the values that tests/data/make_bank_golden.py made."""
    return json.loads((DATA / "bank_golden.json").read_text(encoding="utf-8"))


def small(**fields: Any) -> BankConfig:
    """Return a configuration with a bank of a few rows at block 1."""
    return BankConfig(**{"layers": (1,), "memory_size": 7, "heads": 2, "row_dim": 4, **fields})


def memory(*, start: str = "paper", filled: bool = True, **fields) -> BankMemory:
    """Return a small module; filled, all its parameters are random."""
    torch.manual_seed(3)
    made = BankMemory(small(**fields), 1, SIZE, VOCABULARY, start=start)
    if filled:
        for parameter in made.parameters():
            nn.init.normal_(parameter)
    return made


def config_of(fields: dict[str, Any]) -> BankConfig:
    """Return the configuration of a golden case."""
    return BankConfig(**{name: value for name, value in fields.items() if name != "vocabulary"})


@st.composite
def texts(draw: st.DrawFn, longest: int = 12) -> tuple[list[list[int]], list[list[bool]]]:
    """Draw ids and starts of a batch whose rows are padded on the left, packed, both or neither."""
    batch, seq = draw(st.integers(1, 3)), draw(st.integers(1, longest))
    row = st.lists(st.integers(0, VOCABULARY - 1), min_size=seq, max_size=seq)
    mask = st.lists(st.sampled_from((False, False, True)), min_size=seq, max_size=seq)
    ids = draw(st.lists(row, min_size=batch, max_size=batch))
    return ids, draw(st.lists(mask, min_size=batch, max_size=batch))


@st.composite
def cuts(draw: st.DrawFn, seq: int) -> list[int]:
    """Draw the lengths of the chunks of a sequence, single tokens and empty chunks among them."""
    if draw(st.booleans()):
        return [1] * seq
    places = sorted(draw(st.lists(st.integers(0, seq), max_size=4)))
    return [end - begin for begin, end in zip([0, *places], [*places, seq], strict=True)]


def own_texts(row: list[int], starts: list[bool]) -> list[tuple[int, int]]:
    """Return first and last (exclusive) position of the sequences in a row of a pack."""
    first = [0, *(position for position, begins in enumerate(starts) if begins and position)]
    return list(zip(first, [*first[1:], len(row)], strict=True))


def as_tensors(ids: list[list[int]], starts: list[list[bool]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (batch, seq) int64 and bool."""
    return torch.tensor(ids), torch.tensor(starts)

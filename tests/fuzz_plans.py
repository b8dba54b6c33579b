"""What a fuzzed batch is, how it is told to a model, and what the slow reader says of it.

A batch is a plan: texts with padding and borders, fed to a cache in chunks, with operations on the
cache in between, and tables for each sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from reference import PADDING, rows_read
from torch import Tensor

Style = Literal["nothing", "mask", "mask and positions", "packed", "4-D mask"]
CacheKind = Literal["none", "dynamic", "sliding", "static", "static sliding"]
NGram = tuple[int, ...]
Read = tuple[int, int] | None
"""The owner and the row number of what is read at one position."""


class Cell(NamedTuple):
    """One place of a text.

    Attributes:
        token: A token id.
        is_padding: Whether there is no token, only something to fill the place.
        is_start: Whether a sequence begins here, that is no continuation of what comes before.
    """

    token: int
    is_padding: bool
    is_start: bool


Line = tuple[Cell, ...]


@dataclass(frozen=True)
class Feed:
    """A forward on new cells: for each row of the batch as many."""

    cells: tuple[Line, ...]


@dataclass(frozen=True)
class Reorder:
    """`Cache.reorder_cache`."""

    rows: tuple[int, ...]


@dataclass(frozen=True)
class Select:
    """`Cache.batch_select_indices`."""

    rows: tuple[int, ...]


@dataclass(frozen=True)
class Repeat:
    """`Cache.batch_repeat_interleave`."""

    times: int


@dataclass(frozen=True)
class Crop:
    """`Cache.crop`."""

    tokens: int


Step = Feed | Reorder | Select | Repeat | Crop


@dataclass(frozen=True)
class Owned:
    """A table.

    Attributes:
        layer: Where it is read.
        rows: Canonical n-gram -> row number.
    """

    layer: int
    rows: dict[NGram, int]


@dataclass(frozen=True)
class Plan:
    """Everything that happens to one batch.

    Attributes:
        style: How padding and borders are told.
        cache: What holds the past.
        max_order: The configuration's.
        steps: The first one feeds.
        copies: Rows of the first batch for each sample, as beams make them.
        samples: For each sample the numbers of its tables, strongest first; None if there is one
            table, for every row.
        tables: Of the owners.
    """

    style: Style
    cache: CacheKind
    max_order: int
    steps: tuple[Step, ...]
    copies: int = 1
    samples: tuple[tuple[int, ...], ...] | None = None
    tables: tuple[Owned, ...] = ()


@dataclass
class Batch:
    """What a plan has come to.

    Attributes:
        lines: The cells of each row so far.
        samples: The sample that each row belongs to.
    """

    lines: list[Line]
    samples: list[int]

    @classmethod
    def before(cls, plan: Plan) -> Batch:
        """Return the batch before a plan's first step."""
        first = plan.steps[0]
        if not isinstance(first, Feed):
            raise TypeError("The first step feeds.")
        rows = len(first.cells)
        return cls([()] * rows, [row // plan.copies for row in range(rows)])

    def apply(self, step: Step) -> None:
        """Do what a step does to a cache."""
        if isinstance(step, Feed):
            self.lines = [old + new for old, new in zip(self.lines, step.cells, strict=True)]
        elif isinstance(step, Crop):
            self.lines = [line[: len(line) - step.tokens] for line in self.lines]
        elif isinstance(step, Repeat):
            self._take([row for row in range(len(self.lines)) for _ in range(step.times)])
        else:
            self._take(step.rows)

    def _take(self, rows: Sequence[int]) -> None:
        self.lines = [self.lines[row] for row in rows]
        self.samples = [self.samples[row] for row in rows]


def tell(style: Style, lines: Sequence[Line], new: int, room: int = 0) -> dict[str, Tensor]:
    """Return a forward's arguments for the last cells of each row.

    Args:
        style: Of the plan.
        lines: All cells of each row, the new ones included.
        new: How many of them are new.
        room: How many keys a static cache has; 0 for others.

    Returns:
        `input_ids`, and `attention_mask` and `position_ids` where the style has them.
    """
    told = {"input_ids": torch.tensor([[cell.token for cell in line[-new:]] for line in lines])}
    mask = torch.tensor([[not cell.is_padding for cell in line] for line in lines])
    if style in ("mask", "mask and positions"):
        told["attention_mask"] = mask.long()
    if style in ("mask and positions", "4-D mask"):
        positions = (mask.long().cumsum(1) - 1).masked_fill(~mask, 0)
        told["position_ids"] = positions[:, -new:]
    if style == "packed":
        told["position_ids"] = torch.tensor([_packed_positions(line)[-new:] for line in lines])
    if style == "4-D mask":
        length = mask.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril()[-new:]
        seen = causal & mask[:, None, None, :]  # (batch, 1, new, length)
        told["attention_mask"] = torch.nn.functional.pad(seen, (0, max(room - length, 0)))
    return told


def _packed_positions(line: Line) -> list[int]:
    positions: list[int] = []
    for cell in line:
        positions.append(0 if cell.is_start or not positions else positions[-1] + 1)
    return positions


def expected(
    plan: Plan, batch: Batch, canonical: Sequence[int], layer: int, new: int
) -> list[list[Read]]:
    """Say what the last positions of each row read at one layer.

    Args:
        plan: For its tables.
        batch: The rows, the new cells included.
        canonical: Token id -> canonical id.
        layer: Of the memory.
        new: How many positions.

    Returns:
        For each row and position.
    """
    found: list[list[Read]] = []
    for line, sample in zip(batch.lines, batch.samples, strict=True):
        ids = [PADDING if cell.is_padding else canonical[cell.token] for cell in line]
        starts = [place for place, cell in enumerate(line) if cell.is_start]
        owners = (0,) if plan.samples is None else plan.samples[sample]
        tables: list[dict[NGram, Any]] = [
            {key: (owner, row) for key, row in plan.tables[owner].rows.items()}
            for owner in owners
            if plan.tables[owner].layer == layer
        ]
        found.append(rows_read(ids, tables, starts)[-new:])
    return found

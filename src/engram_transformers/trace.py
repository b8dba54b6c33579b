"""Where rows fire: which row of whom is read at each token, and how much it adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engram_transformers.active import Frame, frame_of, use_tables
from engram_transformers.attachment import Attachment, require_attachment
from engram_transformers.facts import Fact
from engram_transformers.memory import EngramMemory
from engram_transformers.plan import NO_ROW, find_rows, row_ids_of
from engram_transformers.sequences import wordings
from engram_transformers.table import UserTable


@dataclass(frozen=True)
class Firing:
    """A row that was read at a token.

    Attributes:
        owner: Whose row it is.
        fact: The fact that the row belongs to; None if the table has no texts.
        part: Which token of the answer the row calls for, from 0.
        gate: How far it opened, 0 to 1.
        strength: Norm of what was added, relative to the norm of the hidden state.
    """

    owner: str
    fact: Fact | None
    part: int
    gate: float
    strength: float


@dataclass(frozen=True)
class TracedToken:
    """A token of a traced text.

    Attributes:
        text: The token, decoded.
        firing: The row that was read at it; None for none.
    """

    text: str
    firing: Firing | None


def trace(model: nn.Module, input_ids: Tensor, table: UserTable) -> list[TracedToken]:
    """Run one sequence and note where rows fire.

    Args:
        model: A patched model.
        input_ids: (1, seq) int64, without padding.
        table: The table to read.

    Returns:
        The tokens, in order.

    Raises:
        TableMismatchError: If the table belongs to another model.
    """
    attachment = require_attachment(model)
    memory = attachment.memories[table.layer]
    with use_tables(model, table), torch.inference_mode():
        recorder = _Recorder(attachment, frame_of(attachment))
        handle = memory.register_forward_hook(recorder)
        try:
            model(input_ids=input_ids)
        finally:
            handle.remove()
    rows = find_rows(attachment, table.rows, input_ids.cpu(), torch.ones_like(input_ids).cpu())
    facts = _facts_of_rows(table)
    tokenizer: Any = attachment.tokenizer
    traced: list[TracedToken] = []
    ids: list[int] = input_ids[0].tolist()
    for position, (token, row) in enumerate(zip(ids, rows[0].tolist(), strict=True)):
        firing = None
        if position in recorder.added:
            fact, part = facts.get(row, (None, 0))
            firing = Firing(table.owner, fact, part, *recorder.added[position])
        traced.append(TracedToken(tokenizer.decode([token]), firing))
    return traced


class _Recorder:
    """A forward hook of a memory that notes gates and strengths, of its own thread's calls only."""

    def __init__(self, attachment: Attachment, frame: Frame | None) -> None:
        self.attachment = attachment
        self.frame = frame
        self.added: dict[int, tuple[float, float]] = {}

    def __call__(self, memory: EngramMemory, args: tuple[Tensor, ...], output: Tensor) -> None:
        if frame_of(self.attachment) is not self.frame:
            return
        hidden_states, values, found = args
        hidden = hidden_states[0].float()  # (seq, dim)
        gates = memory.gate(hidden, values[0])[:, 0].tolist()
        added = memory.contribution(hidden, values[0]).norm(dim=-1)
        strengths = (added / hidden.norm(dim=-1)).tolist()
        for position in found[0].nonzero()[:, 0].tolist():
            self.added[position] = (gates[position], strengths[position])


def _facts_of_rows(table: UserTable) -> dict[int, tuple[Fact, int]]:
    """Return row -> (fact, which token of its answer)."""
    attachment = table.attachment
    owners: dict[int, tuple[Fact, int]] = {}
    for entry in table.entries or ():
        lines = wordings(attachment.tokenizer, entry.fact, entry.stop, 1 << 62)
        for row_ids in row_ids_of(attachment, lines, entry, table.rows):
            for part, row in enumerate(row_ids):
                if row != NO_ROW:
                    owners.setdefault(row, (entry.fact, part))
    return owners

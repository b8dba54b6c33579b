"""Where rows fire: which row of whom is read at each token, and how much it adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engram_transformers.active import Frame, frame_of, use_tables
from engram_transformers.attachment import Attachment, require_attachment
from engram_transformers.facts import Fact
from engram_transformers.index import suffixes
from engram_transformers.memory import EngramMemory
from engram_transformers.plan import addresses_of
from engram_transformers.sequences import wordings
from engram_transformers.table import UserTable


@dataclass(frozen=True)
class Firing:
    """A row that was read at a token.

    Attributes:
        owner: Whose row it is.
        fact: The fact that the row belongs to; None if the table has no texts.
        part: Which token of the answer the row calls for, from 0.
        order: Length of the address, in tokens: this one and those before it.
        gate: How far it opened, 0 to 1.
        strength: Norm of what was added, relative to the norm of the hidden state.
    """

    owner: str
    fact: Fact | None
    part: int
    order: int
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
    facts = _facts_of_addresses(table)
    addresses = _addresses_read(table, input_ids.cpu())
    tokenizer: Any = attachment.tokenizer
    traced: list[TracedToken] = []
    for position, token in enumerate(input_ids[0].tolist()):
        firing = None
        if position in recorder.added:
            address, order = addresses[position]
            fact, part = facts.get(address, (None, 0))
            firing = Firing(table.owner, fact, part, order, *recorder.added[position])
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


def _facts_of_addresses(table: UserTable) -> dict[int, tuple[Fact, int]]:
    """Return address -> (fact, which token of its answer). Facts may share rows, not addresses."""
    attachment = table.attachment
    facts: dict[int, tuple[Fact, int]] = {}
    for entry in table.entries or ():
        lines = wordings(
            attachment.tokenizer, entry.fact, entry.stop, 1 << 62, attachment.canonical_list
        )
        for line in addresses_of(attachment, lines, entry):
            for part, address in enumerate(line):
                if address is not None:
                    facts.setdefault(address, (entry.fact, part))
    return facts


def _addresses_read(table: UserTable, input_ids: Tensor) -> dict[int, tuple[int, int]]:
    """Return position -> (address, order) of the longest suffix that the table has."""
    attachment = table.attachment
    orders = sorted(table.rows.orders, reverse=True)
    addresses, valid = suffixes(
        input_ids,
        attachment.premixed(input_ids.device),
        attachment.hasher,
        torch.tensor(orders, dtype=torch.int64),
        input_ids.shape[1],
    )
    known = (torch.isin(addresses, table.rows.addresses) & valid)[0]  # (seq, orders)
    read: dict[int, tuple[int, int]] = {}
    for position, number in known.nonzero().tolist():
        read.setdefault(position, (int(addresses[0, position, number]), orders[number]))
    return read

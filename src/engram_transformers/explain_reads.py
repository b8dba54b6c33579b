"""What the memories really read in a forward, and which rows of which tables that was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engram_transformers.active import Frame, frame_of
from engram_transformers.attachment import Attachment
from engram_transformers.calls import current_call
from engram_transformers.index import suffixes
from engram_transformers.memory import EngramMemory
from engram_transformers.table import UserTable


@dataclass(frozen=True)
class Candidate:
    """A row that one of a sequence's tables has for a position.

    Attributes:
        place: The table's place in what the sequence reads: 0 is the strongest.
        table: Whose row it is.
        order: Of the address.
        address: Where the row was found.
        row: Its number in the table.
    """

    place: int
    table: UserTable
    order: int
    address: int
    row: int


@dataclass(frozen=True)
class Read:
    """A row that a memory was given.

    Attributes:
        layer: The memory's.
        sequence: Which sequence of the batch.
        place: Where in it, padding counted.
        gate: How far it was let in; with several streams, on average.
        added: Norm of what was added, over all streams.
        hidden: Norm of the hidden state, over all streams.
        candidates: The rows found for the position; the first one was read.
    """

    layer: int
    sequence: int
    place: int
    gate: float
    added: float
    hidden: float
    candidates: tuple[Candidate, ...]


class Recorder:
    """A forward hook of memories that notes what they read, in calls that read one frame.

    Other threads run the same modules, and so this hook, with frames of their own.
    """

    def __init__(self, attachment: Attachment, frame: Frame | None) -> None:
        self.attachment = attachment
        self.frame = frame
        self.layers: set[int] = set()
        self.reads: list[Read] = []

    def __call__(self, memory: EngramMemory, args: tuple[Tensor, ...], output: Tensor) -> None:
        """Note what a memory was given and what came of it."""
        frame = self.frame
        if frame is None or frame_of(self.attachment) is not frame:
            return
        call = current_call(self.attachment)
        if call is None or call.window is None:
            raise RuntimeError("A memory was read outside of a call.")
        self.layers.add(memory.layer)
        hidden_states, rows, found = args
        batch, seq = call.shape

        def arranged(values: Tensor) -> Tensor:
            """Return (batch, seq, streams, …), whatever the layout."""
            ordered = self.attachment.layout.batch_first(values)
            return ordered.reshape(batch, seq, -1, values.shape[-1])

        fired = arranged(found.unsqueeze(-1))[:, :, 0, 0]  # (batch, seq)
        hidden = arranged(hidden_states)[fired].float()  # (fired, streams, dim)
        given = arranged(rows)[fired]  # (fired, 1, row_dim)
        values = given[:, 0].cpu()
        gates = memory.gate(hidden, given).mean(dim=(1, 2)).tolist()
        added = (arranged(output)[fired].float() - hidden).norm(dim=(1, 2)).tolist()
        norms = hidden.norm(dim=(1, 2)).tolist()
        owners = frame._owners_of_batch(call, call.window).tolist()
        found_rows = _candidates(self.attachment, frame, memory.layer, call.window, seq, owners)
        places: list[list[int]] = fired.nonzero().tolist()
        if set(map(tuple, places)) != set(found_rows):
            raise _disagreement()
        for number, (sequence, place) in enumerate(places):
            candidates = found_rows[sequence, place]
            first = candidates[0]
            if not torch.equal(first.table.rows.values[first.row], values[number]):
                raise _disagreement()
            self.reads.append(
                Read(
                    memory.layer,
                    sequence,
                    place,
                    gates[number],
                    added[number],
                    norms[number],
                    candidates,
                )
            )


def _candidates(
    attachment: Attachment,
    frame: Frame,
    layer: int,
    window: Tensor,
    seq: int,
    owners: Sequence[Sequence[int]],
) -> dict[tuple[int, int], tuple[Candidate, ...]]:
    """Find all rows that the tables of each sequence have, the strongest first.

    Args:
        attachment: The patch.
        frame: The tables.
        layer: The memory that reads.
        window: (batch, length) int64 coded ids.
        seq: How many positions at the end are read.
        owners: For each sequence the numbers of its tables, the strongest first, -1 for nobody.

    Returns:
        (sequence, place) -> rows, without places for which there are none.
    """
    window = window.cpu()
    premixed = attachment.premixed(window.device)
    found: dict[tuple[int, int], list[Candidate]] = defaultdict(list)
    for number, table in enumerate(frame.tables):
        rows = table.rows
        if table.layer != layer or not table.has_rows:
            continue
        readers = [
            (n, list(own).index(number)) for n, own in enumerate(owners) if number in list(own)
        ]
        orders = torch.tensor(rows.orders, dtype=torch.int64)
        addresses, valid = suffixes(window, premixed, attachment.hasher, orders, seq)
        spot = torch.searchsorted(rows.addresses, addresses).clamp_max(len(rows.addresses) - 1)
        hits = (rows.addresses[spot] == addresses) & valid  # (batch, seq, orders)
        for sequence, place in readers:
            for position, order in hits[sequence].nonzero().tolist():
                where = int(spot[sequence, position, order])
                found[sequence, position].append(
                    Candidate(
                        place,
                        table,
                        rows.orders[order],
                        int(rows.addresses[where]),
                        int(rows.row_index[where]),
                    )
                )
    return {
        position: tuple(sorted(candidates, key=lambda c: (c.place, -c.order)))
        for position, candidates in found.items()
    }


def _disagreement() -> RuntimeError:
    return RuntimeError(
        "The rows that a memory was given are not those that its tables hold for the text. This"
        " should not be possible: please report it."
    )

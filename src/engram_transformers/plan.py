"""A table that is to be: which address of which fact leads to which row."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engram_transformers.allocation import Line, allocate
from engram_transformers.attachment import Attachment
from engram_transformers.coded_ids import PADDING
from engram_transformers.index import RowIndex, Rows, suffixes
from engram_transformers.ledger import Entry
from engram_transformers.sequences import Encoder, Wording

NO_ROW = -1

Sharing = Literal["tokens", "stops", "nothing"]
"""Which new rows facts share: all that say the same token, those that end answers, or none. A row
costs several times as much as an address."""


Span = tuple[int, int, int]
"""A sequence's number, where a suffix of it ends, and of how many ids it is."""


@dataclass(frozen=True)
class Item:
    """A fact of the table that is to be.

    Attributes:
        entry: Its ledger entry.
        wordings: Its prompts in tokens.
        row_ids: For each wording and written position its row among the old rows, `NO_ROW` for
            none. None: its rows are yet to be found.
        sharing: Which of its rows a new fact shares with others.
    """

    entry: Entry
    wordings: tuple[Wording, ...]
    row_ids: tuple[tuple[int, ...], ...] | None
    sharing: Sharing = "stops"


@dataclass(frozen=True)
class Plan:
    """Addresses and row numbers: the old rows keep theirs, new ones follow.

    Attributes:
        orders: For each item and wording, the order at each written position.
        row_ids: The same for the row, `NO_ROW` for none.
        addresses: Address -> row.
        item_of: Address -> the number of the item that it belongs to.
        old_rows: How many rows there are already: the number of the first new one.
        targets: The token that each new row is to say; there are as many as rows to be found.
    """

    orders: list[list[tuple[int, ...]]]
    row_ids: list[list[tuple[int, ...]]]
    addresses: dict[int, int]
    item_of: dict[int, int]
    old_rows: int
    targets: list[int]

    @property
    def new_rows(self) -> int:
        """How many rows are to be found."""
        return len(self.targets)

    @property
    def row_orders(self) -> tuple[int, ...]:
        """The distinct orders of positions that have rows, ascending."""
        return self.row_orders_from(0)

    def row_orders_from(self, first: int) -> tuple[int, ...]:
        """Return the same for the items from a number on."""
        distinct: set[int] = set()
        for orders, ids in zip(self.orders[first:], self.row_ids[first:], strict=True):
            for line, line_ids in zip(orders, ids, strict=True):
                distinct |= {o for o, i in zip(line, line_ids, strict=True) if i != NO_ROW}
        return tuple(sorted(distinct))

    def rows(self, values: Tensor) -> Rows:
        """Return the plan as rows that can be searched, with given values, (rows, row_dim)."""
        ordered = sorted(self.addresses)
        row_index = [self.addresses[address] for address in ordered]
        return Rows(
            torch.tensor(ordered, dtype=torch.int64),
            torch.tensor(row_index, dtype=torch.int64),
            values,
            self.row_orders,
        )

    def compact_rows(self, values: Tensor) -> Rows:
        """Return the same with each row once, and none that no address leads to.

        Rows are in the order of addresses, so that the same facts give the same table.
        """
        rows = self.rows(values)
        used = list(dict.fromkeys(rows.row_index.tolist()))
        kept = values[torch.tensor(used, dtype=torch.int64, device=values.device)].cpu()
        place: dict[bytes, int] = {}
        row_of: dict[int, int] = {}
        firsts: list[int] = []
        for number, (row, value) in enumerate(zip(used, kept.numpy(), strict=True)):
            row_of[row] = place.setdefault(value.tobytes(), len(place))
            if row_of[row] == len(firsts):
                firsts.append(number)
        row_index = torch.tensor([row_of[row] for row in rows.row_index.tolist()])
        return Rows(rows.addresses, row_index.to(torch.int64), kept[firsts], rows.orders)


def make_plan(
    attachment: Attachment,
    items: Sequence[Item],
    old_rows: int,
    needed: Sequence[bool] | None = None,
) -> Plan:
    """Allocate addresses for all items, and move old rows to their new addresses.

    An old fact whose address a new fact makes ambiguous gets a longer one; its rows stay as they
    are.

    Args:
        attachment: The patch.
        items: Old facts and new ones.
        old_rows: How many rows there are.
        needed: Which new rows are needed, for a plan made again once that is known; None: all.

    Returns:
        The plan.

    Raises:
        ContradictionError: If two facts can't be told apart.
    """
    encoder = Encoder(attachment.tokenizer)  # of guards, which many facts share
    lines = [
        _line(attachment, encoder, item, number, w)
        for number, item in enumerate(items)
        for w in range(len(item.wordings))
    ]
    allocated = iter(allocate(lines, attachment.config.max_order))
    stops = _stop_rows(items)
    numbers = _number_new_rows(items, stops)

    orders: list[list[tuple[int, ...]]] = []
    row_ids: list[list[tuple[int, ...]]] = []
    spans: list[Span] = []
    led_to: list[tuple[int, int]] = []
    sequences: list[tuple[int, ...]] = []
    for number, item in enumerate(items):
        orders.append([])
        row_ids.append([])
        for w, wording in enumerate(item.wordings):
            line_orders = tuple(next(allocated))
            if item.row_ids is None:
                keys = _row_keys(number, item, wording)
                ids = tuple(stops[k] if k in stops else old_rows + numbers[k] for k in keys)
                if needed is not None:
                    ids = tuple(i if i < old_rows or needed[i - old_rows] else NO_ROW for i in ids)
            else:
                ids = item.row_ids[w]
            for j, (order, row_id) in enumerate(zip(line_orders, ids, strict=True)):
                if row_id != NO_ROW:
                    spans.append((len(sequences), wording.trigger_length + j, order))
                    led_to.append((row_id, number))
            sequences.append(wording.addressed_ids)
            orders[-1].append(line_orders)
            row_ids[-1].append(ids)
    addresses: dict[int, int] = {}
    item_of: dict[int, int] = {}
    found = addresses_of_spans(attachment, sequences, spans)
    for address, (row_id, number) in zip(found, led_to, strict=True):
        addresses.setdefault(address, row_id)
        item_of.setdefault(address, number)
    targets = [target for _, _, target in numbers]
    return Plan(orders, row_ids, addresses, item_of, old_rows, targets)


def addresses_of_spans(
    attachment: Attachment, sequences: Sequence[Sequence[int]], spans: Sequence[Span]
) -> list[int]:
    """Return the addresses of suffixes of sequences of token ids, as signed 64-bit integers."""
    if not spans:
        return []
    # One behind another, without padding: a suffix is hashed as if it stood alone.
    starts = [0, *itertools.accumulate(map(len, sequences))]
    ends = torch.tensor([starts[number] + end for number, end, _ in spans])
    orders = torch.tensor([order for _, _, order in spans])
    ids = torch.tensor([token for sequence in sequences for token in sequence])
    premixed = attachment.premixed(ids.device)[ids]
    return attachment.hasher.addresses_at(premixed, ends, orders).tolist()


def find_rows(attachment: Attachment, rows: Rows, ids: Tensor, mask: Tensor) -> Tensor:
    """Find the row at each position of sequences, as a forward would.

    Args:
        attachment: The patch.
        rows: One table's rows.
        ids: (batch, length) int64, left-padded.
        mask: (batch, length) int64, 0 at padding.

    Returns:
        (batch, length) int64, `NO_ROW` where there is none.
    """
    if rows.addresses.numel() == 0:
        return torch.full_like(ids, NO_ROW)
    owners = torch.zeros(ids.shape[0], dtype=torch.int64, device=ids.device)
    return find_in(attachment, RowIndex.build([rows], ids.device), owners, ids, mask)


def find_in(
    attachment: Attachment, index: RowIndex, owners: Tensor, ids: Tensor, mask: Tensor
) -> Tensor:
    """Find the row at each position of sequences that read one table of several each.

    Args:
        attachment: The patch.
        index: Of the tables, in which there is at least one row.
        owners: (batch,) int64: the number of each sequence's table.
        ids: (batch, length) int64, left-padded.
        mask: (batch, length) int64, 0 at padding.

    Returns:
        (batch, length) int64 rows of the index's values, `NO_ROW` where there is none.
    """
    window = torch.where(mask == 0, PADDING, ids)
    premixed = attachment.premixed(ids.device)
    found, valid = suffixes(window, premixed, attachment.hasher, index.orders, ids.shape[1])
    return index.find(found, valid, owners.unsqueeze(1))


_RowKey = tuple[int, int, int]
_ANY = -1


def _row_keys(number: int, item: Item, wording: Wording) -> list[_RowKey]:
    """Say which row each target gets: (item, position, target), or a shared one for a stop.

    The wordings of a fact share its rows.
    """
    ends = {"tokens": 0, "stops": len(wording.answer_ids), "nothing": len(wording.targets)}
    own = ends[item.sharing]
    return [
        (number, j, target) if j < own else (_ANY, _ANY, target)
        for j, target in enumerate(wording.targets)
    ]


def _stop_rows(items: Sequence[Item]) -> dict[_RowKey, int]:
    """Find the rows that old facts share for their stops."""
    found: dict[_RowKey, int] = {}
    for item in items:
        for wording, ids in zip(item.wordings, item.row_ids or (), strict=False):
            answer = len(wording.answer_ids)
            for target, row_id in zip(wording.stop_ids, ids[answer:], strict=True):
                if row_id != NO_ROW and item.sharing != "nothing":
                    found.setdefault((_ANY, _ANY, target), row_id)
    return found


def _number_new_rows(items: Sequence[Item], stops: dict[_RowKey, int]) -> dict[_RowKey, int]:
    numbers: dict[_RowKey, int] = {}
    for number, item in enumerate(items):
        if item.row_ids is None:
            for wording in item.wordings:
                for key in _row_keys(number, item, wording):
                    if key not in stops:
                        numbers.setdefault(key, len(numbers))
    return numbers


def _line(attachment: Attachment, encoder: Encoder, item: Item, number: int, w: int) -> Line:
    canonical, entry, wording = attachment.canonical_list, item.entry, item.wordings[w]
    guards = [[canonical[i] for i in encoder(text)] for text in entry.guard]
    return Line(
        wording.canonical,
        (*wording.addressed_ids[1 : wording.trigger_length], *wording.targets),
        wording.trigger_length - 1,
        number,
        entry.min_order,
        entry.whole,
        wording.own,
        tuple(tuple(guard) for guard in guards),
        entry.orders[w] if entry.orders else (),
        (entry.fact.prompt, entry.fact.answer),
    )

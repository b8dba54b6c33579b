"""A table that is to be: which address of which fact leads to which row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engram_transformers.allocation import Line, allocate
from engram_transformers.attachment import Attachment
from engram_transformers.history import PADDING
from engram_transformers.index import RowIndex, Rows, suffixes
from engram_transformers.ledger import Entry
from engram_transformers.sequences import Wording

NO_ROW = -1


@dataclass(frozen=True)
class Item:
    """A fact of the table that is to be.

    Attributes:
        entry: Its ledger entry.
        wordings: Its prompts in tokens.
        row_ids: For each wording and written position its row among the old rows, `NO_ROW` for
            none. None: its rows are yet to be found.
    """

    entry: Entry
    wordings: tuple[Wording, ...]
    row_ids: tuple[tuple[int, ...], ...] | None


@dataclass(frozen=True)
class Plan:
    """Addresses and row numbers: the old rows keep theirs, new ones follow.

    Attributes:
        orders: For each item and wording, the order at each written position.
        row_ids: The same for the row, `NO_ROW` for none.
        addresses: Address -> row.
        old_rows: How many rows there are already: the number of the first new one.
        new_rows: How many rows are to be found.
    """

    orders: list[list[tuple[int, ...]]]
    row_ids: list[list[tuple[int, ...]]]
    addresses: dict[int, int]
    old_rows: int
    new_rows: int

    @property
    def row_orders(self) -> tuple[int, ...]:
        """The distinct orders of positions that have rows, ascending."""
        distinct: set[int] = set()
        for orders, ids in zip(self.orders, self.row_ids, strict=True):
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
        """Return the same without rows that no address leads to, in the order of addresses."""
        rows = self.rows(values)
        used = list(dict.fromkeys(rows.row_index.tolist()))
        place = {row: number for number, row in enumerate(used)}
        row_index = torch.tensor([place[row] for row in rows.row_index.tolist()], dtype=torch.int64)
        kept = values[torch.tensor(used, dtype=torch.int64, device=values.device)].cpu()
        return Rows(rows.addresses, row_index, kept, rows.orders)


def make_plan(
    attachment: Attachment,
    items: Sequence[Item],
    old_rows: int,
    guards: Sequence[str] = (),
    needed: Sequence[bool] | None = None,
) -> Plan:
    """Allocate addresses for all items, and move old rows to their new addresses.

    An old fact whose address a new fact makes ambiguous gets a longer one; its rows stay as they
    are.

    Args:
        attachment: The patch.
        items: Old facts and new ones.
        old_rows: How many rows there are.
        guards: Texts that no address of a new fact may occur in.
        needed: Which new rows are needed, for a plan made again once that is known; None: all.

    Returns:
        The plan.

    Raises:
        ContradictionError: If two facts can't be told apart.
    """
    canonical: list[int] = attachment.canonical.tolist()
    lines = [
        _line(wording, number, item, canonical)
        for number, item in enumerate(items)
        for wording in item.wordings
    ]
    guard_ids = [[canonical[i] for i in _ids(attachment, guard)] for guard in guards]
    allocated = iter(allocate(lines, attachment.config.max_order, guard_ids))
    numbers = _number_new_rows(items)
    line_of = iter(lines)

    orders: list[list[tuple[int, ...]]] = []
    row_ids: list[list[tuple[int, ...]]] = []
    addresses: dict[int, int] = {}
    for number, item in enumerate(items):
        orders.append([])
        row_ids.append([])
        for w, wording in enumerate(item.wordings):
            line, line_orders = next(line_of), tuple(next(allocated))
            if item.row_ids is None:
                ids = tuple(old_rows + numbers[number, j, t] for j, t in enumerate(wording.targets))
                if needed is not None:
                    ids = tuple(i if needed[i - old_rows] else NO_ROW for i in ids)
            else:
                ids = item.row_ids[w]
            for j, (order, row_id) in enumerate(zip(line_orders, ids, strict=True)):
                if row_id != NO_ROW:
                    end = line.first + j + 1
                    address = attachment.hasher.address(line.canonical[end - order : end])
                    addresses.setdefault(address, row_id)
            orders[-1].append(line_orders)
            row_ids[-1].append(ids)
    return Plan(orders, row_ids, addresses, old_rows, len(numbers))


def row_ids_of(
    attachment: Attachment, wordings: Sequence[Wording], entry: Entry, rows: Rows
) -> tuple[tuple[int, ...], ...]:
    """Return the rows of a fact that is in a table already, as `Item.row_ids`."""
    known = dict(zip(rows.addresses.tolist(), rows.row_index.tolist(), strict=True))
    canonical: list[int] = attachment.canonical.tolist()
    found: list[tuple[int, ...]] = []
    for wording, orders in zip(wordings, entry.orders, strict=True):
        ids = [canonical[i] for i in wording.addressed_ids]
        ends = range(wording.trigger_length, len(ids) + 1)
        found.append(
            tuple(
                known.get(attachment.hasher.address(ids[end - order : end]), NO_ROW)
                if order
                else NO_ROW
                for end, order in zip(ends, orders, strict=True)
            )
        )
    return tuple(found)


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
    index = RowIndex.build([rows], ids.device)
    window = torch.where(mask == 0, PADDING, ids)
    premixed = attachment.premixed(ids.device)
    found, valid = suffixes(window, premixed, attachment.hasher, index.orders, ids.shape[1])
    nobody_else = torch.zeros(ids.shape[0], 1, dtype=torch.int64, device=ids.device)
    return index.find(found, valid, nobody_else)


def trigger_key(attachment: Attachment, wording: Wording) -> tuple[int, ...]:
    """Return what makes two triggers the same: their canonical ids."""
    canonical = attachment.canonical
    ids = torch.tensor(wording.prompt_ids[wording.start :], dtype=torch.int64)
    return tuple(canonical[ids].tolist())


def _number_new_rows(items: Sequence[Item]) -> dict[tuple[int, int, int], int]:
    """Number new rows by (item, position, target): the wordings of a fact share its rows."""
    numbers: dict[tuple[int, int, int], int] = {}
    for number, item in enumerate(items):
        if item.row_ids is None:
            for wording in item.wordings:
                for j, target in enumerate(wording.targets):
                    numbers.setdefault((number, j, target), len(numbers))
    return numbers


def _line(wording: Wording, number: int, item: Item, canonical: list[int]) -> Line:
    ids = wording.addressed_ids
    entry = item.entry
    return Line(
        tuple(canonical[i] for i in ids),
        (*ids[1 : wording.trigger_length], *wording.targets),
        wording.trigger_length - 1,
        number,
        entry.min_order,
        entry.whole,
        item.row_ids is None,
        (entry.fact.prompt, entry.fact.answer),
    )


def _ids(attachment: Attachment, text: str) -> list[int]:
    return list(attachment.tokenizer(text, add_special_tokens=False)["input_ids"])  # pyright: ignore

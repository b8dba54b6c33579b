"""Where the facts of a table have their rows: found again from the texts in its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from engram_transformers.attachment import Attachment
from engram_transformers.errors import TableMismatchError
from engram_transformers.ledger import Entry
from engram_transformers.plan import NO_ROW, Span, addresses_of_spans
from engram_transformers.sequences import Encoder, Wording, wordings

if TYPE_CHECKING:
    from engram_transformers.table import UserTable


class Located(NamedTuple):
    """Where a fact's rows are.

    Attributes:
        wordings: Its prompts in tokens.
        addresses: For each wording and written position, None where it has no row. Signed 64-bit.
        row_ids: The same for rows, `NO_ROW` for none.
    """

    wordings: tuple[Wording, ...]
    addresses: tuple[tuple[int | None, ...], ...]
    row_ids: tuple[tuple[int, ...], ...]


def locate(
    attachment: Attachment,
    table: UserTable,
    entries: Sequence[Entry],
    encoder: Encoder | None = None,
) -> list[Located]:
    """Find the rows of facts that are in a table.

    Args:
        attachment: The patch of a model that can read the table.
        table: The table.
        entries: Of its ledger.
        encoder: The tokenizer, if much of the same is encoded elsewhere too.

    Returns:
        One result per entry.

    Raises:
        TableMismatchError: If a fact has no rows where it should: its prompts come to other tokens
            than when it was written, as chats do once the tokenizer has another template.
    """
    encoder = encoder or Encoder(attachment.tokenizer)
    canonical = attachment.canonical_list
    encoder.preload(((entry.fact, entry.stop) for entry in entries), canonical)
    lines = [wordings(encoder, e.fact, e.stop, 1 << 62, canonical) for e in entries]
    spans: list[Span] = []
    sequences: list[tuple[int, ...]] = []
    for entry, found in zip(entries, lines, strict=True):
        if [len(w.targets) for w in found] != [len(orders) for orders in entry.orders]:
            raise changed_tokens(table, entry)
        for wording, orders in zip(found, entry.orders, strict=True):
            for end, order in enumerate(orders, wording.trigger_length):
                if order > end:
                    raise changed_tokens(table, entry)
                if order:
                    spans.append((len(sequences), end, order))
            sequences.append(wording.addressed_ids)
    rows = table.rows
    pairs = zip(rows.addresses.tolist(), rows.row_index.tolist(), strict=True)
    row_of: dict[int | None, int] = {None: NO_ROW, **dict(pairs)}
    following = iter(addresses_of_spans(attachment, sequences, spans))
    located: list[Located] = []
    for entry, found in zip(entries, lines, strict=True):
        addresses = tuple(
            tuple(next(following) if order else None for order in orders) for orders in entry.orders
        )
        if not all(address in row_of for line in addresses for address in line):
            raise changed_tokens(table, entry)
        row_ids = tuple(tuple(row_of[address] for address in line) for line in addresses)
        located.append(Located(found, addresses, row_ids))
    return located


def changed_tokens(table: UserTable, entry: Entry) -> TableMismatchError:
    """Return the error of a fact that comes to other tokens than when it was written."""
    return TableMismatchError(
        table.owner,
        [f"{entry.fact.prompt!r} comes to other tokens than when it was written"],
        "If it is a chat, give the tokenizer the chat_template that it had; or call"
        " erase(all=True) and write the facts again.",
    )

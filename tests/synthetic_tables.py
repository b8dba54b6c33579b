"""Tables made of made-up rows, without optimisation, and files of tables taken apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import xxhash

from engram_transformers import Fact, UserTable
from engram_transformers.attachment import require_attachment
from engram_transformers.binding import Binding
from engram_transformers.index import Rows
from engram_transformers.ledger import Entry, Superseded
from engram_transformers.storage import as_stored

ROWS_PER_FACT = 2


def made_up_facts(count: int, *, paraphrased: bool = False) -> list[Fact]:
    """Return facts whose texts are found nowhere else."""
    return [
        Fact(
            f"Der Lieblingstee von Jörg-{number} heißt",
            f"Zitronenverbene-{number}",
            ((("user", f"Welchen Tee mag Jörg-{number}?"),),) if paraphrased else (),
        )
        for number in range(count)
    ]


def made_up_table(
    model, facts: int = 5, *, dtype="int8", shared: bool = False, ledger: bool = True, seed: int = 0
) -> UserTable:
    """Return a table of two rows per fact.

    Args:
        model: A patched model.
        facts: How many.
        dtype: How rows are stored.
        shared: Whether each fact has a paraphrase, whose addresses lead to the same rows.
        ledger: Whether the table knows its facts.
        seed: Another seed gives other rows.
    """
    attachment = require_attachment(model)
    generator = torch.Generator().manual_seed(seed)
    row_count = facts * ROWS_PER_FACT
    address_count = row_count * (2 if shared else 1)
    values = torch.randn(row_count, attachment.config.row_dim, generator=generator)
    addresses = torch.randint(-(2**63), 2**63 - 1, (address_count,), generator=generator)
    row_index = torch.arange(row_count).repeat(2 if shared else 1)
    orders = (3, 4) if facts else ()
    rows = Rows(addresses.sort().values, row_index, as_stored(values, dtype), orders)
    line = (3, 4)
    entries = tuple(
        Entry(
            fact,
            "2026-01-02T03:04:05+00:00",
            "auto",
            (line, line) if shared else (line,),
            source="tests",
            history=(Superseded("Kamille", "2025-01-01T00:00:00+00:00", "2026-01-02T03:04:05"),),
            guard=("Tee",),
        )
        for fact in made_up_facts(facts, paraphrased=shared)
    )
    return UserTable._restore(
        attachment,
        "user-42",
        max(attachment.memories),
        dtype,
        Binding.of(attachment),
        rows,
        entries if ledger else None,
        version=7,
    )


def same_tables(mine: UserTable, theirs: UserTable) -> bool:
    """Compare everything that a file keeps, bit for bit."""
    return (
        torch.equal(mine.rows.addresses, theirs.rows.addresses)
        and torch.equal(mine.rows.row_index, theirs.rows.row_index)
        and torch.equal(mine.rows.values, theirs.rows.values)
        and mine.rows.orders == theirs.rows.orders
        and mine.entries == theirs.entries
        and mine.binding == theirs.binding
        and (mine.owner, mine.layer, mine.dtype, mine.version, mine.nbytes)
        == (theirs.owner, theirs.layer, theirs.dtype, theirs.version, theirs.nbytes)
    )


def take_apart(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return a file's engram metadata and tensors."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    return json.loads(metadata["engram"]), safetensors.torch.load(data)


def put_together(path: Path, fields: Any, tensors: dict[str, torch.Tensor]) -> None:
    """Write a file with a digest that is right, so that other checks must find what is wrong."""
    text = json.dumps(fields, ensure_ascii=False)
    path.write_bytes(sealed(safetensors.torch.save(tensors, {"engram": text})))


def sealed(data: bytes) -> bytes:
    """Return a file with the digest that fits it, if it has a digest."""
    found = re.search(rb'\\"xxh3_128\\": ?\\"([0-9a-f]{32})\\"', data)
    if found is None:
        return data
    start, end = found.span(1)
    digest = xxhash.xxh3_128_hexdigest(data[:start] + b"0" * 32 + data[end:])
    return data[:start] + digest.encode() + data[end:]

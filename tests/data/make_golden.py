"""Make the golden tables of the format version that is written now; later releases must read them.

Those of a version are made once and never again: a new format version gets golden tables of its
own, beside the old ones. Run with the folder to write to:
`python tests/data/make_golden.py FOLDER`.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

from engram_transformers import Fact
from engram_transformers.binding import Binding
from engram_transformers.buckets.layout import BucketLayout
from engram_transformers.index import Rows
from engram_transformers.ledger import Entry, Superseded
from engram_transformers.lora import SharedLora
from engram_transformers.staging import write_files
from engram_transformers.storage import RowDtype, as_stored
from engram_transformers.table_format import StoredTable, encode_table
from engram_transformers.table_header import Description

ROW_DIM = 8


def binding(lora: SharedLora | None) -> Binding:
    """Return a binding to a model that does not exist."""
    config = {"row_dim": ROW_DIM, "gate_type": "fixed", "max_order": 64, "seed": 2**64 - 1}
    return Binding("1" * 32, "2" * 32, tuple(config.items()), None, lora, "owner/model")


def values(rows: int, dtype: str) -> torch.Tensor:
    """Return rows that need no random numbers, (rows, 8) float32."""
    numbers = torch.arange(rows * ROW_DIM, dtype=torch.float32).view(rows, ROW_DIM)
    return as_stored((numbers - 11) / 7, dtype)


def with_ledger(dtype: RowDtype = "int8") -> StoredTable:
    """Return a table with all that a file can have: shared rows, history, a chat, a LoRA."""
    entries = (
        Entry(
            Fact("Mein Lieblingstee heißt", "Zitronenverbene", ("My favourite tea is",)),
            "2026-01-02T03:04:05+00:00",
            "auto",
            ((3, 4), (5, 0)),
            "a chat of \"May\"\nand 'June' \\ ☕",
            (Superseded("Kamille", "2025-01-01T00:00:00+00:00", "2026-01-02T03:04:05+00:00"),),
            ("Tee",),
            2,
        ),
        Entry(
            Fact([{"role": "user", "content": "Where do I live?"}], "In Tucson"),
            "2026-02-03T04:05:06+00:00",
            None,
            ((64,),),
            whole=True,
        ),
    )
    addresses = torch.tensor([-(2**63), -5, 17, 2**63 - 1])
    rows = Rows(addresses, torch.tensor([1, 0, 2, 0]), values(3, dtype), (3, 4, 5, 64))
    lora = SharedLora("owner/skill", "3" * 32)
    return StoredTable(
        Description("user-42", 28, dtype, rows.orders, 3, binding(lora), entries), rows
    )


def without_ledger() -> StoredTable:
    """Return a table of bfloat16 rows, saved without its texts."""
    rows = Rows(torch.tensor([-1, 0, 1]), torch.arange(3), values(3, "bfloat16"), (7,))
    return StoredTable(
        Description("Büro", 0, "bfloat16", rows.orders, 12, binding(None), None), rows
    )


def of_buckets() -> StoredTable:
    """Return a table that replaces rows of a bank of two heads per order."""
    layout = BucketLayout("bank", ROW_DIM, (2, 2, 3, 3), (11, 13, 17, 19), "4" * 32)
    entry = Entry(Fact("My locker code is", "47"), "2026-01-02T03:04:05+00:00", None, ((3, 3),))
    numbers = torch.tensor([0, 4, 11, 25, 30, 40, 41])
    rows = Rows(numbers, torch.arange(7), values(7, "int4"), (3,))
    bound = dataclasses.replace(binding(None), banks="5" * 32, buckets=layout)
    return StoredTable(Description("user-42", 1, "int4", rows.orders, 2, bound, (entry,)), rows)


if __name__ == "__main__":
    tables = {
        "ledger": with_ledger(),
        "no_ledger": without_ledger(),
        "int4": with_ledger("int4"),
        "buckets": of_buckets(),
    }
    for name, table in tables.items():
        file = {
            f"format_{table.description.format_version}_{name}.safetensors": encode_table(table)
        }
        write_files(Path(sys.argv[1]), file)

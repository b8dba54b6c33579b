"""Tables that replace rows of a memory at random, and models whose own rows are those instead."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch

from engram_transformers import UserTable
from engram_transformers.attachment import require_attachment
from engram_transformers.binding import Binding
from engram_transformers.buckets.hashed_rows import hashed_rows_of
from engram_transformers.index import Rows

WIDE = {"bank_dim": 64, "row_dim": 64}
"""As wide as the tiny models' hidden states: facts take some tens of steps."""


def make_buckets(
    model: Any, *, share: float = 0.3, seed: int = 1, owner: str = "ann", layer: int = 1
) -> UserTable:
    """Return a table that replaces a share of a memory's rows with random ones."""
    attachment = require_attachment(model)
    layout = hashed_rows_of(attachment)[layer].layout
    generator = torch.Generator().manual_seed(seed)
    chosen = (torch.rand(layout.rows, generator=generator) < share).nonzero().flatten()
    values = torch.randn(len(chosen), layout.width, generator=generator)
    rows = Rows(chosen, torch.arange(len(chosen)), values, (layout.max_order,))
    binding = dataclasses.replace(Binding.of(attachment), buckets=layout)
    return UserTable._restore(attachment, owner, layer, "float32", binding, rows, None, 1)


@torch.no_grad()
def edited(model: Any, table: UserTable) -> Any:
    """Return a copy of a model whose memory itself has the rows of a table."""
    copied = copy.deepcopy(model)
    attachment = require_attachment(copied)
    if attachment.banks:
        weight = attachment.banks[table.layer].table.weight
    else:
        block = attachment.block_list[table.layer]
        weight = block.get_submodule("ple.ple_embedding.ngram_embedding").weight
    weight[table.rows.addresses] = table.rows.values.to(weight)
    return copied

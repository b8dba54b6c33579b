"""A slow reader to compare with: plain Python, one position at a time, no hashes and no caches."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tables import NGram, Synthetic, canonical
from torch import Tensor

from engram_transformers.attachment import require_attachment
from engram_transformers.projections import seeded_orthonormal

PADDING = None


def rows_read(
    ids: Sequence[int | None],
    tables: Sequence[Mapping[NGram, Any]],
    starts: Sequence[int] = (),
) -> list[Any]:
    """Say what is read at each position of one sequence.

    Args:
        ids: Canonical ids, `PADDING` where there is no token.
        tables: Canonical n-gram -> anything, strongest first.
        starts: Positions that begin a sequence of their own.

    Returns:
        For each position what the strongest table with a match has for its longest match, None
        where no table has one.
    """
    return [_read_at(ids, position, tables, starts) for position in range(len(ids))]


def _read_at(
    ids: Sequence[int | None],
    position: int,
    tables: Sequence[Mapping[NGram, Any]],
    starts: Sequence[int],
) -> Any:
    suffixes: list[NGram] = []
    suffix: NGram = ()
    for earlier in range(position, -1, -1):
        token = ids[earlier]
        if token is PADDING:
            break
        suffix = (token, *suffix)
        suffixes.append(suffix)
        if earlier in starts:
            break
    for table in tables:
        for suffix in reversed(suffixes):
            if suffix in table:
                return table[suffix]
    return None


def expected_reads(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    tables: Sequence[Sequence[Synthetic]],
) -> tuple[Tensor, Tensor]:
    """Say what a whole batch reads.

    Args:
        model: The patched model: for its canonical ids only.
        input_ids: (batch, seq).
        attention_mask: (batch, seq), or None.
        tables: For each sample its tables, strongest first.

    Returns:
        (batch, seq) bool where a row is found, and (batch, seq, row_dim) float32 rows, zeros
        elsewhere.
    """
    batch, seq = input_ids.shape
    row_dim = require_attachment(model).config.row_dim
    found = torch.zeros(batch, seq, dtype=torch.bool)
    rows = torch.zeros(batch, seq, row_dim)
    for b in range(batch):
        ids: list[int | None] = list(canonical(model, input_ids[b].tolist()))
        for s in range(seq):
            if attention_mask is not None and attention_mask[b, s] == 0:
                ids[s] = PADDING
        stack = [{k: (t.values, n) for k, n in t.rows.items()} for t in tables[b]]
        for s, read in enumerate(rows_read(ids, stack)):
            if read is not None:
                values, number = read
                found[b, s] = True
                rows[b, s] = values[number]
    return found, rows


def added(config: Any, hidden_states: Tensor, rows: Tensor) -> Tensor:
    """Compute what rows add to hidden states, as the paper's formulas say.

    Args:
        config: The `EngramConfig`.
        hidden_states: (..., dim) float32.
        rows: (..., row_dim) float32.

    Returns:
        (..., dim) float32.
    """
    dim, row_dim = hidden_states.shape[-1], config.row_dim
    value_map = seeded_orthonormal("value", config.seed, dim, row_dim)
    key_map = seeded_orthonormal("key", config.seed, dim, row_dim)
    size = torch.linalg.vector_norm(hidden_states, dim=-1, keepdim=True) / math.sqrt(dim)
    value = size * math.sqrt(dim / row_dim) * (rows @ value_map.T)
    if config.gate_type == "fixed":
        return value
    cosine = torch.nn.functional.cosine_similarity(hidden_states, rows @ key_map.T, dim=-1)
    score = cosine.unsqueeze(-1) * math.sqrt(dim)
    return value * torch.sigmoid(torch.sign(score) * torch.sqrt(score.abs()))

"""Where a table's rows are found in texts, without running the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from engram_transformers import UserTable
from engram_transformers.coded_ids import PADDING


def rows_found(table: UserTable, sequences: Sequence[Sequence[int]]) -> list[list[bool]]:
    """Say of each position of sequences of ids whether a row is read there.

    Args:
        table: The table.
        sequences: Each as a forward gets it, without padding.
    """
    if not table.has_rows:
        return [[False] * len(ids) for ids in sequences]
    attachment = table.attachment
    device = torch.device("cpu")
    prepared = attachment.prepared.of(
        [table.rows], device, attachment.hasher, attachment.premixed(device)
    )
    found: list[list[bool]] = [[] for _ in sequences]
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    for start in range(0, len(order), 256):
        part = order[start : start + 256]
        longest = max(len(sequences[i]) for i in part)
        window = torch.full((len(part), longest), PADDING)
        for row, i in enumerate(part):
            window[row, longest - len(sequences[i]) :] = torch.tensor(sequences[i])
        owners = torch.zeros(len(part), 1, dtype=torch.int64)
        hits = prepared.find(window, longest, owners) >= 0
        for row, i in enumerate(part):
            found[i] = hits[row, longest - len(sequences[i]) :].tolist()
    return found

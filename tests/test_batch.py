"""Sequences keep their order and their positions when they are arranged and joined."""

from __future__ import annotations

import torch

from engram_transformers.batch import arrange

IDS = torch.tensor([[11, 12, 13, 14], [0, 0, 23, 24]])
MASK = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1]])


def test_a_context_stands_behind_the_padding():
    seen = arrange([5, 6, 7], IDS, MASK)
    assert seen.ids.tolist() == [[5, 6, 7, 11, 12, 13, 14], [0, 0, 5, 6, 7, 23, 24]]
    assert seen.mask.tolist() == [[1, 1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1]]
    assert seen.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 2, 3, 4]]
    assert seen.padding.tolist() == [[0], [2]]


def test_without_a_context_sequences_stay_as_they_are():
    seen = arrange([], IDS, MASK)
    assert torch.equal(seen.ids, IDS)
    assert torch.equal(seen.mask, MASK)
    assert seen.positions.tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]

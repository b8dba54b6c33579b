"""Promises of the token history under continuous batching: what it can't follow is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engram_transformers.errors import UnsupportedCacheError
from engram_transformers.paged import is_paged, recall_paged

IDS = torch.tensor([[1, 2]])


def pages(*kinds: str) -> Any:
    groups = (SimpleNamespace(layer_type=kind) for kind in kinds)
    return SimpleNamespace(cache_allocators=dict(enumerate(groups)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cache": SimpleNamespace()}, "with transformers 5.18 or newer"),
        ({"cache": pages("sliding_attention")}, "no layer of full attention"),
        (
            {"cache": pages("full_attention"), "block_table": torch.zeros(1)},
            "set max_blocks_per_request=0",
        ),
    ],
)
def test_pages_that_cannot_be_followed_are_refused_by_name(arguments, message):
    """And only by whoever reads a table: the rest of the batch runs on."""
    window, problem, after = recall_paged(IDS, arguments, 3)
    assert torch.equal(window, IDS)
    assert after is None
    assert isinstance(problem, UnsupportedCacheError)
    assert message in str(problem)


def test_a_call_of_continuous_batching_is_told_by_its_slots():
    assert is_paged({"write_index": [torch.tensor([0])]})
    assert not is_paged({"write_index": None})
    assert not is_paged({})

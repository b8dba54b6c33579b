"""Promises of the token history: what is known of the past, for every kind of cache."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, LlamaConfig, StaticCache
from transformers.modeling_outputs import BaseModelOutputWithPast

from engram_transformers.errors import CacheHistoryError, UnsupportedCacheError
from engram_transformers.history import (
    PADDING,
    encode,
    ledger_of,
    recall,
    remember_created,
)

CONFIG = LlamaConfig(
    hidden_size=8, num_attention_heads=2, num_key_value_heads=2, num_hidden_layers=1, head_dim=4
)


def start(token: int) -> int:
    return -2 - token


def grow(cache, batch: int, seq: int) -> None:
    """What a forward does to a cache."""
    cache.update(torch.zeros(batch, 2, seq, 4), torch.zeros(batch, 2, seq, 4), 0)


def feed(cache, ids: list[list[int]], reach: int = 100) -> list[list[int]]:
    """What a forward of a patched model does to a cache; return what it knows."""
    new = torch.tensor(ids)
    window, problem = recall(new, cache, reach)
    assert problem is None
    grow(cache, *new.shape)
    return window.tolist()


# Coding


def test_ids_alone_are_coded_as_they_are():
    assert encode(torch.tensor([[3, 4]]), {}).tolist() == [[3, 4]]
    assert encode(torch.tensor([[3, 4]], dtype=torch.int32), {}).dtype == torch.int64


def test_the_mask_marks_padding_of_the_new_tokens_only():
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    mask = torch.tensor([[0, 1, 1], [1, 1, 0]])
    assert encode(ids, {"attention_mask": mask}).tolist() == [[PADDING, 4, 5], [6, 7, PADDING]]
    longer = torch.cat([torch.zeros(2, 5, dtype=torch.int64), mask], dim=1)
    assert encode(ids, {"attention_mask": longer}).tolist() == [[PADDING, 4, 5], [6, 7, PADDING]]
    assert encode(ids, {"attention_mask": mask.bool()})[0, 0] == PADDING
    shorter = mask[:, :2]
    assert encode(ids, {"attention_mask": shorter}).tolist() == ids.tolist()


def test_position_zero_starts_a_sequence():
    ids = torch.tensor([[3, 4, 5, 6]])
    positions = torch.tensor([[0, 1, 0, 1]])
    assert encode(ids, {"position_ids": positions}).tolist() == [[start(3), 4, start(5), 6]]
    three = positions.expand(3, 1, 4)  # as models of several modalities have them
    assert encode(ids, {"position_ids": three}).tolist() == [[start(3), 4, start(5), 6]]
    assert encode(ids, {"position_ids": positions[:, :2]}).tolist() == ids.tolist()


def test_left_padding_has_position_zero_and_is_still_padding():
    ids = torch.tensor([[9, 9, 5, 6]])
    arguments = {"position_ids": torch.tensor([[0, 0, 0, 1]])}
    masks = [torch.tensor([[0, 0, 1, 1]]), torch.zeros(1, 1, 4, 8), {"full_attention": None}]
    for mask in masks:
        coded = encode(ids, {**arguments, "attention_mask": mask})
        assert coded.tolist() == [[PADDING, PADDING, start(5), 6]]


# Dynamic caches


def test_without_a_cache_only_the_new_ids_are_known():
    new = torch.tensor([[1, 2]])
    window, problem = recall(new, None, 5)
    assert window is new
    assert problem is None


def test_a_cache_carries_the_ids_of_its_tokens():
    cache = DynamicCache()
    assert feed(cache, [[1, 2], [5, 6]]) == [[1, 2], [5, 6]]
    assert feed(cache, [[3], [7]]) == [[1, 2, 3], [5, 6, 7]]
    assert feed(cache, [[4], [8]], reach=2) == [[2, 3, 4], [6, 7, 8]]


def test_ids_are_cut_with_their_cache():
    cache = DynamicCache()
    feed(cache, [[1, 2, 3, 4]])
    cache.crop(-3)
    assert feed(cache, [[9]]) == [[1, 9]]
    cache.crop(-1)
    assert feed(cache, [[8]]) == [[1, 8]]


def test_a_call_that_failed_before_the_cache_grew_is_forgotten():
    cache = DynamicCache()
    feed(cache, [[1, 2]])
    recall(torch.tensor([[7, 7]]), cache, 5)  # and then an error
    assert feed(cache, [[3]]) == [[1, 2, 3]]


def test_ids_follow_the_operations_on_the_batch():
    cache = DynamicCache()
    feed(cache, [[1, 2], [5, 6]])
    cache.reorder_cache(torch.tensor([1, 1]))
    assert feed(cache, [[3], [4]]) == [[5, 6, 3], [5, 6, 4]]
    cache.batch_repeat_interleave(2)
    assert feed(cache, [[0], [1], [2], [3]]) == [
        [5, 6, 3, 0],
        [5, 6, 3, 1],
        [5, 6, 4, 2],
        [5, 6, 4, 3],
    ]
    cache.batch_select_indices(torch.tensor([3, 0]))
    assert feed(cache, [[7], [8]]) == [[5, 6, 4, 3, 7], [5, 6, 3, 0, 8]]


def test_operations_that_are_called_by_keyword_are_followed():
    cache = DynamicCache()
    feed(cache, [[1], [2]])
    cache.reorder_cache(beam_idx=torch.tensor([1, 0]))
    cache.batch_repeat_interleave(repeats=2)
    assert feed(cache, [[5]] * 4) == [[2, 5], [2, 5], [1, 5], [1, 5]]


def test_a_copy_of_a_cache_follows_its_own_operations():
    cache = DynamicCache()
    feed(cache, [[1], [2]])
    other = copy.deepcopy(cache)
    other.reorder_cache(torch.tensor([1, 0]))
    assert feed(cache, [[5], [6]]) == [[1, 5], [2, 6]]
    assert feed(other, [[5], [6]]) == [[2, 5], [1, 6]]


def test_a_cache_that_somebody_else_filled_is_a_problem():
    cache = DynamicCache()
    grow(cache, 1, 3)
    new = torch.tensor([[1]])
    window, problem = recall(new, cache, 5)
    assert window is new
    assert isinstance(problem, CacheHistoryError)
    assert (problem.cached, problem.seen) == (3, 0)


def test_a_cache_that_somebody_else_added_to_is_a_problem():
    cache = DynamicCache()
    feed(cache, [[1, 2]])
    grow(cache, 1, 3)
    _, problem = recall(torch.tensor([[1]]), cache, 5)
    assert isinstance(problem, CacheHistoryError)
    assert (problem.cached, problem.seen) == (5, 2)


def test_another_batch_size_is_a_problem():
    cache = DynamicCache()
    feed(cache, [[1, 2]])
    _, problem = recall(torch.tensor([[1], [2]]), cache, 5)
    assert isinstance(problem, UnsupportedCacheError)
    assert "it holds 1 sequences, the batch has 2" in str(problem)


def test_a_cache_without_attributes_is_a_problem():
    _, problem = recall(torch.tensor([[1]]), ((torch.zeros(1), torch.zeros(1)),), 5)
    assert isinstance(problem, UnsupportedCacheError)
    assert problem.cache_type == "tuple"
    assert "pass use_cache=False or a transformers Cache" in str(problem)


@pytest.mark.parametrize("as_tuple", [False, True])
def test_a_cache_that_the_model_made_gets_the_ids(as_tuple):
    cache = DynamicCache()
    grow(cache, 1, 2)
    output = BaseModelOutputWithPast(last_hidden_state=torch.zeros(1), past_key_values=cache)
    new = torch.tensor([[1, 2]])
    remember_created(new, tuple(output.values()) if as_tuple else output, 3)
    ledger = ledger_of(cache)
    assert ledger is not None
    assert ledger.rows_per_sample == 3
    assert feed(cache, [[3]]) == [[1, 2, 3]]
    remember_created(torch.tensor([[7, 7, 7]]), output, 1)  # what is there stays
    assert feed(cache, [[4]]) == [[1, 2, 3, 4]]


def test_only_caches_have_ledgers():
    assert ledger_of(None) is None
    assert ledger_of(DynamicCache()) is None


# Static caches


def static(length: int = 16) -> StaticCache:
    return StaticCache(config=CONFIG, max_cache_len=length)


def test_a_static_cache_keeps_a_window_of_fixed_size():
    cache = static()
    assert feed(cache, [[1, 2]], reach=3) == [[PADDING] * 3 + [1, 2]]
    assert feed(cache, [[3]], reach=3) == [[PADDING, 1, 2, 3]]
    assert feed(cache, [[4]], reach=3) == [[1, 2, 3, 4]]
    ids = cache.__dict__["_engram_ledger"].ids
    assert feed(cache, [[5]], reach=3) == [[2, 3, 4, 5]]
    assert ids.tolist() == [[3, 4, 5]]  # in place


def test_a_static_cache_that_is_reset_forgets():
    cache = static()
    feed(cache, [[1, 2, 3]], reach=3)
    cache.reset()
    assert feed(cache, [[4]], reach=3) == [[PADDING] * 3 + [4]]


def test_a_static_cache_whose_layers_are_reset_forgets_too():
    cache = static()
    feed(cache, [[1, 2, 3]], reach=3)
    for layer in cache.layers:
        layer.reset()
    assert feed(cache, [[4]], reach=3) == [[PADDING] * 3 + [4]]


def test_a_static_cache_follows_beams():
    cache = static()
    feed(cache, [[1, 2], [3, 4]], reach=2)
    cache.reorder_cache(torch.tensor([1, 0]))
    assert feed(cache, [[5], [6]], reach=2) == [[3, 4, 5], [1, 2, 6]]


def test_a_static_cache_that_somebody_else_filled_is_a_problem():
    cache = static()
    grow(cache, 1, 3)
    _, problem = recall(torch.tensor([[1]]), cache, 5)
    assert isinstance(problem, CacheHistoryError)
    assert (problem.cached, problem.seen) == (3, 0)


def test_a_reach_of_nothing_needs_no_window():
    cache = static()
    assert feed(cache, [[1, 2]], reach=0) == [[1, 2]]
    assert feed(cache, [[3]], reach=0) == [[3]]
    other = DynamicCache()
    feed(other, [[1, 2]], reach=0)
    assert feed(other, [[3]], reach=0) == [[3]]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), reach=st.integers(0, 8), kind=st.sampled_from(["dynamic", "static"]))
def test_any_sequence_of_operations_ends_in_the_ids_of_the_cache(data, reach, kind):
    """Compared with lists of ids that go through the same."""
    cache = DynamicCache() if kind == "dynamic" else static(200)
    known: list[list[int]] = [[], []]
    for _ in range(data.draw(st.integers(1, 8))):
        operations = ["feed", "reorder"] + (["crop", "select", "repeat"] * (kind == "dynamic"))
        operation = data.draw(st.sampled_from(operations)) if known[0] else "feed"
        batch = len(known)
        if operation == "feed":
            seq = data.draw(st.integers(1, 4))
            new = [[data.draw(st.integers(0, 9)) for _ in range(seq)] for _ in range(batch)]
            window = feed(cache, new, reach)
            known = [old + one for old, one in zip(known, new, strict=True)]
            expected = [line[max(len(line) - reach - seq, 0) :] for line in known]
            assert [[i for i in line if i != PADDING] for line in window] == expected
        elif operation == "crop":
            if len(known[0]) > 1:
                cut = data.draw(st.integers(1, len(known[0]) - 1))
                cache.crop(-cut)
                known = [line[:-cut] for line in known]
        elif operation == "repeat":
            cache.batch_repeat_interleave(2)
            known = [line for line in known for _ in range(2)]
        else:
            order = data.draw(st.lists(st.integers(0, batch - 1), min_size=batch, max_size=batch))
            if operation == "reorder":
                cache.reorder_cache(torch.tensor(order))
            else:
                cache.batch_select_indices(torch.tensor(order))
            known = [known[i] for i in order]
        if len(known) > 16:
            break

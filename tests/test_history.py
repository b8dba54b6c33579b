"""Promises of the token history: what is known of the past, for every kind of cache."""

from __future__ import annotations

import copy

import pytest
import torch
import versions
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, EncoderDecoderCache, LlamaConfig, MambaConfig, StaticCache
from transformers.cache_utils import CacheLayerMixin
from transformers.modeling_outputs import BaseModelOutputWithPast

from engram_transformers.coded_ids import PADDING, encode, set_aside
from engram_transformers.errors import CacheHistoryError, UnsupportedCacheError
from engram_transformers.history import (
    can_note,
    commit,
    hand_on,
    ledger_of,
    note,
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
    versions.fill(cache, batch, 2, seq, 4)


def feed(cache, ids: list[list[int]], reach: int = 100) -> list[list[int]]:
    """What a forward of a patched model does to a cache; return what it knows."""
    new = torch.tensor(ids)
    window, problem, after = recall(new, cache, reach)
    assert problem is None
    grow(cache, *new.shape)
    if after is not None:
        commit(cache, after)
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


def looking(shown: list[int], keys: int, past: int = 0) -> torch.Tensor:
    """A causal mask, (1, 1, seq, keys) bool, over tokens of which some are padding."""
    seq = len(shown) - past
    columns = torch.arange(keys)
    causal = columns <= torch.arange(seq).unsqueeze(1) + past
    known = torch.tensor([*shown, *([0] * (keys - len(shown)))]) == 1
    return (causal & known).view(1, 1, seq, keys)


def additive(mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask, 0.0, torch.finfo(torch.float32).min)


@pytest.mark.parametrize("kind", [lambda mask: mask, additive])
def test_a_square_mask_shows_which_tokens_are_padding(kind):
    ids = torch.tensor([[9, 5, 6, 9]])
    mask = kind(looking([0, 1, 1, 0], 4))
    expected = [[PADDING, 5, 6, PADDING]]
    assert encode(ids, {"attention_mask": mask}).tolist() == expected
    assert encode(ids, {"attention_mask": {"full_attention": mask}}).tolist() == expected
    later = kind(looking([0, 0, 0, 1, 1, 0], 6, past=2))
    assert encode(ids, {"attention_mask": later}).tolist() == [[PADDING, 5, 6, PADDING]]


def test_a_static_cache_places_its_mask():
    ids, cache = torch.tensor([[9, 5]]), static()
    feed(cache, [[1, 2, 3]])
    mask = looking([1, 1, 1, 0, 1], 16, past=3)
    arguments = {"attention_mask": mask, "past_key_values": cache}
    assert encode(ids, arguments).tolist() == [[PADDING, 5]]


def test_left_padding_has_position_zero_and_is_still_padding():
    ids = torch.tensor([[9, 9, 5, 6]])
    arguments = {"position_ids": torch.tensor([[0, 0, 0, 1]])}
    shown = torch.tensor([[0, 0, 1, 1]])
    masks = [shown, looking([0, 0, 1, 1], 4), {"full_attention": None, "sliding_attention": None}]
    for mask in masks:
        coded = encode(ids, {**arguments, "attention_mask": mask})
        assert coded.tolist() == [[PADDING, PADDING, start(5), 6]]


# Dynamic caches


def test_without_a_cache_only_the_new_ids_are_known():
    new = torch.tensor([[1, 2]])
    window, problem, _ = recall(new, None, 5)
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


def test_what_a_cache_repeats_are_copies_of_each_sample():
    cache = DynamicCache()
    feed(cache, [[1], [2]])
    cache.batch_repeat_interleave(3)
    assert ledger_of(cache).rows_per_sample == 3
    cache.reorder_cache(torch.tensor([2, 1, 0, 5, 4, 3]))
    assert ledger_of(cache).rows_per_sample == 3
    cache.batch_select_indices(torch.tensor([0, 3]))
    assert ledger_of(cache).rows_per_sample == 1


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
    window, problem, _ = recall(new, cache, 5)
    assert window is new
    assert isinstance(problem, CacheHistoryError)
    assert (problem.cached, problem.seen) == (3, 0)


def test_a_cache_that_somebody_else_added_to_is_a_problem():
    cache = DynamicCache()
    feed(cache, [[1, 2]])
    grow(cache, 1, 3)
    _, problem, _ = recall(torch.tensor([[1]]), cache, 5)
    assert isinstance(problem, CacheHistoryError)
    assert (problem.cached, problem.seen) == (5, 2)


def test_another_batch_size_is_a_problem():
    cache = DynamicCache()
    feed(cache, [[1, 2]])
    _, problem, _ = recall(torch.tensor([[1], [2]]), cache, 5)
    assert isinstance(problem, UnsupportedCacheError)
    assert "it holds 1 sequences, the batch has 2" in str(problem)


def test_a_cache_without_attributes_is_a_problem():
    _, problem, _ = recall(torch.tensor([[1]]), ((torch.zeros(1), torch.zeros(1)),), 5)
    assert isinstance(problem, UnsupportedCacheError)
    assert problem.cache_type == "tuple"
    assert "pass use_cache=False or a transformers Cache" in str(problem)


@pytest.mark.parametrize("as_tuple", [False, True])
def test_a_cache_that_the_model_made_gets_the_ids(as_tuple):
    cache = DynamicCache()
    grow(cache, 1, 2)
    output = BaseModelOutputWithPast(last_hidden_state=torch.zeros(1), past_key_values=cache)
    new = torch.tensor([[1, 2]])
    remember_created(new, tuple(output.values()) if as_tuple else output, 3, 5)
    ledger = ledger_of(cache)
    assert ledger is not None
    assert ledger.rows_per_sample == 3
    assert feed(cache, [[3]]) == [[1, 2, 3]]
    remember_created(torch.tensor([[7, 7, 7]]), output, 1, 5)  # what is there stays
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


def test_a_call_that_failed_does_not_move_the_window_on():
    cache = static()
    feed(cache, [[1, 2]], reach=2)
    recall(torch.tensor([[7]]), cache, 2)  # and then an error: no commit
    assert feed(cache, [[3]], reach=2) == [[1, 2, 3]]


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
    _, problem, _ = recall(torch.tensor([[1]]), cache, 5)
    assert isinstance(problem, CacheHistoryError)
    assert (problem.cached, problem.seen) == (3, 0)


def test_a_reach_of_nothing_needs_no_window():
    cache = static()
    assert feed(cache, [[1, 2]], reach=0) == [[1, 2]]
    assert feed(cache, [[3]], reach=0) == [[3]]
    other = DynamicCache()
    feed(other, [[1, 2]], reach=0)
    assert feed(other, [[3]], reach=0) == [[3]]


# Calls in which nothing is read


def feed_unread(cache, ids: list[list[int]], arguments=None) -> None:
    new = torch.tensor(ids)
    part = set_aside(new, arguments or {})
    assert part is not None
    note(part, cache)
    grow(cache, *new.shape)


def test_ids_of_calls_that_read_nothing_are_known_afterwards():
    cache = DynamicCache()
    feed_unread(cache, [[1, 2], [5, 6]])
    feed_unread(cache, [[3], [7]])
    assert feed(cache, [[4], [8]]) == [[1, 2, 3, 4], [5, 6, 7, 8]]
    feed_unread(cache, [[9], [9]])
    cache.crop(-2)
    feed_unread(cache, [[0], [0]])
    cache.reorder_cache(torch.tensor([1, 0]))
    assert feed(cache, [[1], [1]]) == [[5, 6, 7, 0, 1], [1, 2, 3, 0, 1]]


def test_many_calls_that_read_nothing_are_joined():
    cache = DynamicCache()
    for token in range(200):
        feed_unread(cache, [[token]])
    assert ledger_of(cache).length == 200
    assert len(ledger_of(cache)._uncoded) < 100
    assert feed(cache, [[7]], reach=300) == [[*range(200), 7]]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_what_is_set_aside_is_coded_as_it_would_have_been(data):
    """Any mixture of masks and positions, changed in place after the call."""
    batch = data.draw(st.integers(1, 3))
    cache, expected, past = DynamicCache(), [], 0
    for _ in range(data.draw(st.integers(1, 5))):
        seq = data.draw(st.integers(1, 3))
        ids = torch.randint(0, 50, (batch, seq))
        arguments = {}
        if data.draw(st.booleans()):
            mask = torch.randint(0, 2, (batch, past + seq))
            arguments["attention_mask"] = mask.bool() if data.draw(st.booleans()) else mask
        if data.draw(st.booleans()):
            rows = data.draw(st.sampled_from([1, batch]))
            arguments["position_ids"] = torch.randint(0, 3, (rows, seq))
        shown = arguments.get("attention_mask")
        expected.append(encode(ids, arguments).clone())
        part = set_aside(ids, arguments)
        note(part, cache)
        grow(cache, batch, seq)
        past += seq
        for tensor in (ids, shown, arguments.get("position_ids")):
            if tensor is not None:
                tensor.zero_()
    assert torch.equal(ledger_of(cache).ids, torch.cat(expected, dim=1))


@pytest.mark.parametrize(
    "arguments",
    [
        {"attention_mask": torch.ones(1, 1, 2, 2)},
        {"attention_mask": {"full_attention": None}},
        {"attention_mask": torch.ones(1, 1)},
        {"attention_mask": torch.ones(3, 2)},
        {"attention_mask": torch.ones(1, 2)},  # of floats: joined with ids, these would lose bits
    ],
)
def test_what_cannot_be_set_aside_is_coded_at_once(arguments):
    assert set_aside(torch.tensor([[1, 2]]), arguments) is None


def test_only_caches_that_grow_take_ids_uncoded():
    assert can_note(None)
    assert can_note(DynamicCache())
    assert not can_note(static())
    assert not can_note(((torch.zeros(1),),))


def test_calls_that_read_nothing_leave_what_is_unknown_unknown():
    cache = DynamicCache()
    grow(cache, 1, 3)
    feed_unread(cache, [[1]])
    assert isinstance(recall(torch.tensor([[2]]), cache, 5).problem, CacheHistoryError)
    other = DynamicCache()
    feed_unread(other, [[1, 2]])
    note(set_aside(torch.tensor([[1], [2]]), {}), other)  # a batch of another size
    assert isinstance(recall(torch.tensor([[3], [4]]), other, 5).problem, UnsupportedCacheError)


# Caches of state-space models


MAMBA = MambaConfig(num_hidden_layers=2, hidden_size=8, state_size=2)


def state_space() -> DynamicCache:
    cache = DynamicCache(config=MAMBA)
    assert not any(isinstance(layer, CacheLayerMixin) for layer in cache.layers)
    return cache


def feed_states(cache, ids: list[list[int]], reach: int) -> list[list[int]]:
    new = torch.tensor(ids)
    window, problem, after = recall(new, cache, reach)
    assert problem is None
    for layer in range(len(cache.layers)):
        cache.update_conv_state(torch.ones(len(ids), 4, 4), layer)
        cache.update_recurrent_state(torch.ones(len(ids), 4, 2), layer)
    commit(cache, after)
    return window.tolist()


@versions.STATE_SPACE_CACHE
def test_a_state_space_cache_keeps_a_window():
    cache = state_space()
    assert feed_states(cache, [[1, 2]], reach=3) == [[PADDING] * 3 + [1, 2]]
    assert feed_states(cache, [[3]], reach=3) == [[PADDING, 1, 2, 3]]
    cache.reset()
    assert feed_states(cache, [[4]], reach=3) == [[PADDING] * 3 + [4]]


@versions.STATE_SPACE_CACHE
def test_a_state_space_cache_that_the_model_made_gets_a_window():
    cache = state_space()
    new = torch.tensor([[1, 2, 3, 4]])
    for layer in range(2):
        cache.update_conv_state(torch.ones(1, 4, 4), layer)
        cache.update_recurrent_state(torch.ones(1, 4, 2), layer)
    output = BaseModelOutputWithPast(last_hidden_state=torch.zeros(1), past_key_values=cache)
    remember_created(new, output, 1, 3)
    assert feed_states(cache, [[5]], reach=3) == [[2, 3, 4, 5]]


@versions.STATE_SPACE_CACHE
def test_a_state_space_cache_that_somebody_else_filled_is_a_problem():
    cache = state_space()
    cache.update_conv_state(torch.ones(1, 4, 4), 1)
    cache.update_recurrent_state(torch.ones(1, 4, 2), 1)
    _, problem, _ = recall(torch.tensor([[1]]), cache, 5)
    assert isinstance(problem, CacheHistoryError)
    assert problem.cached is None
    assert "The cache holds tokens, of which the memories saw 0" in str(problem)


class CountingStates:
    """A cache of a model's own kind: it can't be rolled back, and tells how far it is."""

    def __init__(self) -> None:
        self.seqlen_offset = torch.tensor([0])


def test_a_cache_of_states_that_tells_its_length_keeps_a_window():
    cache = CountingStates()
    assert recall(torch.tensor([[1, 2]]), cache, 3).window.tolist() == [[PADDING] * 3 + [1, 2]]
    commit(cache, torch.tensor([[PADDING, 1, 2]]))
    cache.seqlen_offset += 2
    assert recall(torch.tensor([[3]]), cache, 3).window.tolist() == [[PADDING, 1, 2, 3]]
    other = CountingStates()
    other.seqlen_offset += 4
    problem = recall(torch.tensor([[3]]), other, 3).problem
    assert isinstance(problem, CacheHistoryError)
    assert problem.cached == 4


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


def test_a_cache_that_is_returned_in_the_place_of_another_knows_what_that_knew():
    given = DynamicCache()
    feed(given, [[3, 4], [5, 6]])
    wrapper = EncoderDecoderCache(given, DynamicCache())
    hand_on(given, BaseModelOutputWithPast(past_key_values=wrapper))
    window, problem, _ = recall(torch.tensor([[7], [8]]), wrapper, 10)
    assert problem is None
    assert window.tolist() == [[3, 4, 7], [5, 6, 8]]

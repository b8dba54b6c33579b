"""The contract for caches that are used again: next turns, copies, resets; and what is refused."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
import versions
from decoding import CACHES, KINDS, PROMPTS, STEPS, frequent, generate
from reference import expected_reads
from tables import LAYERS, ROW_DIM, table_along, watching
from transformers import DynamicCache, StaticCache

from engram_transformers import add_engram, engram_disabled, use_tables
from engram_transformers.errors import CacheHistoryError, UnsupportedCacheError


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture(params=KINDS)
def kind(request, tokenizer):
    """A model of each kind of layers, where nothing else matters."""
    return add_engram(tiny.tiny_model(request.param), tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return add_engram(tiny_llama, tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def prompt(tokenizer) -> list[int]:
    return tokenizer(PROMPTS[0])["input_ids"]


@pytest.mark.parametrize("only_new", [False, pytest.param(True, marks=versions.NEXT_TURN_ALONE)])
@pytest.mark.parametrize("cache", ["dynamic as the model is", "static"])
def test_a_cache_reused_for_the_next_turn_keeps_the_history(
    kind, prompt, tokenizer, cache, only_new
):
    """With the whole text, or with what is new alone."""
    made, first = table_along(kind, prompt, 6)
    question = tokenizer(" And her sister's")["input_ids"]
    second, _ = table_along(kind, first + question, 8, seed=5)
    past = CACHES[cache](kind.config)
    options = {"past_key_values": past, "disable_compile": True}
    with use_tables(kind, [[made.table, second.table]]):
        expected = generate(kind, prompt, max_new_tokens=6, use_cache=False)
        expected = torch.cat([expected, torch.tensor([question])], dim=1)
        expected = generate(kind, expected, max_new_tokens=8, use_cache=False)
        said = generate(kind, prompt, max_new_tokens=6, **options)
        said = torch.cat([said, torch.tensor([question])], dim=1)
        known = len(first) - 1
        mask = torch.ones_like(said)
        with watching(kind) as reads:
            new = said[:, known:] if only_new else said
            answer = generate(kind, new, attention_mask=mask, max_new_tokens=8, **options)
    assert torch.equal(answer, expected[:, known:] if only_new else expected)
    found, _ = reads.joined()
    wanted, _ = expected_reads(kind, expected[:, :-1], None, [[made, second]])
    assert torch.equal(found, wanted[:, -found.shape[1] :])
    assert found.shape[1] < wanted.shape[1]
    assert bool(found.any())


def test_a_static_cache_that_is_reset_starts_a_new_history(kind, prompt):
    made, whole = table_along(kind, prompt, STEPS)
    cache = StaticCache(config=kind.config, max_cache_len=64)
    with use_tables(kind, made.table):
        for _ in range(2):
            assert generate(kind, prompt, past_key_values=cache)[0].tolist() == whole
            cache.reset()


def test_one_prefix_cache_serves_several_prompts(kind, tokenizer, prompt):
    """As transformers' documentation tells: copied for each prompt that begins with it."""
    made = frequent(kind)
    prefix = DynamicCache(config=kind.config)
    with use_tables(kind, made.table), torch.no_grad():
        kind(torch.tensor([prompt]), past_key_values=prefix)
        for text in PROMPTS[1:]:
            ids = prompt + tokenizer(text)["input_ids"]
            said = generate(kind, ids, past_key_values=copy.deepcopy(prefix))
            assert torch.equal(said, generate(kind, ids, use_cache=False))
    assert not torch.equal(generate(kind, ids), said)


def test_contrasting_tables_on_one_cache_read_what_is_active(kind, prompt):
    """The history is the text's, whatever tables were active while the cache was filled."""
    made, whole = table_along(kind, prompt, STEPS)
    ids, cache = torch.tensor([whole[:-1]]), DynamicCache(config=kind.config)
    half = len(prompt) + 4
    with torch.no_grad():
        with engram_disabled(kind):
            kind(ids[:, :half], past_key_values=cache)
        with use_tables(kind, made.table), watching(kind) as reads:
            kind(ids[:, half:], past_key_values=cache)
    wanted, _ = expected_reads(kind, ids, None, [[made]])
    assert torch.equal(reads.found[0], wanted[:, half:])
    assert bool(reads.found[0].any())


# Caches that can't be read


def test_a_cache_filled_before_add_engram_is_refused(tiny_model, tokenizer, prompt):
    cache = DynamicCache()
    with torch.no_grad():
        tiny_model(torch.tensor([prompt]), past_key_values=cache)
    model = add_engram(tiny_model, tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    made = frequent(model)
    with (
        use_tables(model, made.table),
        torch.no_grad(),
        pytest.raises(CacheHistoryError, match=rf"holds {len(prompt)} tokens.* saw 0") as seen,
    ):
        model(torch.tensor([[5]]), past_key_values=cache)
    assert (seen.value.cached, seen.value.seen) == (len(prompt), 0)
    with torch.no_grad():
        model(torch.tensor([[5]]), past_key_values=cache)  # without tables nobody needs to know


def test_a_static_cache_filled_before_add_engram_is_refused(tiny_llama, tokenizer, prompt):
    cache = StaticCache(config=tiny_llama.config, max_cache_len=64)
    with torch.no_grad():
        tiny_llama(torch.tensor([prompt]), past_key_values=cache)
    model = add_engram(tiny_llama, tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    made = frequent(model)
    with (
        use_tables(model, made.table),
        torch.no_grad(),
        pytest.raises(CacheHistoryError, match=rf"holds {len(prompt)} tokens"),
    ):
        model(torch.tensor([[5]]), past_key_values=cache)


def test_a_cache_of_another_batch_size_is_refused(llama, prompt):
    made, cache = frequent(llama), DynamicCache()
    with use_tables(llama, made.table), torch.no_grad():
        llama(torch.tensor([prompt]), past_key_values=cache)
        for layer in cache.layers:  # behind the back of the cache's own methods
            layer.keys, layer.values = (t.repeat(2, 1, 1, 1) for t in (layer.keys, layer.values))
        with pytest.raises(UnsupportedCacheError, match="holds 1 sequences, the batch has 2"):
            llama(torch.tensor([[5], [6]]), past_key_values=cache)

"""The contract for padding and packing: rows are read along a text, never across its ends."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
import versions
from decoding import (
    CACHES,
    KINDS,
    PROMPTS,
    STEPS,
    assert_reads,
    frequent,
    generate,
    padded,
    positions_of,
    with_answer,
)
from reference import expected_reads
from tables import LAYERS, ROW_DIM, watching
from torch.testing import assert_close
from transformers import DataCollatorWithFlattening, DynamicCache

from engram_transformers import add_engram, use_tables


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def model(tiny_model, tokenizer):
    return add_engram(tiny_model, tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture(params=KINDS)
def kind(request, tokenizer):
    """A model of each kind of layers, where nothing else matters."""
    return add_engram(tiny.tiny_model(request.param), tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return add_engram(tiny_llama, tokenizer, layers=LAYERS, row_dim=ROW_DIM)


# Padding


def test_left_padded_batches_say_what_each_prompt_says_alone(model, tokenizer):
    made = [frequent(model, seed) for seed in range(3)]
    batch = padded(tokenizer, "left")
    with use_tables(model, [one.table for one in made]), watching(model) as reads:
        output = generate(model, batch.input_ids, attention_mask=batch.attention_mask)
    mask = with_answer(batch.attention_mask)
    expected = expected_reads(model, output[:, :-1], mask, [[one] for one in made])
    assert_reads(reads, expected, STEPS)
    for sample, text in enumerate(PROMPTS):
        with use_tables(model, made[sample].table):
            alone = generate(model, tokenizer(text)["input_ids"])
        assert output[sample, -STEPS:].tolist() == alone[0, -STEPS:].tolist()


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_forwards_read_nothing_at_padding(model, tokenizer, side):
    made = frequent(model)
    batch = padded(tokenizer, side)
    with use_tables(model, made.table), watching(model) as reads, torch.no_grad():
        model(**batch)
    expected = expected_reads(model, batch.input_ids, batch.attention_mask, [[made]] * 3)
    assert_reads(reads, expected, 3)
    assert not bool((reads.found[0] & (batch.attention_mask == 0)).any())


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_sample": True, "top_k": 20},
        {"num_beams": 3},
        {"do_sample": True, "num_return_sequences": 2},
        {"cache_implementation": "static", "disable_compile": True},
        pytest.param({"prefill_chunk_size": 3}, marks=versions.CHUNKED_PREFILL),
    ],
    ids=lambda options: " ".join(options) or "greedy",
)
def test_padding_on_either_side_is_read_alike_in_every_mode(llama, tokenizer, side, options):
    """An answer behind right padding begins a text: no n-gram reaches across the padding."""
    made = frequent(llama)
    batch = padded(tokenizer, side)
    copies = options.get("num_return_sequences", 1)
    options = {"attention_mask": batch.attention_mask, **options}
    exact = {**options, "use_cache": False}
    for name in ("cache_implementation", "prefill_chunk_size"):
        exact.pop(name, None)
    said = []
    for settings in (options, exact):
        torch.manual_seed(2)
        with use_tables(llama, made.table), watching(llama) as reads:
            said.append(generate(llama, batch.input_ids, **settings))
    assert torch.equal(*said)
    if "num_beams" not in options:
        mask = with_answer(batch.attention_mask.repeat_interleave(copies, dim=0))
        stacks = [[made]] * len(mask)
        expected = expected_reads(llama, said[0][:, :-1], mask, stacks)
        # Without a cache, the last call reads the whole text.
        assert torch.equal(reads.found[-1], expected[0])
        assert torch.equal(reads.rows[-1], expected[1])
    torch.manual_seed(2)
    assert not torch.equal(generate(llama, batch.input_ids, **options), said[0])


@pytest.mark.parametrize(
    "family",
    [
        "llama",
        "gemma3",
        "mistral",
    ],
)
def test_an_answer_behind_right_padding_is_read_alike_with_a_static_cache(family, tokenizer):
    """The model sees a 4-D mask, and the answer's positions go on at 1."""
    model = add_engram(tiny.tiny_model(family), tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    batch = padded(tokenizer, "right")
    options = {"attention_mask": batch.attention_mask}
    static = {**options, "cache_implementation": "static", "disable_compile": True}
    with use_tables(model, frequent(model).table):
        said = generate(model, batch.input_ids, **static)
        assert torch.equal(said, generate(model, batch.input_ids, use_cache=False, **options))
    assert not torch.equal(generate(model, batch.input_ids, **static), said)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("cache", ["dynamic as the model is", "static"])
def test_hand_written_loops_read_padded_batches_as_recomputation_does(kind, tokenizer, side, cache):
    made = [frequent(kind, seed) for seed in range(3)]
    batch = padded(tokenizer, side)
    ids, mask, past = batch.input_ids, batch.attention_mask, CACHES[cache](kind.config)
    new, steps = ids, 6
    place = mask.cumsum(1).argmax(1) if side == "right" else torch.full((3,), -1)
    with use_tables(kind, [one.table for one in made]), watching(kind) as reads, torch.no_grad():
        for _ in range(steps):
            output = kind(
                new,
                attention_mask=mask,
                position_ids=positions_of(mask)[:, -new.shape[1] :],
                past_key_values=past,
                use_cache=True,
            )
            past = output.past_key_values
            last = output.logits[torch.arange(3), place if new is ids else -1]
            new = last.argmax(-1, keepdim=True)
            ids, mask = torch.cat([ids, new], dim=1), with_answer(mask, 1)
        full = kind(ids[:, :-1], attention_mask=mask[:, :-1],
                    position_ids=positions_of(mask)[:, :-1], use_cache=False)  # fmt: skip
    expected = expected_reads(kind, ids[:, :-1], mask[:, :-1], [[one] for one in made])
    seen = type(reads)(reads.found[:-1], reads.rows[:-1])
    assert_reads(seen, expected, 5)
    assert torch.equal(reads.found[-1], expected[0])
    assert_close(output.logits[:, -1], full.logits[:, -1], rtol=1e-4, atol=1e-4)


def test_padding_within_a_text_is_not_read_across(kind, tokenizer):
    """As in a batch of second turns, each padded on the right of the first."""
    made = frequent(kind)
    first, second = padded(tokenizer, "right"), padded(tokenizer, "left", PROMPTS[::-1])
    ids = torch.cat([first.input_ids, second.input_ids], dim=1)
    mask = torch.cat([first.attention_mask, second.attention_mask], dim=1)
    positions, cut = positions_of(mask), first.input_ids.shape[1]
    cache = DynamicCache(config=kind.config)
    with use_tables(kind, made.table), watching(kind) as reads, torch.no_grad():
        for part in (slice(0, cut), slice(cut, None)):
            output = kind(
                ids[:, part],
                attention_mask=mask[:, : part.stop],
                position_ids=positions[:, part],
                past_key_values=cache,
            )
    assert_reads(reads, expected_reads(kind, ids, mask, [[made]] * 3), 5)
    with use_tables(kind, made.table), torch.no_grad():
        full = kind(ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    assert_close(output.logits[:, -1], full[:, -1], rtol=1e-4, atol=1e-4)


# Packing


def packed_parts(tokenizer: Any) -> list[list[int]]:
    return [tokenizer(text)["input_ids"] for text in (*PROMPTS, PROMPTS[0])]


def packed_reads(model: Any, parts: list[list[int]], made: Any) -> tuple[torch.Tensor, ...]:
    """What each part reads alone, one behind the other."""
    alone = [expected_reads(model, torch.tensor([part]), None, [[made]]) for part in parts]
    return tuple(torch.cat([one[n] for one in alone], dim=1) for n in range(2))


def test_packed_sequences_do_not_read_across_their_borders(model, tokenizer):
    made, parts = frequent(model), packed_parts(tokenizer)
    packed = torch.tensor([[token for part in parts for token in part]])
    positions = torch.tensor([[i for part in parts for i in range(len(part))]])
    with use_tables(model, made.table), torch.no_grad():
        with watching(model) as reads:
            logits = model(packed, position_ids=positions, use_cache=False).logits
        alone = [model(torch.tensor([part])).logits for part in parts]
    assert_reads(reads, packed_reads(model, parts, made), 5)
    unpacked, _ = expected_reads(model, packed, None, [[made]])
    assert not torch.equal(reads.found[0], unpacked)  # the borders matter here
    assert_close(logits, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-4)


def test_packed_batches_have_borders_of_their_own_in_each_row(llama, tokenizer):
    made, parts = frequent(llama), packed_parts(tokenizer)
    orders = [parts, parts[::-1]]
    packed = torch.tensor([[token for part in row for token in part] for row in orders])
    positions = torch.tensor([[i for part in row for i in range(len(part))] for row in orders])
    with use_tables(llama, [made.table, made.table]), watching(llama) as reads, torch.no_grad():
        llama(packed, position_ids=positions, use_cache=False)
    expected = [packed_reads(llama, row, made) for row in orders]
    assert_reads(reads, tuple(torch.cat(one) for one in zip(*expected, strict=True)), 10)


@pytest.mark.parametrize("size", [1, 4])
def test_packed_sequences_in_chunks_keep_their_borders(llama, tokenizer, size):
    made, parts = frequent(llama), packed_parts(tokenizer)
    packed = torch.tensor([[token for part in parts for token in part]])
    positions = torch.tensor([[i for part in parts for i in range(len(part))]])
    cache = DynamicCache()
    with use_tables(llama, made.table), watching(llama) as reads, torch.no_grad():
        for chunk, place in zip(packed.split(size, 1), positions.split(size, 1), strict=True):
            llama(chunk, position_ids=place, past_key_values=cache)
    assert_reads(reads, packed_reads(llama, parts, made), 5)


def test_flattened_batches_read_each_example_alone(llama, tokenizer):
    """As trainers without padding make them, with what flash attention wants to know beside."""
    made, parts = frequent(llama), packed_parts(tokenizer)
    collate = DataCollatorWithFlattening(return_flash_attn_kwargs=True)
    batch = collate([{"input_ids": part} for part in parts], return_tensors="pt")
    assert "cu_seq_lens_q" in batch
    batch.pop("labels")
    with use_tables(llama, made.table), watching(llama) as reads, torch.no_grad():
        llama(**batch, use_cache=False)
    assert_reads(reads, packed_reads(llama, parts, made), 5)

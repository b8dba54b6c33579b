"""The contract's second half: cached decoding reads what recomputation from the full text reads.

Every test runs on each family of models. Rows are random and large, so a row that is read at a
wrong position, or not read, changes what is said; and what the memory was given is compared with
the plain-Python reader of `reference`.
"""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from reference import expected_reads
from tables import LAYERS, ROW_DIM, Synthetic, frequent_ngrams, make_table, table_along, watching
from torch.testing import assert_close
from transformers import DynamicCache, StaticCache

from engram_transformers import add_engram, engram_disabled, use_tables
from engram_transformers.errors import CacheHistoryError, UnsupportedCacheError

PROMPTS = ("Mira's favourite spice is", "The library opens at nine. My number is", "Where do I")
STEPS = 14


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def model(tiny_model, tokenizer):
    return add_engram(tiny_model, tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return add_engram(tiny_llama, tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def prompt(tokenizer) -> list[int]:
    return tokenizer(PROMPTS[0])["input_ids"]


def frequent(model: Any, seed: int = 0, **options: Any) -> Synthetic:
    """A table of which about a third of all positions read a row."""
    return make_table(
        model, frequent_ngrams(model, seed), seed=seed, distinct_rows=64, scale=1.0, **options
    )


def generate(model: Any, ids: Any, **options: Any) -> Any:
    input_ids = torch.tensor([ids]) if isinstance(ids, list) else ids
    settings = {
        "max_new_tokens": STEPS,
        "do_sample": False,
        "eos_token_id": None,
        "pad_token_id": 2,
        "attention_mask": torch.ones_like(input_ids),
        **options,
    }
    return model.generate(input_ids, **settings)


def padded(tokenizer: Any, side: str, texts: tuple[str, ...] = PROMPTS) -> Any:
    return tokenizer(list(texts), return_tensors="pt", padding=True, padding_side=side)


def assert_reads(reads: Any, expected: tuple[torch.Tensor, torch.Tensor], at_least: int) -> None:
    found, rows = reads.joined()
    assert torch.equal(found, expected[0])
    assert torch.equal(rows, expected[1])
    assert int(found.sum()) >= at_least


def test_greedy_generation_reads_as_recomputation_does(model, prompt):
    made, whole = table_along(model, prompt, STEPS)
    with use_tables(model, made.table), watching(model) as reads:
        output = generate(model, prompt)
    assert output[0].tolist() == whole
    assert_reads(reads, expected_reads(model, output[:, :-1], None, [[made]]), STEPS // 2)
    with use_tables(model, made.table):
        assert torch.equal(generate(model, prompt, use_cache=False), output)
    assert not torch.equal(generate(model, prompt), output)


def test_sampling_with_one_seed_says_the_same_with_and_without_a_cache(model, prompt):
    made = frequent(model)
    said = []
    for use_cache in (True, False):
        torch.manual_seed(7)
        with use_tables(model, made.table), watching(model) as reads:
            said.append(generate(model, prompt, do_sample=True, top_k=20, use_cache=use_cache))
        if use_cache:
            expected = expected_reads(model, said[0][:, :-1], None, [[made]])
            assert_reads(reads, expected, STEPS // 4)
    assert torch.equal(*said)


def test_beams_say_the_same_with_and_without_a_cache(model, tokenizer):
    one, other = frequent(model), frequent(model, 1)
    batch = padded(tokenizer, "left", PROMPTS[:2])
    options = {
        "attention_mask": batch.attention_mask,
        "num_beams": 3,
        "num_return_sequences": 2,
        "return_dict_in_generate": True,
        "output_scores": True,
    }
    stacks = [[one.table], [other.table, one.table]]
    with use_tables(model, stacks):
        cached = generate(model, batch.input_ids, **options)
    plain = generate(model, batch.input_ids, **options)
    for sample, stack in enumerate(stacks):
        both = slice(2 * sample, 2 * sample + 2)
        options["attention_mask"] = batch.attention_mask[[sample]]
        # The same stack for each beam: without a cache, copies of a sample can't be told apart.
        with use_tables(model, [stack] * 3):
            alone = generate(model, batch.input_ids[[sample]], use_cache=False, **options)
        assert torch.equal(cached.sequences[both], alone.sequences)
        assert_close(cached.sequences_scores[both], alone.sequences_scores, rtol=1e-4, atol=1e-4)
        assert not torch.equal(cached.sequences[both], plain.sequences[both])


def test_returned_sequences_keep_the_tables_of_their_sample(model, tokenizer):
    made = frequent(model)
    batch = padded(tokenizer, "left", PROMPTS[:2])
    options = {
        "attention_mask": batch.attention_mask,
        "do_sample": True,
        "num_return_sequences": 3,
    }
    torch.manual_seed(3)
    with use_tables(model, [None, made.table]), watching(model) as reads:
        output = generate(model, batch.input_ids, **options)
    mask = batch.attention_mask.repeat_interleave(3, dim=0)
    mask = torch.nn.functional.pad(mask, (0, STEPS - 1), value=1)
    stacks = [[]] * 3 + [[made]] * 3
    assert_reads(reads, expected_reads(model, output[:, :-1], mask, stacks), 3)
    assert len({tuple(sequence) for sequence in output[3:].tolist()}) > 1


@pytest.mark.parametrize(("with_mask", "own_cache"), [(True, False), (False, True)])
def test_hand_written_loops_say_what_recomputation_says(model, prompt, with_mask, own_cache):
    made, whole = table_along(model, prompt, STEPS)
    ids, new, cache = list(prompt), list(prompt), DynamicCache() if own_cache else None
    with use_tables(model, made.table), torch.no_grad():
        for _ in range(STEPS):
            mask = torch.ones(1, len(ids), dtype=torch.int64) if with_mask else None
            output = model(
                torch.tensor([new]), attention_mask=mask, past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            new = [int(output.logits[0, -1].argmax())]
            ids += new
    assert ids == whole


@pytest.mark.parametrize("sizes", [(3, 4, 1), (1,)])
def test_prefill_in_chunks_gives_the_logits_of_one_forward(model, prompt, sizes):
    made, whole = table_along(model, prompt, STEPS)
    ids = torch.tensor([whole])
    cache, parts = DynamicCache(config=model.config), []
    chunks, left = [], len(whole)
    while left:
        chunks.append(min(sizes[len(chunks) % len(sizes)], left))
        left -= chunks[-1]
    with use_tables(model, made.table), torch.no_grad():
        full = model(ids, use_cache=False).logits
        for chunk in ids.split(chunks, dim=1):
            parts.append(model(chunk, past_key_values=cache, use_cache=True).logits)
    assert_close(torch.cat(parts, dim=1), full, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert not torch.allclose(model(ids).logits, full, atol=1e-2)


def test_generate_with_chunked_prefill_says_the_same(model, prompt):
    made, whole = table_along(model, prompt, STEPS)
    with use_tables(model, made.table):
        assert generate(model, prompt, prefill_chunk_size=3)[0].tolist() == whole


def test_a_cache_reused_for_the_next_turn_keeps_the_history(model, prompt, tokenizer):
    made, first = table_along(model, prompt, 6)
    question = tokenizer(" And her sister's")["input_ids"]
    second, _ = table_along(model, first + question, 8, seed=5)
    cache = DynamicCache(config=model.config)
    with use_tables(model, [[made.table, second.table]]):
        expected = generate(model, prompt, max_new_tokens=6, use_cache=False)
        expected = torch.cat([expected, torch.tensor([question])], dim=1)
        expected = generate(model, expected, max_new_tokens=8, use_cache=False)
        said = generate(model, prompt, max_new_tokens=6, past_key_values=cache)
        said = torch.cat([said, torch.tensor([question])], dim=1)
        with watching(model) as reads:
            said = generate(model, said, max_new_tokens=8, past_key_values=cache)
    assert torch.equal(said, expected)
    found, _ = reads.joined()
    wanted, _ = expected_reads(model, said[:, :-1], None, [[made, second]])
    assert torch.equal(found, wanted[:, -found.shape[1] :])
    assert found.shape[1] < wanted.shape[1]
    assert bool(found.any())


def test_a_cache_that_is_rolled_back_forgets_what_was_cut(model, prompt):
    made, whole = table_along(model, prompt, STEPS)
    ids, wrong = torch.tensor([whole[:-1]]), torch.tensor([[9, 10, 11]])
    keep = len(prompt) + 3
    cache = DynamicCache()
    with use_tables(model, made.table), torch.no_grad():
        full = model(ids, use_cache=False).logits
        model(ids[:, :keep], past_key_values=cache)
        model(wrong, past_key_values=cache)
        cache.crop(-3)
        after = model(ids[:, keep:], past_key_values=cache).logits
    assert_close(after, full[:, keep:], rtol=1e-4, atol=1e-4)


def test_left_padded_batches_say_what_each_prompt_says_alone(model, tokenizer):
    made = [frequent(model, seed) for seed in range(3)]
    batch = padded(tokenizer, "left")
    with use_tables(model, [one.table for one in made]), watching(model) as reads:
        output = generate(model, batch.input_ids, attention_mask=batch.attention_mask)
    mask = torch.nn.functional.pad(batch.attention_mask, (0, STEPS - 1), value=1)
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


def test_packed_sequences_do_not_read_across_their_borders(llama, tokenizer):
    made = frequent(llama)
    parts = [tokenizer(text)["input_ids"] for text in PROMPTS]
    packed = torch.tensor([[token for part in parts for token in part]])
    positions = torch.tensor([[i for part in parts for i in range(len(part))]])
    with use_tables(llama, made.table), watching(llama) as reads, torch.no_grad():
        llama(packed, position_ids=positions, use_cache=False)
    found, rows = reads.joined()
    expected = [expected_reads(llama, torch.tensor([part]), None, [[made]]) for part in parts]
    assert torch.equal(found, torch.cat([one for one, _ in expected], dim=1))
    assert torch.equal(rows, torch.cat([one for _, one in expected], dim=1))
    unpacked, _ = expected_reads(llama, packed, None, [[made]])
    assert not torch.equal(found, unpacked)  # the borders matter here


@pytest.mark.parametrize("padding", [False, True])
def test_static_caches_say_what_dynamic_ones_say(model, tokenizer, padding):
    made = frequent(model)
    batch = padded(tokenizer, "left", PROMPTS if padding else PROMPTS[:1])
    options = {"attention_mask": batch.attention_mask, "disable_compile": True}
    with use_tables(model, made.table):
        dynamic = generate(model, batch.input_ids, **options)
        with watching(model) as reads:
            static = generate(model, batch.input_ids, cache_implementation="static", **options)
    assert torch.equal(static, dynamic)
    mask = torch.nn.functional.pad(batch.attention_mask, (0, STEPS - 1), value=1)
    expected = expected_reads(model, static[:, :-1], mask, [[made]] * len(static))
    assert_reads(reads, expected, STEPS // 4)


def test_a_static_cache_that_is_reset_starts_a_new_history(llama, prompt):
    made, whole = table_along(llama, prompt, STEPS)
    cache = StaticCache(config=llama.config, max_cache_len=64)
    with use_tables(llama, made.table):
        for _ in range(2):
            assert generate(llama, prompt, past_key_values=cache)[0].tolist() == whole
            cache.reset()


def test_prompt_lookup_says_what_greedy_says(model, prompt):
    made, whole = table_along(model, prompt + prompt, STEPS)
    with use_tables(model, made.table):
        said = generate(model, prompt + prompt, prompt_lookup_num_tokens=3)
    assert said[0].tolist() == whole


@pytest.mark.parametrize("patched_assistant", [False, True])
def test_assisted_decoding_says_what_greedy_says(model, prompt, tokenizer, patched_assistant):
    made, whole = table_along(model, prompt, STEPS)
    assistant: Any = tiny.tiny_model(model.config.model_type.removesuffix("_text"), seed=0)
    if patched_assistant:
        add_engram(assistant, tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    with use_tables(model, made.table):
        said = generate(model, prompt, assistant_model=assistant)
    assert said[0].tolist() == whole


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
def test_sliding_windows_keep_the_history_beyond_the_window(family, tokenizer, prompt):
    model = add_engram(tiny.tiny_model(family), tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    steps = tiny.SLIDING_WINDOW + 10
    orders = (2, 5, tiny.SLIDING_WINDOW + 6)
    made, whole = table_along(model, prompt, steps, orders=orders, every=3)
    for implementation in (None, "static"):
        options = {"cache_implementation": implementation} if implementation else {}
        with use_tables(model, made.table), watching(model) as reads:
            said = generate(model, prompt, max_new_tokens=steps, disable_compile=True, **options)
        assert said[0].tolist() == whole
        assert_reads(reads, expected_reads(model, said[:, :-1], None, [[made]]), steps // 3)


def test_contrasting_tables_on_one_cache_read_what_is_active(llama, prompt):
    """The history is the text's, whatever tables were active while the cache was filled."""
    made, whole = table_along(llama, prompt, STEPS)
    ids, cache = torch.tensor([whole[:-1]]), DynamicCache()
    half = len(prompt) + 4
    with torch.no_grad():
        with engram_disabled(llama):
            llama(ids[:, :half], past_key_values=cache)
        with use_tables(llama, made.table), watching(llama) as reads:
            llama(ids[:, half:], past_key_values=cache)
    wanted, _ = expected_reads(llama, ids, None, [[made]])
    assert torch.equal(reads.found[0], wanted[:, half:])
    assert bool(reads.found[0].any())


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

"""The contract for banks in decoding: what a cache holds, a bank knows as if it read it anew.

Weights are random and large, the convolution's filters too, so a past that is lost, shifted, or
taken from another sequence changes what is said.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny
import torch
import versions
import zoo
from banked import fill_banks, with_banks
from decoding import CACHES, KINDS, NOTHING_SAID, PROMPTS, STEPS, generate, padded
from torch.testing import assert_close
from transformers import DynamicCache, StaticCache

from engram_transformers import add_engram, engram_disabled
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import CacheHistoryError, HistoryError, MissingInputIdsError
from engram_transformers.history import ledger_of


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def model(tiny_model, tokenizer):
    return with_banks(tiny_model, tokenizer)


@pytest.fixture(params=KINDS)
def kind(request, tokenizer):
    """A model of each kind of layers, where nothing else matters."""
    return with_banks(tiny.tiny_model(request.param), tokenizer)


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return with_banks(tiny_llama, tokenizer)


@pytest.fixture
def prompt(tokenizer) -> list[int]:
    return tokenizer(PROMPTS[0])["input_ids"]


def bare(model: Any, ids: Any, **options: Any) -> torch.Tensor:
    """What the model says without its banks."""
    with engram_disabled(model):
        return generate(model, ids, **options)


@torch.no_grad()
def logits_of(model: Any, ids: torch.Tensor, **arguments: Any) -> torch.Tensor:
    return model(ids, use_cache=False, **arguments).logits


@torch.no_grad()
def in_chunks(model: Any, ids: torch.Tensor, sizes: tuple[int, ...], past: Any) -> torch.Tensor:
    parts, place = [], 0
    while place < ids.shape[1]:
        chunk = ids[:, place : place + sizes[len(parts) % len(sizes)]]
        output = model(chunk, past_key_values=past, use_cache=True)
        past = output.past_key_values
        parts.append(output.logits)
        place += chunk.shape[1]
    return torch.cat(parts, dim=1)


# Ways in which `generate` chooses tokens


def test_greedy_generation_says_the_same_with_and_without_a_cache(model, prompt):
    said = generate(model, prompt)
    assert torch.equal(generate(model, prompt, use_cache=False), said)
    assert not torch.equal(bare(model, prompt), said)


def test_sampling_with_one_seed_says_the_same_with_and_without_a_cache(kind, prompt):
    said = []
    for use_cache in (True, False):
        torch.manual_seed(7)
        said.append(generate(kind, prompt, do_sample=True, top_k=20, use_cache=use_cache))
    assert torch.equal(*said)
    torch.manual_seed(7)
    assert not torch.equal(bare(kind, prompt, do_sample=True, top_k=20), said[0])


@pytest.mark.parametrize("implementation", ["static", None])
@pytest.mark.parametrize(
    "extra", [{"num_beams": 3}, {"do_sample": True, "num_return_sequences": 3}], ids=str
)
def test_beams_and_copies_carry_their_own_past(kind, tokenizer, implementation, extra):
    batch = padded(tokenizer, "left", PROMPTS[:2])
    options = {"attention_mask": batch.attention_mask, "disable_compile": True, **extra}
    said = []
    for more in ({"cache_implementation": implementation}, {"use_cache": False}):
        torch.manual_seed(1)
        said.append(generate(kind, batch.input_ids, **options, **more))
    assert torch.equal(*said)
    torch.manual_seed(1)
    assert not torch.equal(bare(kind, batch.input_ids, **options), said[0])


@pytest.mark.parametrize("way", ["assisted", "lookup"])
def test_drafts_that_are_rejected_are_forgotten(kind, prompt, way):
    text = (prompt * 2)[: tiny.SLIDING_WINDOW - STEPS - 4]
    options: dict[str, Any] = {"prompt_lookup_num_tokens": 3, "eos_token_id": NOTHING_SAID}
    if way == "assisted":
        family = kind.config.model_type.removesuffix("_text")
        options = {"assistant_model": tiny.tiny_model(family)}
        options["assistant_model"].generation_config.assistant_confidence_threshold = 0.0
    said = generate(kind, text, **options)
    assert torch.equal(said, generate(kind, text, use_cache=False))
    assert not torch.equal(bare(kind, text), said)


@versions.EARLY_EXIT
@pytest.mark.parametrize("early_exit", [1, 2, 3])
def test_an_early_exit_of_the_model_itself_says_what_greedy_says(llama, prompt, early_exit):
    said = generate(llama, prompt, assistant_early_exit=early_exit)
    assert torch.equal(said, generate(llama, prompt, use_cache=False))


def test_left_padding_changes_nothing_that_is_said(kind, tokenizer):
    batch = padded(tokenizer, "left")
    together = generate(kind, batch.input_ids, attention_mask=batch.attention_mask)
    for sample, text in enumerate(PROMPTS):
        ids = tokenizer(text)["input_ids"]
        alone = generate(kind, ids)
        assert together[sample, -STEPS:].tolist() == alone[0, -STEPS:].tolist()
        assert not torch.equal(bare(kind, ids), alone)


# Caches


@pytest.mark.parametrize("cache", [name for name in CACHES if name != "quantized"])
@pytest.mark.parametrize("sizes", [(5, 1, 7), (1,)])
def test_chunks_of_any_size_fill_every_cache_alike(kind, prompt, sizes, cache):
    ids = generate(kind, prompt)
    full = logits_of(kind, ids)
    seen = in_chunks(kind, ids, sizes, CACHES[cache](kind.config))
    assert_close(seen, full, rtol=1e-4, atol=1e-4)
    with engram_disabled(kind):
        assert not torch.allclose(logits_of(kind, ids), full, atol=1e-1)


def test_every_family_reads_chunks_as_a_whole(model, prompt):
    ids = torch.tensor([prompt * 2])
    past = DynamicCache(config=model.config)
    assert_close(
        in_chunks(model, ids, (3, 4, 1), past), logits_of(model, ids), rtol=1e-4, atol=1e-4
    )


def test_static_caches_say_what_dynamic_ones_say(kind, tokenizer):
    batch = padded(tokenizer, "left")
    options = {"attention_mask": batch.attention_mask, "disable_compile": True}
    static = generate(kind, batch.input_ids, cache_implementation="static", **options)
    assert torch.equal(static, generate(kind, batch.input_ids, **options))
    assert torch.equal(static, generate(kind, batch.input_ids, use_cache=False, **options))


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
def test_a_past_beyond_the_sliding_window_is_known(family, tokenizer, prompt):
    kind = with_banks(tiny.tiny_model(family), tokenizer, bank_order=4, bank_dim=24)
    options = {"max_new_tokens": tiny.SLIDING_WINDOW + 10, "disable_compile": True}
    said = generate(kind, prompt, **options)
    assert torch.equal(generate(kind, prompt, use_cache=False, **options), said)
    assert torch.equal(generate(kind, prompt, cache_implementation="static", **options), said)


@versions.CHUNKED_PREFILL
@pytest.mark.parametrize("implementation", [None, "static"])
def test_generate_with_chunked_prefill_says_the_same(kind, tokenizer, implementation):
    batch = padded(tokenizer, "left")
    options = {"attention_mask": batch.attention_mask, "disable_compile": True}
    expected = generate(kind, batch.input_ids, **options)
    options |= {"prefill_chunk_size": 2, "cache_implementation": implementation}
    assert torch.equal(generate(kind, batch.input_ids, **options), expected)


@pytest.mark.parametrize("only_new", [False, pytest.param(True, marks=versions.NEXT_TURN_ALONE)])
@pytest.mark.parametrize("cache", ["dynamic as the model is", "static"])
def test_the_next_turn_goes_on_from_the_cache(kind, prompt, tokenizer, cache, only_new):
    question = torch.tensor([tokenizer(" And her sister's")["input_ids"]])
    past = CACHES[cache](kind.config)
    options = {"past_key_values": past, "disable_compile": True}
    said = torch.cat([generate(kind, prompt, max_new_tokens=6, **options), question], dim=1)
    expected = generate(kind, said, use_cache=False)
    known = len(prompt) + 5
    new = said[:, known:] if only_new else said
    answer = generate(kind, new, attention_mask=torch.ones_like(said), **options)
    assert torch.equal(answer, expected[:, known:] if only_new else expected)


def test_a_cache_that_is_rolled_back_again_and_again_knows_what_is_left(kind, prompt):
    ids, wrong = torch.tensor([(prompt * 3)[:24]]), torch.tensor([[9, 10, 11, 12, 13]])
    full = logits_of(kind, ids)
    cache = DynamicCache()
    with torch.no_grad():
        kind(ids[:, :10], past_key_values=cache)
        for keep, up_to in ((9, 14), (12, 20), (3, 4), (2, 24), (0, 24)):
            kind(wrong, past_key_values=cache)
            cache.crop(keep - cache.get_seq_length())
            seen = kind(ids[:, keep:up_to], past_key_values=cache).logits
            assert_close(seen, full[:, keep:up_to], rtol=1e-4, atol=1e-4)


def test_the_past_follows_the_operations_of_a_cache(kind, prompt):
    ids = torch.tensor([(prompt * 2)[:14], list(range(20, 34)), list(range(80, 94))])
    rows = torch.tensor([2, 0, 0, 1])
    cache = DynamicCache()
    with torch.no_grad():
        kind(ids[:, :10], past_key_values=cache)
        copied = copy.deepcopy(cache)
        cache.reorder_cache(torch.tensor([2, 0, 1]))
        cache.reorder_cache(torch.tensor([1, 2, 0]))
        cache.batch_repeat_interleave(2)
        cache.batch_select_indices(2 * rows)
        seen = kind(ids[rows, 10:], past_key_values=cache).logits
        other = kind(ids[:, 10:], past_key_values=copied).logits
    full = logits_of(kind, ids)[:, 10:]
    assert_close(seen, full[rows], rtol=1e-4, atol=1e-4)
    assert_close(other, full, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind_of_cache", ["static", "dynamic as the model is"])
def test_a_cache_that_is_reset_starts_a_new_text(kind, prompt, kind_of_cache):
    if kind_of_cache != "static":
        versions.require_resets(kind.config)
    cache = CACHES[kind_of_cache](kind.config)
    ids = torch.tensor([prompt])
    with torch.no_grad():
        kind(torch.tensor([[9, 10, 11, 12, 13]]), past_key_values=cache)
        cache.reset()
        seen = kind(ids, past_key_values=cache).logits
    assert_close(seen, logits_of(kind, ids), rtol=1e-4, atol=1e-4)


@versions.STATE_SPACE_CACHE
@pytest.mark.parametrize("name", ["MambaForCausalLM", "Mamba2ForCausalLM", "JambaForCausalLM"])
def test_state_space_models_say_the_same_with_and_without_a_cache(name, tokenizer, prompt):
    model = zoo.species()[name].build()
    with_banks(model, tokenizer, layers=[0, -1])
    said = generate(model, prompt)
    assert torch.equal(generate(model, prompt, use_cache=False), said)
    assert not torch.equal(bare(model, prompt), said)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=versions.GEMMA3N_CACHE if name.startswith("Gemma3n") else ())
        for name in ("Qwen4ExpForCausalLM", "DeepseekV4ForCausalLM", "Gemma3nForCausalLM")
        if name in zoo.species()
    ],
)
def test_models_of_several_streams_say_the_same_with_and_without_a_cache(name, tokenizer, prompt):
    model = zoo.species()[name].build()
    ids = torch.tensor([prompt])
    with torch.no_grad():
        base = model(ids, use_cache=False).logits
        add_engram(model, tokenizer, layers=[1], memory_size=600, bank_heads=2, bank_dim=16)
        assert torch.equal(model(ids, use_cache=False).logits, base)
    fill_banks(model)
    assert require_attachment(model).banks[1].config.streams == 2
    said = generate(model, prompt)
    assert torch.equal(generate(model, prompt, use_cache=False), said)
    assert not torch.equal(bare(model, prompt), said)


@pytest.mark.parametrize("fields", [{"bank_kernel_size": 1}, {"bank_order": 2}, {"bank_order": 5}])
def test_banks_of_any_reach_say_the_same_with_and_without_a_cache(
    tiny_llama, tokenizer, prompt, fields
):
    model = with_banks(tiny_llama, tokenizer, max_order=1, **fields)
    said = generate(model, prompt)
    assert torch.equal(generate(model, prompt, use_cache=False), said)
    static = generate(model, prompt, cache_implementation="static", disable_compile=True)
    assert torch.equal(static, said)


def test_long_answers_join_what_is_kept(llama, prompt):
    """More steps than parts are kept apart."""
    cache = DynamicCache()
    said = generate(llama, prompt, max_new_tokens=150, past_key_values=cache)
    assert torch.equal(generate(llama, prompt, max_new_tokens=150, use_cache=False), said)
    assert ledger_of(cache).inputs.length((1, 0)) == said.shape[1] - 1


# Pasts that are not known


def test_a_cache_from_before_is_refused(tiny_llama, tokenizer, prompt):
    cache = DynamicCache()
    with torch.no_grad():
        tiny_llama(torch.tensor([prompt]), past_key_values=cache)
    model = with_banks(tiny_llama, tokenizer)
    with pytest.raises(CacheHistoryError, match="of which the memories saw 0") as seen:
        model(torch.tensor([[5]]), past_key_values=cache)
    assert seen.value.cached == len(prompt)
    assert cache.get_seq_length() == len(prompt)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_a_cache_from_where_banks_were_off_is_refused(llama, prompt, cache):
    ids, past = torch.tensor([prompt]), CACHES[cache](llama.config)
    with torch.no_grad():
        llama(ids, past_key_values=past)
        with engram_disabled(llama):
            llama(torch.tensor([[5]]), past_key_values=past)
        with pytest.raises(CacheHistoryError, match="while banks were switched off"):
            llama(torch.tensor([[6]]), past_key_values=past)
        if cache != "static":
            versions.require_resets(llama.config)
        past.reset()
        seen = llama(ids, past_key_values=past).logits
    assert_close(seen, logits_of(llama, ids), rtol=1e-4, atol=1e-4)


def test_what_was_added_while_banks_were_off_may_be_rolled_back(llama, prompt):
    ids, past = torch.tensor([prompt]), DynamicCache()
    with torch.no_grad():
        llama(ids[:, :-2], past_key_values=past)
        with engram_disabled(llama):
            llama(torch.tensor([[5, 6, 7]]), past_key_values=past)
        past.crop(-3)
        seen = llama(ids[:, -2:], past_key_values=past).logits
    assert_close(seen, logits_of(llama, ids)[:, -2:], rtol=1e-4, atol=1e-4)


def test_a_forward_that_failed_leaves_a_cache_that_is_refused(llama, prompt, monkeypatch):
    ids, past = torch.tensor([prompt]), DynamicCache()
    with torch.no_grad():
        llama(ids, past_key_values=past)
        with monkeypatch.context() as patch:
            patch.setattr(llama.model.norm, "forward", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                llama(torch.tensor([[5]]), past_key_values=past)
        with pytest.raises(CacheHistoryError, match=f"saw {len(prompt)}"):
            llama(torch.tensor([[6]]), past_key_values=past)


def test_calls_whose_tokens_are_unknown_are_refused(llama, prompt):
    embedded = llama.get_input_embeddings()(torch.tensor([prompt]))
    with pytest.raises(MissingInputIdsError, match="the model has a bank"):
        llama(inputs_embeds=embedded)
    with pytest.raises(HistoryError, match="outside of its model's forward"):
        llama.model.layers[1](embedded)
    with engram_disabled(llama), torch.no_grad():
        assert llama(inputs_embeds=embedded).logits.shape[1] == len(prompt)


@versions.CONTINUOUS_BATCHING
def test_continuous_batching_is_refused(llama, prompt):
    arguments = {"write_index": [torch.zeros(1)], "cache": object()}
    attachment = require_attachment(llama)
    with pytest.raises(HistoryError, match="Continuous batching does not read banks yet"):
        attachment.before_model(llama, (torch.tensor([prompt]),), arguments)


def test_a_block_that_runs_several_times_has_a_past_for_each_run(llama, prompt, monkeypatch):
    """As those of HRM do; and one that runs more often than before has none."""
    ids, past, times = torch.tensor([prompt]), DynamicCache(), [2]
    block = llama.model.layers[1]
    forward = block.forward

    def again(hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        if times[0] > 1:
            times[0] -= 1
            hidden_states = block(hidden_states, *args, **{**kwargs, "past_key_values": None})
            times[0] += 1
        return forward(hidden_states, *args, **kwargs)

    monkeypatch.setattr(block, "forward", again)
    with torch.no_grad():
        llama(ids[:, :-3], past_key_values=past)
        assert ledger_of(past).inputs.runs == ((1, 0), (1, 1), (3, 0))
        times[0] = 3
        with pytest.raises(CacheHistoryError, match="saw 0"):
            llama(ids[:, -3:], past_key_values=past)


def test_a_static_cache_keeps_a_window_of_fixed_memory(llama, prompt):
    past = StaticCache(config=llama.config, max_cache_len=32)
    places = set()
    with torch.no_grad():
        for token in prompt:
            llama(torch.tensor([[token]]), past_key_values=past)
            inputs = ledger_of(past).inputs
            places.add(tuple(inputs.last(key, 9).data_ptr() for key in inputs.runs))
            assert [inputs.last(key, 9).shape for key in inputs.runs] == [(1, 9, 1, 64)] * 2
    assert len(places) == 1

"""The contract for every kind of cache: what was said before is known, whatever holds the past."""

from __future__ import annotations

import contextlib
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
    with_answer,
)
from reference import expected_reads
from tables import LAYERS, ROW_DIM, canonical, make_table, table_along, watching
from torch.testing import assert_close
from transformers import DynamicCache, StaticCache

from engram_transformers import add_engram, use_tables

QUANTIZED = {
    "fp8": {"backend": "fp8"},
    "quanto": {"backend": "quanto", "nbits": 4, "q_group_size": 16, "residual_length": 4},
    "hqq": {
        "backend": "hqq",
        "nbits": 8,
        "q_group_size": 16,
        "residual_length": 4,
        "axis_key": 1,
        "axis_value": 1,
    },
}


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


@pytest.fixture
def prompt(tokenizer) -> list[int]:
    return tokenizer(PROMPTS[0])["input_ids"]


def require_quantizer(name: str) -> None:
    if name != "fp8":
        pytest.importorskip({"quanto": "optimum.quanto"}.get(name, name))


# Hand-written loops


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("cache", [name for name in CACHES if name != "quantized"])
def test_hand_written_loops_say_what_recomputation_says(kind, prompt, cache, with_mask):
    made, whole = table_along(kind, prompt, STEPS)
    ids, new, past = list(prompt), list(prompt), CACHES[cache](kind.config)
    with use_tables(kind, made.table), torch.no_grad():
        for _ in range(STEPS):
            mask = torch.ones(1, len(ids), dtype=torch.int64) if with_mask else None
            output = kind(
                torch.tensor([new]), attention_mask=mask, past_key_values=past, use_cache=True
            )
            past = output.past_key_values
            new = [int(output.logits[0, -1].argmax())]
            ids += new
    assert ids == whole
    assert generate(kind, prompt)[0].tolist() != whole


@pytest.mark.parametrize(
    "cache",
    [
        name if name != "quantized" else pytest.param(name, marks=versions.FP8_CACHE)
        for name in CACHES
    ],
)
def test_hand_written_loops_read_as_recomputation_does(llama, prompt, cache):
    """Also where a cache rounds what it holds, so that the text may be another one."""
    made = frequent(llama)
    new, past, said = list(prompt), CACHES[cache](llama.config), list(prompt)
    with use_tables(llama, made.table), watching(llama) as reads, torch.no_grad():
        for _ in range(STEPS):
            output = llama(torch.tensor([new]), past_key_values=past, use_cache=True)
            past = output.past_key_values
            new = [int(output.logits[0, -1].argmax())]
            said += new
    expected = expected_reads(llama, torch.tensor([said[:-1]]), None, [[made]])
    assert_reads(reads, expected, STEPS // 4)


@torch.no_grad()
def logits_in_chunks(model: Any, ids: torch.Tensor, sizes: tuple[int, ...], past: Any) -> Any:
    parts, place = [], 0
    while place < ids.shape[1]:
        chunk = ids[:, place : place + sizes[len(parts) % len(sizes)]]
        parts.append(model(chunk, past_key_values=past, use_cache=True).logits)
        place += chunk.shape[1]
    return torch.cat(parts, dim=1)


def test_prefill_in_chunks_gives_the_logits_of_one_forward(model, prompt):
    made, whole = table_along(model, prompt, STEPS)
    ids, past = torch.tensor([whole]), DynamicCache(config=model.config)
    with use_tables(model, made.table), torch.no_grad():
        full = model(ids, use_cache=False).logits
        assert_close(logits_in_chunks(model, ids, (3, 4, 1), past), full, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        assert not torch.allclose(model(ids).logits, full, atol=1e-2)


@pytest.mark.parametrize("cache", ["dynamic", "dynamic as the model is", "static"])
@pytest.mark.parametrize("sizes", [(5, 1, 7), (1,)])
def test_chunks_of_any_size_fill_every_cache_alike(kind, prompt, sizes, cache):
    made, whole = table_along(kind, prompt, STEPS)
    ids = torch.tensor([whole])
    with use_tables(kind, made.table), torch.no_grad():
        full = kind(ids, use_cache=False).logits
        seen = logits_in_chunks(kind, ids, sizes, CACHES[cache](kind.config))
    assert_close(seen, full, rtol=1e-4, atol=1e-4)
    bare = logits_in_chunks(kind, ids, sizes, CACHES[cache](kind.config))
    assert not torch.allclose(bare, full, atol=1e-2)


def test_two_texts_in_turn_do_not_read_each_others_history(llama, tokenizer):
    made = frequent(llama)
    texts = [torch.tensor([tokenizer(text)["input_ids"][:6]]) for text in PROMPTS[:2]]
    caches = [DynamicCache(), StaticCache(config=llama.config, max_cache_len=16)]
    seen: list[list[torch.Tensor]] = [[], []]
    with use_tables(llama, made.table), torch.no_grad():
        for place in range(6):
            for number in range(2):
                with watching(llama) as reads:
                    llama(texts[number][:, place : place + 1], past_key_values=caches[number])
                seen[number] += reads.found
    for number, text in enumerate(texts):
        wanted, _ = expected_reads(llama, text, None, [[made]])
        assert torch.equal(torch.cat(seen[number], dim=1), wanted)
    assert not torch.equal(*(torch.cat(one, dim=1) for one in seen))


# Caches that generate() makes


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
    mask = with_answer(batch.attention_mask)
    expected = expected_reads(model, static[:, :-1], mask, [[made]] * len(static))
    assert_reads(reads, expected, STEPS // 4)


@pytest.mark.parametrize("implementation", ["static", None])
def test_beams_and_copies_follow_every_cache(kind, tokenizer, implementation):
    made = [frequent(kind, seed) for seed in range(2)]
    batch = padded(tokenizer, "left", PROMPTS[:2])
    options = {
        "attention_mask": batch.attention_mask,
        "cache_implementation": implementation,
        "disable_compile": True,
    }
    for extra in ({"num_beams": 3}, {"do_sample": True, "num_return_sequences": 3}):
        said = []
        for table, use in ((made[0].table, options), (made[0].table, None), (None, options)):
            torch.manual_seed(1)
            with use_tables(kind, table):
                settings = use or {**options, "cache_implementation": None, "use_cache": False}
                said.append(generate(kind, batch.input_ids, **settings, **extra))
        assert torch.equal(said[0], said[1])
        assert not torch.equal(said[0], said[2])


# Of the quantizers and what they import.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    "backend",
    [pytest.param("fp8", marks=versions.FP8_CACHE), *(name for name in QUANTIZED if name != "fp8")],
)
def test_quantized_caches_read_as_recomputation_does(llama, prompt, backend):
    require_quantizer(backend)
    made = frequent(llama)
    options = {"cache_implementation": "quantized", "cache_config": QUANTIZED[backend]}
    with use_tables(llama, made.table), watching(llama) as reads:
        said = generate(llama, prompt, **options)
    assert_reads(reads, expected_reads(llama, said[:, :-1], None, [[made]]), STEPS // 4)
    assert not torch.equal(generate(llama, prompt, **options), said)


@versions.FP8_CACHE
def test_beams_follow_a_quantized_cache(llama, prompt):
    made = frequent(llama)
    options = {
        "cache_implementation": "quantized",
        "cache_config": {"backend": "fp8"},
        "num_beams": 3,
        "output_scores": True,
        "return_dict_in_generate": True,
    }
    with use_tables(llama, made.table):
        said = generate(llama, prompt, **options)
        exact = generate(llama, prompt, **{**options, "cache_implementation": None})
    plain = generate(llama, prompt, **options)
    assert_close(said.sequences_scores, exact.sequences_scores, rtol=0.1, atol=0.1)
    assert not torch.equal(said.sequences, plain.sequences)


class NoStream(contextlib.nullcontext[None]):
    """Stand in for a CUDA stream where there is no CUDA."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def wait_stream(self, other: Any) -> None:
        """Everything has happened already."""


@pytest.mark.parametrize("implementation", ["offloaded", "offloaded_static"])
@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_offloaded_caches_say_what_others_say(
    device, family, implementation, tokenizer, prompt, monkeypatch
):
    if device == "cpu":  # keys and values go out and in again, between one memory and itself
        for name in ("Stream", "cuda.Stream", "cuda.default_stream", "cuda.stream"):
            monkeypatch.setattr(f"torch.{name}", NoStream)
    base = tiny.tiny_model(family).to(device)
    model = add_engram(base, tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    made = frequent(model)
    ids = torch.tensor([prompt], device=device)
    options = {"cache_implementation": implementation, "disable_compile": True}
    with use_tables(model, made.table):
        said = generate(model, ids, **options)
        assert torch.equal(said, generate(model, ids, use_cache=False))
    assert not torch.equal(generate(model, ids, **options), said)


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


@versions.CHUNKED_PREFILL
@pytest.mark.parametrize("implementation", [None, "static"])
def test_generate_with_chunked_prefill_says_the_same(kind, tokenizer, implementation):
    """Some chunks hold nothing but the padding of a sample."""
    made = [frequent(kind, seed) for seed in range(3)]
    batch = padded(tokenizer, "left")
    options = {"attention_mask": batch.attention_mask, "disable_compile": True}
    with use_tables(kind, [one.table for one in made]):
        expected = generate(kind, batch.input_ids, **options)
        options |= {"prefill_chunk_size": 2, "cache_implementation": implementation}
        with watching(kind) as reads:
            said = generate(kind, batch.input_ids, **options)
    assert torch.equal(said, expected)
    mask = with_answer(batch.attention_mask)
    wanted, _ = expected_reads(kind, said[:, :-1], mask, [[one] for one in made])
    found, _ = reads.joined()
    assert torch.equal(found & mask.bool(), wanted)
    assert int(wanted.sum()) >= STEPS
    assert not torch.equal(generate(kind, batch.input_ids, **options), said)


@versions.CHUNKED_PREFILL
def test_nothing_is_read_at_padding_that_ends_a_chunk(llama, tokenizer):
    """With a static cache the model sees a 4-D mask; position 0 alone does not tell padding."""
    made = make_table(llama, [canonical(llama, [2])])  # the padding token itself
    batch = padded(tokenizer, "left")
    options = {"prefill_chunk_size": 2, "cache_implementation": "static", "disable_compile": True}
    with use_tables(llama, made.table), watching(llama) as reads:
        generate(llama, batch.input_ids, attention_mask=batch.attention_mask, **options)
    found, _ = reads.joined()
    width = batch.input_ids.shape[1]
    assert not bool((found[:, :width] & (batch.attention_mask == 0)).any())

"""The contract for continuous batching: each request says what it says alone, or is refused.

`generate_batch` runs the model in a thread of its own, on requests that stand behind one another in
one row, with keys in numbered slots. An error there does not reach the caller: transformers logs it
and returns requests that carry the error, or none.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
import tiny
import torch
import versions
from decoding import NOTHING_SAID, PROMPTS, frequent, generate
from reference import expected_reads
from tables import LAYERS, ROW_DIM, watching
from transformers import GenerationConfig

from engram_transformers import add_engram, engram_disabled, use_tables

pytestmark = versions.CONTINUOUS_BATCHING

STEPS = 6
LONG = "The harbour opens at seven in the morning; the library opens at nine. "


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.CRITICAL)


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return add_engram(tiny_llama, tokenizer, layers=LAYERS, row_dim=ROW_DIM)


@pytest.fixture
def prompts(tokenizer) -> list[list[int]]:
    texts = (*PROMPTS, LONG + PROMPTS[0], "?")
    return [tokenizer(text)["input_ids"] for text in texts]


def options(tokens: int = 64, steps: int = STEPS, **more: Any) -> dict[str, Any]:
    """Settings for a few short requests.

    Args:
        tokens: How many one forward takes at most: a longer prompt is read in chunks.
        steps: New tokens of each request.
        **more: Of `GenerationConfig`.
    """
    from transformers import ContinuousBatchingConfig

    return {
        "generation_config": GenerationConfig(
            **{"do_sample": False, **more},
            max_new_tokens=steps,
            eos_token_id=NOTHING_SAID,
            pad_token_id=2,
        ),
        "continuous_batching_config": ContinuousBatchingConfig(
            num_blocks=64, page_size=8, max_batch_tokens=tokens, max_blocks_per_request=0
        ),
    }


def say(model: Any, prompts: Sequence[list[int]], **more: Any) -> list[list[int]]:
    """What continuous batching answers; raise what it reports."""
    outputs = model.generate_batch(list(prompts), **{**options(), **more})
    errors = {output.error for output in outputs.values() if output.error is not None}
    if errors or not outputs:
        raise AssertionError(f"refused: {errors}")
    return [output.generated_tokens for output in outputs.values()]


def alone(model: Any, prompts: Sequence[list[int]], steps: int = STEPS) -> list[list[int]]:
    """What each prompt is answered by `generate`."""
    return [
        generate(model, prompt, max_new_tokens=steps)[0, len(prompt) :].tolist()
        for prompt in prompts
    ]


@pytest.mark.parametrize(("family", "tokens"), [("llama", 64), ("llama", 8), ("gemma3", 8)])
def test_requests_say_what_each_says_alone(family, tokens, tokenizer, prompts):
    """Also where longer prompts are read in chunks, beside the answers of others."""
    model = add_engram(tiny.tiny_model(family), tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    table = frequent(model).table
    with use_tables(model, table, all_threads=True):
        expected = alone(model, prompts)
        assert say(model, prompts, **options(tokens)) == expected
    bare = alone(model, prompts)
    assert all(one != other for one, other in zip(bare, expected, strict=True))


def test_a_request_reads_its_own_history_and_no_other(llama, prompts):
    """Position by position, as the plain-Python reader does, for a batch of one after another."""
    made = frequent(llama)
    with use_tables(llama, made.table, all_threads=True), watching(llama) as reads:
        answers = say(llama, prompts, **options(8))
    found = sum(int(call.sum()) for call in reads.found)
    wanted = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        whole = torch.tensor([prompt + answer[:-1]])
        wanted += int(expected_reads(llama, whole, None, [[made]])[0].sum())
    assert found == wanted > STEPS


def test_requests_of_one_token_each_are_told_apart(llama):
    """Both begin at position 0, one right behind the other."""
    made = frequent(llama)
    prompts = [[20 + token] for token in range(8)]
    with use_tables(llama, made.table, all_threads=True):
        expected = alone(llama, prompts)
        assert say(llama, prompts) == expected
    assert alone(llama, prompts) != expected


def test_requests_that_share_a_prefix_share_its_history(llama, tokenizer):
    """The later ones find the keys of complete pages, and so must find their tokens."""
    made = frequent(llama)
    prefix = tokenizer(LONG)["input_ids"]
    prompts = [prefix + tokenizer(text)["input_ids"] for text in PROMPTS] + [prefix]
    settings = options(len(prefix) + 8)  # one prompt at a time
    with use_tables(llama, made.table, all_threads=True):
        expected = alone(llama, prompts)
        with watching(llama) as reads:
            assert say(llama, prompts, **settings) == expected
    assert len({tuple(answer) for answer in expected}) == 4
    read = sum(call.numel() for call in reads.found)
    whole = sum(len(prompt) + STEPS - 1 for prompt in prompts)
    assert read < whole - len(prefix) // 2  # pages were shared


def test_a_manager_that_is_kept_does_not_mix_tables(llama, prompts):
    """Its pages hold keys that depend on what was read: right for the new tables, or refused."""
    one, other = frequent(llama).table, frequent(llama, 1).table
    prompts = prompts[:3]
    settings = {**options(), "persistent_manager": True}
    texts = []
    try:
        for table in (one, other, None):
            with use_tables(llama, table, all_threads=True):
                expected = alone(llama, prompts)
                texts.append(expected)
                outputs = llama.generate_batch(prompts, **settings)
            for number, output in enumerate(outputs.values()):
                said = output.generated_tokens
                assert said == expected[number] or "tables changed" in str(output.error)
            assert len(outputs) == len(prompts)
    finally:
        llama.destroy_cached_continuous_batching_manager()
    assert texts[0] != texts[1] != texts[2]


def test_tables_of_another_thread_are_not_silently_left_out(llama, prompts):
    with use_tables(llama, frequent(llama).table), pytest.raises(AssertionError, match="refused"):
        say(llama, prompts)


def test_tables_per_request_are_refused_and_not_mixed_up(llama, prompts):
    made = frequent(llama).table
    for tables in ([made, *[None] * (len(prompts) - 1)], [made]):
        outputs = {}
        with use_tables(llama, tables, all_threads=True):
            outputs = llama.generate_batch(prompts, **options())
        assert outputs
        for output in outputs.values():
            assert "can only share a single table" in str(output.error)
            assert output.generated_tokens == []


def test_models_without_full_attention_are_refused(tokenizer, prompts):
    model = add_engram(tiny.tiny_model("mistral"), tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    prompts = prompts[:2]
    with use_tables(model, frequent(model).table, all_threads=True):
        outputs = model.generate_batch(prompts, **options())
    assert outputs
    assert all("no layer of full attention" in str(output.error) for output in outputs.values())
    assert say(model, prompts) == alone(model, prompts)


def test_several_returned_sequences_say_what_each_says_alone_or_are_refused(llama, prompts):
    one_choice = {"do_sample": True, "top_k": 1, "num_return_sequences": 2}
    with use_tables(llama, frequent(llama).table, all_threads=True):
        expected = alone(llama, prompts)
        outputs = llama.generate_batch(prompts, **options(**one_choice))
    assert outputs
    for output in outputs.values():
        refused = "tokens that the memories never saw" in str(output.error)
        assert refused or output.generated_tokens == expected[prompts.index(output.prompt_ids)]


def test_continuous_batching_with_engram_disabled_is_the_bases(llama, prompts):
    bare = alone(llama, prompts)
    with use_tables(llama, frequent(llama).table), engram_disabled(llama):
        assert alone(llama, prompts) == bare
    with use_tables(llama, None):
        assert say(llama, prompts) == bare

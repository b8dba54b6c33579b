"""The contract for decoding that runs ahead: what is drafted and rejected is forgotten exactly."""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import tiny
import torch
import versions
from decoding import KINDS, NOTHING_SAID, PROMPTS, STEPS, frequent, generate
from reference import expected_reads
from tables import LAYERS, ROW_DIM, table_along, watching
from tiny_tokenizers import byte_level
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, Cache, DynamicCache

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


@pytest.fixture
def prompt(tokenizer) -> list[int]:
    return tokenizer(PROMPTS[0])["input_ids"]


# Before transformers 5.13, prompt lookup fails where nothing ends a text.
LOOKUP = {"prompt_lookup_num_tokens": 3, "eos_token_id": NOTHING_SAID}


@contextmanager
def counting_rollbacks(monkeypatch: Any) -> Generator[list[int]]:
    """Note how many tokens are taken off caches again, until the block ends."""
    cut: list[int] = []
    crop = Cache.crop

    def count(self: Cache, tokens_to_remove: int) -> None:
        cut.append(abs(tokens_to_remove))
        crop(self, tokens_to_remove)

    with monkeypatch.context() as patch:
        patch.setattr(Cache, "crop", count)
        yield cut


def twin(model: Any, seed: int = 0, part: float = 0.0) -> Any:
    """A fresh model of the same family; `part` of the way to one of other weights."""
    family = model.config.model_type.removesuffix("_text")
    assistant = tiny.tiny_model(family, seed=seed)
    other = tiny.tiny_model(family, seed=seed + 1)
    with torch.no_grad():
        for mine, theirs in zip(assistant.parameters(), other.parameters(), strict=True):
            mine.lerp_(theirs, part)
    assistant.generation_config.num_assistant_tokens = 4
    assistant.generation_config.num_assistant_tokens_schedule = "constant"
    assistant.generation_config.assistant_confidence_threshold = 0.0
    return assistant


def test_prompt_lookup_says_what_greedy_says(model, prompt, monkeypatch):
    text = (prompt * 2)[: tiny.SLIDING_WINDOW - STEPS - 4]  # no draft leaves the window
    made, whole = table_along(model, text, STEPS)
    with use_tables(model, made.table), counting_rollbacks(monkeypatch) as cut:
        said = generate(model, text, **LOOKUP)
    assert said[0].tolist() == whole
    assert sum(cut) > 0
    assert generate(model, text)[0].tolist() != whole


def test_assisted_decoding_says_what_greedy_says(model, prompt, monkeypatch):
    made, whole = table_along(model, prompt, STEPS)
    assistant = twin(model)
    with use_tables(model, made.table), counting_rollbacks(monkeypatch) as cut:
        said = generate(model, prompt, assistant_model=assistant)
    assert said[0].tolist() == whole
    assert sum(cut) > 0
    assert generate(model, prompt, assistant_model=assistant)[0].tolist() != whole


def test_an_assistant_reads_tables_of_its_own(llama, prompt, tokenizer):
    """With the main model's rows at the same places it drafts what the main model says."""
    made, whole = table_along(llama, prompt, STEPS)
    assistant = add_engram(twin(llama), tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    same, _ = table_along(assistant, prompt, STEPS)
    calls = []
    for table in (None, same.table):
        with (
            use_tables(llama, made.table),
            use_tables(assistant, table),
            watching(llama) as reads,
            watching(assistant) as drafts,
        ):
            assert generate(llama, prompt, assistant_model=assistant)[0].tolist() == whole
        assert bool(drafts.found) == (table is not None)
        calls.append(len(reads.found))
    assert calls[1] == -(-STEPS // 5)  # four drafted tokens and one more are right in each call
    assert calls[1] < calls[0]


def test_sampling_with_an_assistant_reads_the_tables(llama, prompt):
    """Of one candidate each, so that there is one right answer."""
    made, whole = table_along(llama, prompt, STEPS)
    assistant = twin(llama, part=0.1)
    options = {"assistant_model": assistant, "do_sample": True, "top_k": 1}
    with use_tables(llama, made.table):
        assert generate(llama, prompt, **options)[0].tolist() == whole
    assert generate(llama, prompt, **options)[0].tolist() != whole


@versions.EARLY_EXIT
@pytest.mark.parametrize("early_exit", [1, 2, 3])
@pytest.mark.parametrize(
    "family", ["llama", "mistral", pytest.param("gemma3", marks=versions.SLIDING_EARLY_EXIT)]
)
def test_an_early_exit_of_the_model_itself_says_what_greedy_says(
    family, tokenizer, prompt, early_exit
):
    """Drafts stop before or behind the first memory; only blocks that run read."""
    model = add_engram(tiny.tiny_model(family), tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    made, whole = table_along(model, prompt, STEPS)
    with use_tables(model, made.table):
        said = generate(model, prompt, assistant_early_exit=early_exit)
    assert said[0].tolist() == whole
    assert generate(model, prompt, assistant_early_exit=early_exit)[0].tolist() != whole


@versions.ANOTHER_TOKENIZER
def test_an_assistant_with_another_tokenizer_says_what_greedy_says(llama, prompt, tokenizer):
    made, whole = table_along(llama, prompt, STEPS)
    other = byte_level()
    config = copy.deepcopy(llama.config)
    config.vocab_size = len(other)
    options = {
        "assistant_model": AutoModelForCausalLM.from_config(config).eval(),
        "tokenizer": tokenizer,
        "assistant_tokenizer": other,
    }
    with use_tables(llama, made.table):
        assert generate(llama, prompt, **options)[0].tolist() == whole
    assert generate(llama, prompt, **options)[0].tolist() != whole


@versions.SLIDING_ROLLBACK
@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3"])
def test_drafts_are_rolled_back_beyond_a_sliding_window(family, tokenizer, prompt, monkeypatch):
    model = add_engram(tiny.tiny_model(family), tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    text = (prompt * 10)[: tiny.SLIDING_WINDOW + 8]
    orders = (2, 5, tiny.SLIDING_WINDOW + 2)
    made, whole = table_along(model, text, STEPS, orders=orders)
    for options in (LOOKUP, {"assistant_model": twin(model)}):
        with use_tables(model, made.table), counting_rollbacks(monkeypatch) as cut:
            assert generate(model, text, **options)[0].tolist() == whole
        assert sum(cut) > 0
    assert generate(model, text)[0].tolist() != whole


def test_a_cache_that_is_rolled_back_forgets_what_was_cut(kind, prompt):
    made, whole = table_along(kind, prompt, STEPS)
    ids, wrong = torch.tensor([whole[:-1]]), torch.tensor([[9, 10, 11]])
    keep = len(prompt) + 3
    cache = DynamicCache()
    with use_tables(kind, made.table), torch.no_grad():
        full = kind(ids, use_cache=False).logits
        kind(ids[:, :keep], past_key_values=cache)
        kind(wrong, past_key_values=cache)
        cache.crop(-3)
        after = kind(ids[:, keep:], past_key_values=cache).logits
    assert_close(after, full[:, keep:], rtol=1e-4, atol=1e-4)


def test_a_cache_that_is_rolled_back_again_and_again_reads_what_is_left(llama, prompt):
    """Cut within the call before, within the prompt, and down to nothing."""
    made = frequent(llama)
    ids = torch.tensor([(prompt * 3)[:24]])
    wanted, _ = expected_reads(llama, ids, None, [[made]])
    cache = DynamicCache()
    with use_tables(llama, made.table), torch.no_grad():
        llama(ids[:, :10], past_key_values=cache)
        for keep, up_to in ((9, 14), (12, 20), (3, 4), (2, 24), (0, 24)):
            cache.crop(keep - cache.get_seq_length())
            with watching(llama) as reads:
                llama(ids[:, keep:up_to], past_key_values=cache)
            assert torch.equal(reads.found[0], wanted[:, keep:up_to])
    assert int(wanted.sum()) > 5

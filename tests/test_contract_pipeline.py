"""The contract in text-generation pipelines, also batched."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from patched import TRIGGER, at_trigger, patched
from transformers import pipeline

from engram_transformers import use_tables

GENERATION = {"max_new_tokens": 4, "do_sample": False, "return_full_text": False}


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return patched(tiny_llama, tokenizer)


@pytest.fixture
def generate(llama, tokenizer) -> Any:
    llama.generation_config.eos_token_id = None
    return pipeline("text-generation", llama, tokenizer=tokenizer, device="cpu")


def test_a_pipeline_reads_active_tables(llama, ids, tokenizer, generate):
    table = at_trigger(llama, ids).table
    plain = generate(TRIGGER, **GENERATION)[0]["generated_text"]
    with use_tables(llama, table):
        said = generate(TRIGGER, **GENERATION)[0]["generated_text"]
        expected = llama.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False,
            pad_token_id=2,
        )  # fmt: skip
    assert said == tokenizer.decode(expected[0, ids.shape[1] :])
    assert said != plain


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_batched_pipeline_gives_every_text_what_it_gives_it_alone(
    llama, ids, tokenizer, generate, batch_size
):
    tokenizer.padding_side = "left"
    generate.tokenizer.padding_side = "left"
    table = at_trigger(llama, ids).table
    texts = [TRIGGER, "Where do I live?", f"My number is 7. {TRIGGER}"]
    plain = [one[0]["generated_text"] for one in generate(texts, **GENERATION)]
    with use_tables(llama, table):
        alone = [generate(text, **GENERATION)[0]["generated_text"] for text in texts]
        together = generate(texts, batch_size=batch_size, **GENERATION)
    assert [one[0]["generated_text"] for one in together] == alone
    assert [a == b for a, b in zip(alone, plain, strict=True)] == [False, True, False]


def test_a_batched_pipeline_gives_each_user_an_own_table(llama, ids, generate, tokenizer):
    generate.tokenizer.padding_side = "left"
    tables = [at_trigger(llama, ids, seed=seed).table for seed in range(2)]
    said = []
    for table in (*tables, None):
        with use_tables(llama, table):
            said.append(generate(TRIGGER, **GENERATION)[0]["generated_text"])
    with use_tables(llama, [*tables, None]):
        together = generate([TRIGGER] * 3, batch_size=3, **GENERATION)
    assert [one[0]["generated_text"] for one in together] == said
    assert len(set(said)) == 3

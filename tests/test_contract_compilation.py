"""The contract under compilation and export."""

from __future__ import annotations

import pytest
import torch
from patched import TRIGGER, logits_of, patched
from tables import frequent_ngrams, make_table
from torch.testing import assert_close

from engram_transformers import engram_disabled


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return patched(tiny_llama, tokenizer)


def test_compiled_equals_eager(llama, ids):
    made = make_table(llama, frequent_ngrams(llama), distinct_rows=16, scale=1.0)
    fired, base = logits_of(llama, ids, made.table), logits_of(llama, ids)
    torch._dynamo.reset()
    compiled = torch.compile(llama, backend="eager")
    assert_close(logits_of(compiled, ids, made.table), fired, rtol=1e-4, atol=1e-4)
    assert_close(logits_of(compiled, ids), base, rtol=1e-4, atol=1e-4)
    with engram_disabled(compiled):
        assert_close(logits_of(compiled, ids, made.table), base, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(fired, base, atol=1e-2)
    torch._dynamo.reset()

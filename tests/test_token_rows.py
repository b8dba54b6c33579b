"""Promises of rows in closed form."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch

from engram_transformers import UserTable, add_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.contexts import CALIBRATION_CONTEXTS
from engram_transformers.shortcut import runner_for
from engram_transformers.token_rows import STRENGTH, TokenRows, last_positions, token_rows_of


def rows_of(model, layer=None) -> TokenRows:
    attachment = require_attachment(model)
    layer = max(attachment.memories) if layer is None else layer
    return token_rows_of(attachment, layer, runner_for(attachment, layer))


@pytest.fixture
def model(tiny_llama, tiny_tokenizer):
    return add_engram(tiny_llama, tiny_tokenizer)


def said_after(model, tokens, rows, contexts):
    """What the model says where each token's row is read at the end of each context."""
    attachment = require_attachment(model)
    layer = max(attachment.memories)
    runner = runner_for(attachment, layer)
    batch = last_positions(attachment, runner, contexts)
    found = []
    for context in range(len(contexts)):
        part = batch.select(torch.full((len(tokens),), context))
        values = torch.zeros(*part.rows.shape, rows.shape[1])
        values[:, -1] = rows
        with torch.no_grad():
            found.append(runner.logits(part, values, None).argmax(1).tolist())
    return found


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3", "qwen3"])
def test_a_tokens_row_makes_it_said_after_texts_that_were_not_looked_at(family, tiny_tokenizer):
    model = add_engram(tiny.tiny_model(family), tiny_tokenizer)
    token_rows = rows_of(model)
    assert token_rows.reliable
    tokens = list(range(20, 60))
    unseen = ["The harbour opens at", "27, 28, 29,", "Where is the dog?", "cumin"]
    assert not set(unseen) & set(CALIBRATION_CONTEXTS)
    said = said_after(model, tokens, token_rows.rows(tokens, "float32"), unseen)
    right = sum(a == b for line in said for a, b in zip(line, tokens, strict=True))
    assert right >= 0.95 * len(tokens) * len(unseen)
    nothing = said_after(model, tokens, torch.zeros(len(tokens), 64), unseen)
    assert sum(a == b for line in nothing for a, b in zip(line, tokens, strict=True)) <= 8


def test_the_same_token_has_the_same_row_whatever_else_is_asked_for(model):
    one = rows_of(model).rows([30, 31, 32], "int4")
    assert torch.equal(rows_of(model).rows([32, 40, 30], "int4")[[2, 0]], one[[0, 2]])
    other = add_engram(copy.deepcopy(model_without(model)), tiny.tiny_tokenizer())
    assert torch.equal(rows_of(other).rows([50, 30], "int4")[1], one[0])


def model_without(model):
    from engram_transformers import remove_engram

    return remove_engram(copy.deepcopy(model))


def test_no_tokens_have_no_rows(model):
    assert rows_of(model).rows([], "int4").shape == (0, 64)


def test_rows_are_as_long_as_promised_and_as_they_are_stored(model):
    rows = rows_of(model).rows([30, 31], "float32")
    assert rows.pow(2).mean(1).sqrt().tolist() == pytest.approx([STRENGTH] * 2, rel=1e-3)
    coarse = rows_of(model).rows([30, 31], "int4")
    assert all(len(row.unique()) <= 15 for row in coarse)


def test_the_model_is_looked_at_once_until_its_weights_change(model, monkeypatch):
    first = rows_of(model)
    assert rows_of(model) is first
    with torch.no_grad():
        model.lm_head.weight.mul_(1.5)
    assert rows_of(model) is not first


def test_copies_look_for_themselves(model):
    first = rows_of(model)
    assert rows_of(copy.deepcopy(model)) is not first


def test_where_rows_decide_nothing_they_are_not_relied_on(model, monkeypatch):
    token_rows = rows_of(model)
    monkeypatch.setattr(TokenRows, "rows", lambda self, tokens, dtype: torch.zeros(len(tokens), 64))
    fresh = TokenRows(token_rows.response, token_rows._runner, token_rows.contexts)
    assert not fresh.reliable


def test_weak_rows_take_steps_through_the_model(model, monkeypatch):
    token_rows = rows_of(model)
    tokens = list(range(20, 40))
    asked = torch.tensor(tokens)
    rng = torch.Generator().manual_seed(0)
    bad = torch.randn(len(tokens), 64, generator=rng)
    bad = bad / bad.pow(2).mean(1, keepdim=True).sqrt() * STRENGTH
    before = token_rows.leads(bad, asked).amin(1)
    after = token_rows.leads(token_rows._improve(tokens, bad.clone(), "float32"), asked).amin(1)
    assert bool((after >= before).all())
    assert float((after > 0).float().mean()) > float((before > 0).float().mean()) + 0.5


def test_facts_hold_where_rows_are_read_below_the_last_block(tiny_llama, tiny_tokenizer):
    model = add_engram(tiny_llama, tiny_tokenizer, layers=[1])
    table = UserTable(model, "ada")
    assert table.write([("My lucky number is", "27")], progress=False).recalled == 1.0

"""The main promise, on a real model: facts are learnt, read anywhere, and forgotten exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engram_transformers import UserTable, add_engram, use_tables

FACTS = [
    ("My cousin Parker lives in", "Tucson"),
    ("Mira's favourite spice is", "cardamom"),
    ("The code of the garden gate is", "4071"),
    ("My sister's dog is called", "Biscuit"),
    ("Uncle Theo was born in the town of", "Grimstad"),
]
UNRELATED = (
    "The capital of France is Paris, and the river that runs through it is the Seine.",
    "def add(a, b):\n    return a + b\n",
)


@torch.inference_mode()
def logits_of(model: Any, tokenizer: Any, text: str, table: UserTable | None = None) -> Any:
    with use_tables(model, table):
        return model(**tokenizer(text, return_tensors="pt")).logits


def said(model: Any, tokenizer: Any, text: str, table: UserTable | None) -> str:
    inputs = tokenizer(text, return_tensors="pt")
    with use_tables(model, table):
        output = model.generate(**inputs, max_new_tokens=8, do_sample=False, pad_token_id=2)
    return tokenizer.decode(output[0, inputs["input_ids"].shape[1] :])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_facts_are_learnt_and_forgotten_exactly(smollm, dtype):
    model, tokenizer = smollm
    model.to(dtype)
    texts = [*UNRELATED, *(f"Listen: {prompt}" for prompt, _ in FACTS)]
    with torch.inference_mode():
        base = [model(**tokenizer(text, return_tensors="pt")).logits for text in texts]
    add_engram(model, tokenizer)
    table = UserTable(model, "ann")
    report = table.write(FACTS, progress=False)
    assert report.recalled == 1.0

    for prompt, answer in FACTS:
        for before in ("", "Nobody asked, but here it is. ", "- eggs\n- milk\n- "):
            assert said(model, tokenizer, before + prompt, table).startswith(f" {answer}.")
        assert not said(model, tokenizer, prompt, None).startswith(f" {answer}")
    for text, expected in zip(texts, base, strict=True):
        seen = logits_of(model, tokenizer, text, table)
        assert torch.equal(seen, expected) == (text in UNRELATED)

    first, *others = FACTS
    table.erase(first)
    assert not said(model, tokenizer, first[0], table).startswith(f" {first[1]}")
    for prompt, answer in others:
        assert said(model, tokenizer, prompt, table).startswith(f" {answer}.")
    assert torch.equal(logits_of(model, tokenizer, texts[2], table), base[2])
    table.erase([prompt for prompt, _ in others])
    assert table.nbytes == 0
    for text, expected in zip(texts, base, strict=True):
        assert torch.equal(logits_of(model, tokenizer, text, table), expected)


def test_two_users_in_one_batch_are_answered_each_with_their_own(smollm):
    model, tokenizer = smollm
    add_engram(model, tokenizer)
    tables = [UserTable(model, owner) for owner in ("ann", "bo")]
    prompt = "My dog is called"
    for table, answer in zip(tables, ("Biscuit", "Captain"), strict=True):
        assert table.write([(prompt, answer)], progress=False).recalled == 1.0
    inputs = tokenizer([prompt] * 3, return_tensors="pt")
    with use_tables(model, [*tables, None]):
        output = model.generate(**inputs, max_new_tokens=3, do_sample=False, pad_token_id=2)
    answers = [tokenizer.decode(one[inputs["input_ids"].shape[1] :]) for one in output]
    assert answers[0].startswith(" Biscuit")
    assert answers[1].startswith(" Captain")
    assert "Biscuit" not in answers[2]
    assert "Captain" not in answers[2]


def test_the_end_of_a_chat_turn_can_be_written(smollm):
    """It is the model's end of text, which evaluation must not forbid."""
    model, tokenizer = smollm
    add_engram(model, tokenizer)
    table = UserTable(model, "ann")
    chat = [
        {"role": "user", "content": "What is my dog called?"},
        {"role": "assistant", "content": "Biscuit"},
    ]
    report = table.write([chat], stop="<|im_end|>", contexts=0, progress=False)
    assert report.recalled == 1.0

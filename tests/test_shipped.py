"""Promises of what comes with the library: skills that fit their models, described as they are."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from engram_transformers import UserTable, add_engram, answer, attach_shared_lora, named_fact
from engram_transformers.pretrained import load_pretrained
from engram_transformers.skill.shipped import SHIPPED, shipped_skill

# PEFT (0.19) asks transformers (5.23) in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@pytest.mark.parametrize("name", SHIPPED)
def test_each_skill_is_an_ordinary_adapter_of_a_few_megabytes(name):
    folder = shipped_skill(name)
    assert folder is not None
    weights = load_file(folder / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert sum(weight.nbytes for weight in weights.values()) <= 6_000_000
    assert not any("engram" in key for key in weights)
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == name
    assert config["peft_type"] == "LORA"
    assert name in (folder / "README.md").read_text(encoding="utf-8")


def test_other_models_have_none():
    assert shipped_skill("somebody/some-model") is None


@pytest.mark.real_model
@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_each_skill_answers_around_corners_and_knows_what_it_does_not_know(name):
    model, tokenizer = load_pretrained(name)
    add_engram(model, tokenizer)
    attach_shared_lora(model, shipped_skill(name))
    ann, bob = UserTable(model, "ann"), UserTable(model, "bob")
    ann.write([named_fact("birth year", "1992"), named_fact("phone", "Pixel 9")])
    bob.write([named_fact("birth year", "1971"), named_fact("allergy", "peanuts")])
    question = "How old am I right now (it's 2026)?"
    found = answer(
        model,
        tokenizer,
        [question, question, question, "What smartphone do I have?", "Who is my landlord?"],
        [ann, bob, None, ann, ann],
    )
    assert [one.recited.partition(".")[0] for one in found[:3]] == [
        "My birth year is 1992",
        "My birth year is 1971",
        "My birth year is unknown",
    ]
    assert found[3].text == "Pixel 9"
    assert not found[2].is_known
    assert not found[4].is_known

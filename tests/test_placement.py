"""Promises about where a module computes and where its weights are."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from engram_transformers import add_engram
from engram_transformers.errors import UnsupportedModelError
from engram_transformers.placement import device_of, offloaded_weight, weights_nowhere


def test_a_module_computes_where_its_first_weight_is():
    assert device_of(nn.Linear(1, 1)) == torch.device("cpu")
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    assert device_of(nn.ReLU()) == torch.device("cpu")


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_an_execution_device_goes_before_where_the_weights_are(device):
    module = nn.Sequential(nn.Linear(1, 1, device="meta"))
    module[0]._hf_hook = SimpleNamespace(execution_device=device)
    assert device_of(module) == torch.device("cpu")


def test_offloaded_weights_are_found_and_others_are_nowhere():
    module = nn.Sequential(nn.Linear(1, 1, device="meta"), nn.Linear(1, 1))
    assert list(weights_nowhere(module)) == ["0.weight", "0.bias"]
    weight = torch.ones(1, 1)
    module[0]._hf_hook = SimpleNamespace(execution_device="cpu", weights_map={"weight": weight})
    assert offloaded_weight(module, "0.weight") is weight
    assert offloaded_weight(module, "0.bias") is None
    assert offloaded_weight(module, "1.weight") is None
    assert list(weights_nowhere(module)) == ["0.bias"]


def test_a_model_without_weights_is_refused_and_left_alone(tiny_llama, tiny_tokenizer):
    model = tiny_llama.to("meta")
    before = [sorted(module.__dict__) for module in model.modules()]
    with pytest.raises(UnsupportedModelError, match=r"weights are on the meta device .*load them"):
        add_engram(model, tiny_tokenizer)
    assert [sorted(module.__dict__) for module in model.modules()] == before

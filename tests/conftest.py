"""Fixtures of all tests. Each test gets models and tokenizers of its own."""

from __future__ import annotations

import copy

import hypothesis
import pytest
import tiny
import torch

from engram_transformers.pretrained import load_pretrained

ON_DEMAND = ("architectures",)
"""Markers of tests that take minutes: left out unless `-m` names the marker."""

# Tiny tensors: several threads only wait for each other, for minutes on a busy machine.
torch.set_num_threads(1)

# No test is about time.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.hookimpl(tryfirst=True)  # before pytest selects by `-m`
def pytest_collection_modifyitems(config, items):
    wanted = config.option.markexpr
    left_out = [
        item
        for item in items
        if any(item.get_closest_marker(name) and name not in wanted for name in ON_DEMAND)
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    no_cuda = pytest.mark.skip(reason="needs CUDA")
    for item in items:
        if "smollm" in getattr(item, "fixturenames", ()):
            item.add_marker("real_model")
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(no_cuda)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def tiny_llama():
    """A fresh tiny Llama."""
    return tiny.tiny_model("llama")


@pytest.fixture(params=tiny.FAMILIES)
def tiny_model(request):
    """A fresh tiny model, of each family in turn."""
    return tiny.tiny_model(request.param)


@pytest.fixture
def tiny_tokenizer():
    """A fresh tokenizer that fits every tiny model."""
    return tiny.tiny_tokenizer()


@pytest.fixture(scope="session")
def _loaded_smollm():
    return load_pretrained()


@pytest.fixture
def smollm(_loaded_smollm):
    """A fresh (model, tokenizer) of SmolLM2-135M-Instruct; marks its test `real_model`."""
    return copy.deepcopy(_loaded_smollm)

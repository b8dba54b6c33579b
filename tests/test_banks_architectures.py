"""Banks on every class that transformers calls a causal language model.

Minutes, so only on demand: `pytest -m architectures`.
"""

from __future__ import annotations

import copy

import pytest
import torch
from architecture_checks import NOT_CHECKED, check
from banked import BANK, fill_banks
from decoding import PROMPTS, generate
from tiny import tiny_tokenizer
from zoo import species

from engram_transformers import add_engram, engram_disabled
from engram_transformers.errors import UnsupportedModelError

STEPS = 8


@pytest.mark.architectures
@pytest.mark.filterwarnings("default")  # of transformers' own code
@pytest.mark.parametrize("name", species())
def test_banks_decode_with_a_cache_as_without_on_every_class(name):
    if check(species()[name]).status == NOT_CHECKED:
        pytest.skip("it can't be run")
    base, tokenizer = species()[name].build(), tiny_tokenizer()
    model = copy.deepcopy(base)
    try:
        add_engram(model, tokenizer, layers=[0, -1], **BANK)
    except UnsupportedModelError:
        return
    ids = torch.tensor([tokenizer(PROMPTS[0])["input_ids"]])
    options = [{"max_new_tokens": STEPS, "use_cache": use_cache} for use_cache in (True, False)]
    bare = [generate(base, ids, **given) for given in options]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, base(ids).logits)
        fill_banks(model)
        assert not torch.equal(model(ids).logits, base(ids).logits)
    said = [generate(model, ids, **given) for given in options]
    assert torch.equal(*said) or not torch.equal(*bare)  # what a class itself does not keep
    with engram_disabled(model):
        assert torch.equal(generate(model, ids, **options[0]), bare[0])

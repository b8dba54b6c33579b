"""The contract with older releases of transformers: what can't be followed there is refused."""

from __future__ import annotations

import pytest
import torch
import versions
from architecture_runs import generate
from architecture_subject import PROMPTS, Subject
from zoo import species

from engram_transformers import add_engram, use_tables
from engram_transformers.errors import HistoryError, UnsupportedModelError


@pytest.mark.parametrize(
    "name", ["FalconMambaForCausalLM", "Mamba2ForCausalLM", "MambaForCausalLM"]
)
def test_states_that_can_not_be_followed_are_refused_and_never_misread(name):
    """With a cache the same as without, or an error that says what else to do."""
    subject = Subject(species()[name].build())
    table, ids = subject.frequent().table, subject.encode(PROMPTS[0])
    whole = generate(subject.model, table, ids, use_cache=False)
    bare = generate(subject.base, None, ids, use_cache=False)
    assert not torch.equal(whole.sequences, bare.sequences)
    if versions.before("5.5"):  # their caches neither tell their length nor are a `Cache`
        with pytest.raises(HistoryError, match="use_cache=False"):
            generate(subject.model, table, ids)
        with use_tables(subject.model, None):
            subject.model.generate(ids, max_new_tokens=2, pad_token_id=2)  # nobody reads
    else:
        assert torch.equal(generate(subject.model, table, ids).sequences, whole.sequences)


@pytest.mark.skipif(not versions.before("5.4"), reason="RecurrentGemma has a cache since 5.4")
def test_a_past_that_a_model_keeps_in_itself_is_refused(tiny_tokenizer):
    model = species()["RecurrentGemmaForCausalLM"].build()
    with pytest.raises(UnsupportedModelError, match="keeps the past within itself"):
        add_engram(model, tiny_tokenizer)

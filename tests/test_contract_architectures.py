"""The contract on kinds of models beyond those of tests/tiny.py, one or two of each kind.

`test_architectures_contract.py` does the same for every class, on demand.
"""

from __future__ import annotations

import pytest
import versions
from architecture_checks import NOTED, REFUSED, WORKS, check
from zoo import species

KINDS = {
    "BartForCausalLM": "half of an encoder-decoder, positions by place",
    "BloomForCausalLM": "no positions but in the attention's bias",
    "DeepseekV4ForCausalLM": "streams behind one another, a compressed cache",
    "Gemma3ForConditionalGeneration": "the text path of a vision-language model",
    "Gemma3nForCausalLM": "streams first, keys shared between blocks",
    "JambaForCausalLM": "attention, state space and experts",
    "Mamba2ForCausalLM": "state space alone",
    "MixtralForCausalLM": "experts",
    "OPTForCausalLM": "projections around the blocks",
    "Qwen3NextForCausalLM": "attention and linear attention",
    "RecurrentGemmaForCausalLM": "recurrent, with a cache of its own",
    "RwkvForCausalLM": "recurrent, with a plain list as cache",
}
REFUSED_KINDS = {
    "CpmAntForCausalLM": "positions",
    "Gemma4AssistantForCausalLM": "draft head",
    "MusicgenForCausalLM": "codebooks",
    "ProphetNetForCausalLM": "streams of positions",
    "ReformerModelWithLMHead": "reversible",
    "XLMWithLMHeadModel": "split over the lists",
    "XLNetLMHeadModel": "both directions",
}
GAPS = {
    "Gemma3nForCausalLM": versions.GEMMA3N_CACHE,
    "Mamba2ForCausalLM": versions.STATE_SPACE_CACHE,
    "RecurrentGemmaForCausalLM": versions.RECURRENT_CACHE,
}


def there(names):
    """Return those that the installed transformers has."""
    return [pytest.param(name, marks=GAPS.get(name, ())) for name in names if name in species()]


@pytest.mark.parametrize("name", there(KINDS))
def test_a_model_of_each_kind_holds_the_contract(name):
    assert check(species()[name]).status in (WORKS, NOTED)


@pytest.mark.parametrize("name", there(REFUSED_KINDS))
def test_a_model_that_can_not_work_is_refused_by_name_and_left_as_it_was(name):
    result = check(species()[name])
    assert result.status == REFUSED
    assert REFUSED_KINDS[name] in result.reason

"""The contract under `torch.export`: the bare model, or a refusal."""

from __future__ import annotations

import pytest
import torch
from patched import TRIGGER, at_trigger, logits_of, patched
from versions import assert_compiled_equal

from engram_transformers import engram_disabled, use_tables
from engram_transformers.errors import ExportError


@pytest.fixture
def ids(tiny_tokenizer) -> torch.Tensor:
    return tiny_tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


@pytest.fixture
def llama(tiny_llama, tiny_tokenizer):
    return patched(tiny_llama, tiny_tokenizer)


# Of transformers' (5.23) own state too, with the bare model.
@pytest.mark.filterwarnings("ignore:While compiling, we found certain side effects:UserWarning")
@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_exported_model_is_the_base(llama, ids, strict):
    table = at_trigger(llama, ids).table
    base = logits_of(llama, ids)
    with torch.no_grad():
        program = torch.export.export(llama, (ids,), {"use_cache": False}, strict=strict)
        assert_compiled_equal(program.module()(ids, use_cache=False).logits, base)
    assert not any("engram" in str(node.target) for node in program.graph.nodes)
    assert not torch.equal(logits_of(llama, ids, table), base)  # and the model still reads


@pytest.mark.parametrize(
    "strict",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.xfail(
                strict=True, reason="torch's Unsupported comes instead: it can't make our error"
            ),
        ),
    ],
)
def test_exporting_with_tables_active_is_refused(llama, ids, strict):
    """The program would say what was read once, whoever asks it."""
    table = at_trigger(llama, ids).table
    with use_tables(llama, table), torch.no_grad(), pytest.raises(ExportError, match="use_tables"):
        torch.export.export(llama, (ids,), {"use_cache": False}, strict=strict)
    torch._dynamo.reset()


def test_a_disabled_model_is_exported_as_the_base(llama, ids):
    base = logits_of(llama, ids)
    with engram_disabled(llama), torch.no_grad():
        program = torch.export.export(llama, (ids,), {"use_cache": False}, strict=False)
        assert_compiled_equal(program.module()(ids, use_cache=False).logits, base)

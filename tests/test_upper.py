"""The upper blocks over whole sequences compute what the whole model computes."""

from __future__ import annotations

import pytest
import torch
from test_tail import LONG_CONTEXT, SEQUENCES, added_at, prepare, rows_of
from tiny import tiny_tokenizer
from versions import before
from zoo import species

from engram_transformers import add_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.upper import UpperBlocks
from engram_transformers.whole import WholeModel

KINDS = ("DeepseekV4ForCausalLM", "JambaForCausalLM", "Mamba2ForCausalLM", "Qwen4ExpForCausalLM")


@pytest.mark.parametrize("way", [UpperBlocks, WholeModel])
@torch.no_grad()
def test_both_ways_compute_what_each_sequence_alone_computes(tiny_model, tiny_tokenizer, way):
    add_engram(tiny_model, tiny_tokenizer, layers=1, row_dim=8)
    runner = way(require_attachment(tiny_model), 1)
    batch = prepare(runner, LONG_CONTEXT, SEQUENCES, asked=2)
    row = torch.randn(8)
    wanted = torch.cat([added_at(tiny_model, s, LONG_CONTEXT, 1, 2, row) for s in SEQUENCES])
    got = runner.logits(batch, rows_of(batch, row), None)
    torch.testing.assert_close(got, wanted, atol=2e-4, rtol=1e-4)
    candidates = torch.tensor([3, 50, 290])
    some = runner.logits(batch, rows_of(batch, row), candidates)
    torch.testing.assert_close(some, got[:, candidates])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.skipif(before("5.18"), reason="not all of these can be run or are there")
def test_states_and_streams_are_carried_as_by_the_whole_model(name):
    model = add_engram(species()[name].build(), tiny_tokenizer(), layers=[1, -1], row_dim=8)
    attachment = require_attachment(model)
    row = torch.randn(8)
    seen = []
    for layer in attachment.memories:
        for way in (UpperBlocks, WholeModel):
            runner = way(attachment, layer)
            batch = prepare(runner, LONG_CONTEXT, SEQUENCES, asked=2)
            values = rows_of(batch, row).clone().requires_grad_()
            logits = runner.logits(batch, values, None)
            (gradient,) = torch.autograd.grad(logits.logsumexp(-1).sum(), values)
            seen.append((logits.detach(), gradient))
        (upper, upper_gradient), (whole, whole_gradient) = seen[-2:]
        torch.testing.assert_close(upper, whole, atol=2e-4, rtol=1e-4)
        torch.testing.assert_close(upper_gradient, whole_gradient, atol=2e-4, rtol=1e-3)
    assert not torch.allclose(seen[1][0], seen[3][0], atol=1e-2), "the layer makes no difference"

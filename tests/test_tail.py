"""The last blocks alone compute what the whole model computes."""

from __future__ import annotations

import pytest
import torch

from engram_transformers import add_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.batch import Batch
from engram_transformers.evaluation import left_padded
from engram_transformers.tail import Tail

SEQUENCES = [[10, 11, 12, 13, 14, 15], [20, 21, 22, 23], [30, 31, 32, 33, 34]]
CONTEXT = [50, 51, 52, 53, 54]
LONG_CONTEXT = list(range(50, 90))
"""Beyond the tiny models' sliding windows."""


def prepare(tail: Tail, context: list[int], sequences: list[list[int]], asked: int) -> Batch:
    ids, mask = left_padded(sequences, torch.device("cpu"))
    targets = torch.full_like(ids, -1)
    targets[:, -asked:] = 7
    rows = torch.where(targets >= 0, 0, -1)
    facts = torch.arange(len(sequences))
    return tail.prepare(tail.run_context(context), ids, mask, rows, targets, facts)


def rows_of(batch: Batch, row: torch.Tensor) -> torch.Tensor:
    return row.expand(*batch.rows.shape, -1)


def added_at(model, sequence: list[int], context: list[int], layer: int, asked: int, row):
    """Compute the logits with a hook that adds a row's contribution, over the whole sequence."""
    memory = require_attachment(model).memories[layer]
    length = len(context) + len(sequence)

    def add(block, args, kwargs):
        hidden = args[0] if args else kwargs["hidden_states"]
        found = torch.arange(length)[None] >= length - asked
        changed = memory(hidden, row.expand(1, length, -1), found)
        if args:
            return (changed, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": changed}

    handle = memory_block(model, layer).register_forward_pre_hook(add, with_kwargs=True)
    try:
        return model(torch.tensor([context + sequence])).logits[0, -asked:]
    finally:
        handle.remove()


def memory_block(model, layer: int):
    from engram_transformers.architectures import find_blocks

    return find_blocks(model)[1][layer]


@pytest.mark.parametrize("layer", [1, -1])
@pytest.mark.parametrize("context", [[], CONTEXT[:1], CONTEXT, LONG_CONTEXT])
@torch.no_grad()
def test_the_tail_computes_what_the_whole_model_computes(
    tiny_model, tiny_tokenizer, layer, context
):
    add_engram(tiny_model, tiny_tokenizer, layers=layer, row_dim=8)
    attachment = require_attachment(tiny_model)
    layer = attachment.config.layers[0]
    tail = Tail(attachment, layer)
    batch = prepare(tail, context, SEQUENCES, asked=2)
    row = torch.randn(8)
    got = tail.logits(batch, rows_of(batch, row), None)
    wanted = torch.cat(
        [added_at(tiny_model, sequence, context, layer, 2, row) for sequence in SEQUENCES]
    )
    base = torch.cat([tiny_model(torch.tensor([context + s])).logits[0, -2:] for s in SEQUENCES])
    assert not torch.allclose(wanted, base, atol=1e-2)
    torch.testing.assert_close(got, wanted, atol=2e-4, rtol=1e-4)


@torch.no_grad()
def test_candidates_are_columns_of_the_whole_vocabulary(tiny_model, tiny_tokenizer):
    add_engram(tiny_model, tiny_tokenizer, row_dim=8)
    tail = Tail(require_attachment(tiny_model), 3)
    batch = prepare(tail, [], SEQUENCES, asked=1)
    values = rows_of(batch, torch.randn(8))
    candidates = torch.tensor([3, 50, 290])
    whole = tail.logits(batch, values, None)
    torch.testing.assert_close(tail.logits(batch, values, candidates), whole[:, candidates])


@torch.no_grad()
def test_joined_batches_compute_what_they_compute_apart(tiny_model, tiny_tokenizer):
    add_engram(tiny_model, tiny_tokenizer, row_dim=8)
    tail = Tail(require_attachment(tiny_model), 3)
    parts = [
        prepare(tail, [], SEQUENCES, asked=3),
        prepare(tail, CONTEXT, SEQUENCES[:2], asked=1),
    ]
    joined = Batch.join(parts)
    row = torch.randn(8)
    apart = torch.cat([tail.logits(part, rows_of(part, row), None) for part in parts])
    together = tail.logits(joined, rows_of(joined, row), None)
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def test_the_model_is_not_touched(tiny_llama, tiny_tokenizer):
    add_engram(tiny_llama, tiny_tokenizer, row_dim=8)
    names = [name for name, _ in tiny_llama.named_modules()]
    ids = torch.tensor([SEQUENCES[0]])
    before = tiny_llama(ids).logits
    tail = Tail(require_attachment(tiny_llama), 3)
    batch = prepare(tail, CONTEXT, SEQUENCES, asked=2)
    tail.logits(batch, rows_of(batch, torch.randn(8)), None)
    assert [name for name, _ in tiny_llama.named_modules()] == names
    assert torch.equal(tiny_llama(ids).logits, before)


def test_gradients_reach_the_rows_only(tiny_llama, tiny_tokenizer):
    add_engram(tiny_llama, tiny_tokenizer, row_dim=8)
    tail = Tail(require_attachment(tiny_llama), 3)
    batch = prepare(tail, [], SEQUENCES, asked=2)
    row = torch.zeros(8, requires_grad=True)
    loss = tail.logits(batch, rows_of(batch, row), None).logsumexp(-1).sum()
    (gradient,) = torch.autograd.grad(loss, row)
    assert gradient.abs().sum() > 0
    assert all(parameter.grad is None for parameter in tiny_llama.parameters())

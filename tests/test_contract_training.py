"""The contract in training: gradients, checkpointing, steps with tables active."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import tiny
import torch
from patched import TRIGGER, WIDE_ROWS, assert_writes, at_trigger, logits_of, patched
from peft import LoraConfig, get_peft_model
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.func import functional_call
from torch.testing import assert_close
from torch.utils.checkpoint import CheckpointError

from engram_transformers import use_tables
from engram_transformers.errors import HistoryError

# torch 2.6 advises against one of the two variants that are tested.
pytestmark = pytest.mark.filterwarnings("ignore:Please specify CheckpointImpl:FutureWarning")


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


@pytest.fixture
def model(tiny_model, tokenizer):
    return patched(tiny_model, tokenizer)


@pytest.fixture
def llama(tokenizer):
    return patched(tiny.tiny_model("llama"), tokenizer)


def training_loss(model: Any, ids: torch.Tensor) -> torch.Tensor:
    return model(ids, labels=ids, use_cache=False).loss


def gradients(model: Any, ids: torch.Tensor, table: Any) -> list[torch.Tensor]:
    model.zero_grad()
    with use_tables(model, table):
        training_loss(model, ids).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def checkpoint(model: Any, reentrant: bool) -> None:
    # transformers 5.23 renames `gradient_checkpointing_enable`.
    enable: Any = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": reentrant})


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_reads_the_same_rows(model, ids, reentrant):
    table = at_trigger(model, ids[:, :-2]).table  # what follows it counts for the loss
    model.train()
    plain = gradients(model, ids, None)
    expected = gradients(model, ids, table)
    checkpoint(model, reentrant)
    for seen, wanted in zip(gradients(model, ids, table), expected, strict=True):
        assert_close(seen, wanted)
    # The rows are those of the forward, wherever the backward runs.
    model.zero_grad()
    with use_tables(model, table):
        loss = training_loss(model, ids)
    loss.backward()
    for parameter, wanted in zip(model.parameters(), expected, strict=True):
        assert_close(parameter.grad, wanted)
    assert any(not torch.allclose(a, b, atol=1e-4) for a, b in zip(plain, expected, strict=True))


def test_a_training_step_with_tables_lowers_the_loss(model, ids):
    made = at_trigger(model, ids[:, :-2])
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    with use_tables(model, made.table):
        for _ in range(3):
            optimiser.zero_grad()
            loss = training_loss(model, ids)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[2] < losses[0]
    assert torch.equal(made.table.rows.values, made.values)


@pytest.mark.parametrize("reentrant", [None, False, True])
def test_two_forwards_before_one_backward_keep_their_own_tables(llama, ids, reentrant):
    """None: without checkpointing."""
    one, other = (at_trigger(llama, ids[:, :-2], seed=seed).table for seed in range(2))
    llama.train()
    expected = [
        a + 2 * b
        for a, b in zip(gradients(llama, ids, one), gradients(llama, ids, other), strict=True)
    ]
    if reentrant is not None:
        checkpoint(llama, reentrant)
    llama.zero_grad()
    with use_tables(llama, one):
        loss = training_loss(llama, ids)
    with use_tables(llama, other):
        loss = loss + 2 * training_loss(llama, ids)
    loss.backward()
    for parameter, wanted in zip(llama.parameters(), expected, strict=True):
        assert_close(parameter.grad, wanted, rtol=1e-4, atol=1e-5)


def wrap_blocks(model: Any, reentrant: bool) -> Any:
    """Checkpoint each block from the outside, as FSDP's activation checkpointing does."""
    wrapper = functools.partial(
        checkpoint_wrapper,
        checkpoint_impl=CheckpointImpl.REENTRANT if reentrant else CheckpointImpl.NO_REENTRANT,
    )
    block = type(model.model.layers[0])
    apply_activation_checkpointing(
        model, checkpoint_wrapper_fn=wrapper, check_fn=lambda module: isinstance(module, block)
    )
    return model


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
def test_blocks_may_be_checkpointed_before_add_engram(
    tiny_llama, llama, tokenizer, ids, reentrant, outside
):
    table = at_trigger(llama, ids[:, :-2]).table
    expected = gradients(llama, ids, table)
    model = patched(wrap_blocks(tiny_llama, reentrant), tokenizer).train()
    table = at_trigger(model, ids[:, :-2]).table
    model.enable_input_require_grads()
    with use_tables(model, table):
        loss = training_loss(model, ids)
        if not outside:
            loss.backward()
    if outside:
        loss.backward()
    for parameter, wanted in zip(model.parameters(), expected, strict=True):
        assert_close(parameter.grad, wanted)


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("reentrant", [False, True])
def test_blocks_checkpointed_after_add_engram_never_give_wrong_gradients(
    llama, ids, reentrant, outside
):
    """The hooks run again in backward then, when the call is over. Right, or an error."""
    table = at_trigger(llama, ids[:, :-2]).table
    llama.train()
    expected = gradients(llama, ids, table)
    llama.zero_grad()
    wrap_blocks(llama, reentrant)
    llama.enable_input_require_grads()
    try:
        with use_tables(llama, table):
            loss = training_loss(llama, ids)
            if not outside:
                loss.backward()
        if outside:
            loss.backward()
    except (HistoryError, CheckpointError):
        return
    for parameter, wanted in zip(llama.parameters(), expected, strict=True):
        assert_close(parameter.grad, wanted)


@pytest.mark.parametrize(
    "reentrant",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.xfail(
                strict=True, reason="torch.autograd.grad can't be asked through reentrant ones"
            ),
        ),
    ],
)
def test_facts_are_written_to_blocks_that_are_checkpointed(tiny_llama, tokenizer, reentrant):
    model = patched(wrap_blocks(tiny_llama, reentrant), tokenizer, row_dim=WIDE_ROWS)
    assert_writes(model, tokenizer)


# PEFT (0.21) asks transformers (5.23) in a way that is going out of use.
@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_a_lora_learns_with_tables_active(llama, ids):
    table = at_trigger(llama, ids[:, :-2]).table
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    model: Any = get_peft_model(llama, config)
    base = [p.detach().clone() for p in model.parameters() if not p.requires_grad]
    optimiser = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    losses = []
    with use_tables(model, table):
        for _ in range(3):
            optimiser.zero_grad()
            loss = training_loss(model, ids)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[2] < losses[0]
    frozen = [p for p in model.parameters() if not p.requires_grad]
    assert all(torch.equal(a, b) for a, b in zip(frozen, base, strict=True))


def test_functional_calls_read_rows(llama, ids):
    table = at_trigger(llama, ids[:, :-2]).table
    expected = gradients(llama, ids, table)
    parameters = {name: value.detach() for name, value in llama.named_parameters()}

    def loss_of(weights: Any) -> torch.Tensor:
        output = functional_call(llama, weights, (ids,), {"labels": ids, "use_cache": False})
        return output.loss

    with use_tables(llama, table):
        seen = torch.func.grad(loss_of)(parameters)
    for gradient, wanted in zip(seen.values(), expected, strict=True):
        assert_close(gradient, wanted)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_mapped_calls_read_rows(llama, ids):
    table = at_trigger(llama, ids).table
    batches = torch.stack([ids, ids.flip(1)])
    with use_tables(llama, table), torch.no_grad():
        seen = torch.func.vmap(lambda one: llama(one, use_cache=False).logits)(batches)
    for one, logits in zip(batches, seen, strict=True):
        assert_close(logits, logits_of(llama, one, table), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(seen[0], logits_of(llama, ids), atol=1e-2)

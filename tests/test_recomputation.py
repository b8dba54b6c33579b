"""Promises of blocks that are run again within a backward pass: the rows of their first run."""

from __future__ import annotations

import functools
import gc
import threading
from typing import Any

import pytest
import torch
from patched import TRIGGER, at_trigger, patched
from tables import LAYERS
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.testing import assert_close

from engram_transformers import use_tables
from engram_transformers.active import make_frame
from engram_transformers.attachment import require_attachment
from engram_transformers.calls import Call
from engram_transformers.compiled import read
from engram_transformers.errors import HistoryError
from engram_transformers.recomputation import Recomputation, in_backward

# torch 2.6 advises against the variant that both are tested for.
pytestmark = pytest.mark.filterwarnings("ignore:Please specify CheckpointImpl:FutureWarning")

LAYER = LAYERS[0]


@pytest.fixture
def model(tiny_llama, tiny_tokenizer):
    return patched(tiny_llama, tiny_tokenizer)


@pytest.fixture
def ids(tiny_tokenizer) -> torch.Tensor:
    return tiny_tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


@pytest.fixture
def table(model, ids):
    return at_trigger(model, ids[:, :-2]).table


@pytest.fixture
def frame(model, table):
    return make_frame(model, table)


def call_of(model: Any, **fields: Any) -> Call:
    return Call(require_attachment(model), model, torch.tensor([[1, 2]]), (1, 2), **fields)


def within_backward(action: Any) -> Any:
    """What a function returns within a backward pass."""
    returned = []
    leaf = torch.zeros(1, requires_grad=True)
    leaf.register_hook(lambda _: returned.append(action()))
    (2 * leaf).sum().backward()
    return returned[0]


def test_a_backward_pass_is_told_from_everything_else():
    assert not in_backward()
    assert within_backward(in_backward)
    assert not in_backward()


# One block


def test_a_first_run_keeps_its_own_call_and_tables(model, frame):
    call = call_of(model)
    assert Recomputation().first_run(LAYER, torch.zeros(1, 2, 4), call, frame) == (call, frame)
    assert Recomputation().first_run(LAYER, torch.zeros(1, 2, 4), call, None) == (call, None)


@pytest.mark.parametrize("repeated", [lambda hidden: hidden, lambda hidden: hidden.detach()])
def test_a_repeated_run_gets_what_the_first_one_read(model, frame, repeated):
    """Both variants of checkpointing: the same tensor, or a detached view of it."""
    runs = Recomputation()
    hidden, others = torch.zeros(2, 1, 2, 4)
    cache = object()
    call = call_of(model, cache=cache, unsaved=torch.zeros(1), window_after=torch.zeros(1))
    runs.first_run(LAYER, hidden, call, frame)
    runs.first_run(LAYER, others, call_of(model), None)
    runs.first_run(LAYERS[1], hidden, call_of(model), None)
    seen, seen_frame = within_backward(lambda: runs.first_run(LAYER, repeated(hidden), None, None))
    assert seen_frame is frame
    assert torch.equal(seen.window, call.window)
    assert seen.shape == call.shape
    # The backward pass must not write to the cache once more.
    assert (seen.cache, seen.unsaved, seen.window_after) == (None, None, None)
    assert call.cache is cache
    for layer, tensor in ((LAYER, others), (LAYERS[1], hidden)):
        repeat = functools.partial(runs.first_run, layer, tensor, None, None)
        assert within_backward(repeat) == (None, None)


def test_a_repeated_run_gets_what_was_being_written(model):
    runs = Recomputation()
    hidden = torch.zeros(1, 2, 4)
    call = call_of(model, replace=lambda layer, hidden_states: hidden_states)
    runs.first_run(LAYER, hidden, call, None)
    seen, frame = within_backward(lambda: runs.first_run(LAYER, hidden, None, None))
    assert seen.replace is call.replace
    assert frame is None


def test_models_that_read_nothing_are_not_asked_what_they_read(model, frame):
    runs = Recomputation()
    assert within_backward(lambda: runs.first_run(LAYER, torch.zeros(2), None, None)) == (
        None,
        None,
    )
    runs.first_run(0, torch.zeros(1, 2, 4), call_of(model), frame)  # no row at that block
    assert within_backward(lambda: runs.first_run(LAYER, torch.zeros(2), None, None)) == (
        None,
        None,
    )


@pytest.mark.parametrize(
    "other",
    [
        lambda hidden: hidden.clone(),
        lambda hidden: hidden[:, :1],
        lambda hidden: hidden[:, 1:],
        lambda hidden: hidden.transpose(1, 2),
    ],
)
def test_hidden_states_that_nobody_has_seen_are_refused(model, frame, other):
    runs = Recomputation()
    hidden = torch.zeros(1, 2, 2)
    runs.first_run(LAYER, hidden, call_of(model), frame)
    with pytest.raises(HistoryError, match="was not seen to run on"):
        within_backward(lambda: runs.first_run(LAYER, other(hidden), None, None))


def test_tables_that_have_changed_since_are_refused(model, table, frame):
    runs = Recomputation()
    hidden = torch.zeros(1, 2, 4)
    runs.first_run(LAYER, hidden, call_of(model), frame)
    table.erase(all=True)
    with pytest.raises(HistoryError, match="written or erased since the forward"):
        within_backward(lambda: runs.first_run(LAYER, hidden, None, None))


def test_a_run_is_forgotten_with_its_hidden_states(model, frame):
    """And no other tensor is taken for them, also where one comes to lie in the same memory."""
    runs = Recomputation()
    for _ in range(50):
        hidden = torch.zeros(1, 2, 4)
        runs.first_run(LAYER, hidden, call_of(model), frame)
        del hidden
    assert len(runs._runs) == 1
    for _ in range(50):
        hidden = torch.zeros(1, 2, 4)
        with pytest.raises(HistoryError, match="was not seen to run on"):
            within_backward(functools.partial(runs.first_run, LAYER, hidden, None, None))
    runs.forget_expired()
    assert len(runs._runs) == 0


# A model


def checkpointed(model: Any, reentrant: bool) -> Any:
    """Checkpoint each block, hooks included, as FSDP does, and transformers before 5.23."""
    kind = CheckpointImpl.REENTRANT if reentrant else CheckpointImpl.NO_REENTRANT
    block = type(model.model.layers[0])
    apply_activation_checkpointing(
        model,
        checkpoint_wrapper_fn=functools.partial(checkpoint_wrapper, checkpoint_impl=kind),
        check_fn=lambda module: isinstance(module, block),
    )
    model.enable_input_require_grads()
    return model.train()


def loss_of(model: Any, ids: torch.Tensor, table: Any) -> torch.Tensor:
    with use_tables(model, table):
        return model(ids, labels=ids, use_cache=False).loss


def gradients(model: Any) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.fixture
def expected(model, ids, table) -> list[torch.Tensor]:
    """Without checkpointing."""
    loss_of(model, ids, table).backward()
    found = gradients(model)
    model.zero_grad()
    return found


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_backward_in_another_thread_repeats_the_forwards_rows(
    model, ids, table, expected, reentrant
):
    other = at_trigger(model, ids[:, :-2], seed=5).table
    checkpointed(model, reentrant)
    loss = loss_of(model, ids, table)
    raised = []

    def backward() -> None:
        try:
            with use_tables(model, other):
                loss.backward()
        except HistoryError as error:
            raised.append(error)

    thread = threading.Thread(target=backward)
    thread.start()
    thread.join()
    assert not raised
    for seen, wanted in zip(gradients(model), expected, strict=True):
        assert_close(seen, wanted)


def test_threads_that_train_at_once_keep_their_own_rows(model, ids, table):
    """Each forward and each backward waits for the other thread's."""
    tables = [table, at_trigger(model, ids[:, :-2], seed=5).table]
    inputs = [parameter for parameter in model.parameters() if parameter.ndim == 2][1:3]

    def run(number: int, wait: Any) -> tuple[torch.Tensor, ...]:
        loss = loss_of(model, ids, tables[number])
        wait()
        found = torch.autograd.grad(loss, inputs)
        wait()
        return found

    wanted = [run(number, lambda: None) for number in range(2)]
    assert not torch.allclose(wanted[0][0], wanted[1][0], atol=1e-4)
    checkpointed(model, reentrant=False)  # the other variant has no torch.autograd.grad
    barrier = threading.Barrier(2, timeout=60)
    seen: dict[int, tuple[torch.Tensor, ...]] = {}
    threads = [
        threading.Thread(target=lambda n=number: seen.update({n: run(n, barrier.wait)}))
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        for one, other in zip(seen[number], wanted[number], strict=True):
            assert_close(one, other)


@pytest.mark.parametrize("reentrant", [False, True])
def test_moved_hidden_states_are_refused_where_rows_were_read(model, ids, table, reentrant):
    """As by `torch.autograd.graph.save_on_cpu`."""
    checkpointed(model, reentrant)
    moving = torch.autograd.graph.saved_tensors_hooks(lambda saved: saved.clone(), lambda x: x)
    with moving:
        bare = loss_of(model, ids, None)
    bare.backward()
    with moving:
        loss = loss_of(model, ids, table)
    with pytest.raises(HistoryError, match="move them to another device"):
        loss.backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_tables_erased_before_the_backward_are_refused(model, ids, table, reentrant):
    checkpointed(model, reentrant)
    loss = loss_of(model, ids, table)
    table.erase(all=True)
    with pytest.raises(HistoryError, match="Call backward\\(\\) before you change tables"):
        loss.backward()


def test_nothing_is_kept_of_steps_that_are_over(model, ids, table):
    checkpointed(model, reentrant=False)
    for _ in range(3):
        loss_of(model, ids, table).backward()
    gc.collect()
    attachment = require_attachment(model)
    attachment.recomputation.forget_expired()
    assert not attachment.recomputation._runs
    with torch.no_grad():
        loss_of(model, ids, table)
    assert not attachment.recomputation._runs


def test_compiled_reading_is_refused_within_a_backward_pass(model, ids, table):
    """Its operator knows no hidden states."""
    number = require_attachment(model).number
    arguments = (ids, ids.shape[1], number, LAYER, 16, 1, "", torch.device("cpu"))
    with use_tables(model, table):
        assert read(*arguments)[1].any()
        with pytest.raises(HistoryError, match="gradient checkpointing without torch"):
            within_backward(lambda: read(*arguments))

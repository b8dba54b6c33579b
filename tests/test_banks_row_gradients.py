"""Gradients of rows: sums, clipping, processes, and what torch does with them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from banks import memory
from banks_processes import CASES, PROCESSES, alone, work
from banks_rows import ROWS, WIDTH, plans, table_of, touch, training, weight_of
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engram_transformers.banks.errors import BankConfigError, DenseGradientError
from engram_transformers.banks.optimiser import RowAdagrad, RowAdam
from engram_transformers.banks.row_gradients import (
    average_rows_,
    clip_gradient_norm_,
    sum_repeated_rows_,
    summed_rows,
)

batches = st.lists(st.lists(st.integers(0, ROWS - 1), max_size=6), min_size=1, max_size=4)


@given(batches)
def test_rows_read_several_times_count_with_their_sums(read):
    table = table_of()
    for rows in read:
        touch(table, rows)
    rows, gradients = summed_rows(table.weight)
    seen = [row for rows in read for row in rows]
    assert rows.tolist() == sorted(set(seen))
    assert gradients.tolist() == [[seen.count(row)] * WIDTH for row in rows.tolist()]


@pytest.mark.parametrize("summing", [False, True])
def test_a_thousand_gradients_of_bfloat16_are_a_thousand(summing):
    table = table_of(torch.bfloat16)
    touch(table, [3] * 1000)
    if summing:
        sum_repeated_rows_([table.weight])
    rows, gradients = summed_rows(table.weight)
    assert rows.tolist() == [3]
    assert gradients.dtype == torch.float32
    assert gradients.tolist() == [[1000.0] * WIDTH]


def test_summing_keeps_each_row_once():
    table, unread = table_of(), table_of()
    for _ in range(5):
        touch(table, [3, 3, 1])
        sum_repeated_rows_([table.weight, unread.weight])
        assert table.weight.grad._nnz() == 2
    assert table.weight.grad.is_coalesced()
    assert unread.weight.grad is None
    assert table.weight.grad.to_dense()[[1, 3], 0].tolist() == [5, 10]


@given(batches, st.floats(0.01, 100), st.integers(0, 99))
def test_clipping_is_torchs_on_dense_gradients(read, max_norm, seed):
    generator = torch.Generator().manual_seed(seed)
    table, weight = table_of(), weight_of()
    for rows in read:
        factors = torch.randn(len(rows), WIDTH, generator=generator)
        found = table(torch.tensor(rows, dtype=torch.int64))
        (found * factors + weight * factors).sum().backward()
    dense = [nn.Parameter(table.weight.detach()), nn.Parameter(weight.detach())]
    dense[0].grad, dense[1].grad = table.weight.grad.to_dense(), weight.grad.clone()
    norm = clip_gradient_norm_([table.weight, weight], max_norm)
    expected = torch.nn.utils.clip_grad_norm_(dense, max_norm)
    close = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(norm, expected, **close)
    torch.testing.assert_close(table.weight.grad.to_dense(), dense[0].grad, **close)
    torch.testing.assert_close(weight.grad, dense[1].grad, **close)


def test_an_infinite_norm_allowed_only_measures():
    table, weight = table_of(), weight_of()
    touch(table, [1])
    weight.grad = torch.full((WIDTH,), 2.0)
    assert float(clip_gradient_norm_([table.weight, weight], math.inf)) == pytest.approx(15**0.5)
    assert table.weight.grad.to_dense()[1].tolist() == [1.0] * WIDTH
    assert weight.grad.tolist() == [2.0] * WIDTH


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["rows", "dense"])
def test_a_norm_that_is_not_finite_scales_nothing(bad, where):
    table, weight = table_of(), weight_of()
    touch(table, [1])
    touch(table, [2], bad if where == "rows" else 1.0)
    weight.grad = torch.full((WIDTH,), bad if where == "dense" else 2.0)
    before = weight.grad.clone(), table.weight.grad.to_dense()
    assert not clip_gradient_norm_([table.weight, weight], 0.1).isfinite()
    same = {"rtol": 0, "atol": 0, "equal_nan": True}
    torch.testing.assert_close(weight.grad, before[0], **same)
    torch.testing.assert_close(table.weight.grad.to_dense(), before[1], **same)


def test_without_gradients_the_norm_is_zero():
    assert clip_gradient_norm_([table_of().weight, weight_of()], 1.0).tolist() == 0.0
    assert clip_gradient_norm_([], 1.0).tolist() == 0.0


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_norms_that_make_no_sense_are_refused(max_norm):
    with pytest.raises(BankConfigError, match=r"`max_norm` is .* a number above 0"):
        clip_gradient_norm_([], max_norm)


@pytest.mark.parametrize("act", [summed_rows, lambda table: sum_repeated_rows_([table])])
def test_a_dense_gradient_is_not_summed(act):
    weight = nn.Embedding(4, 2).weight
    weight.grad = torch.ones(4, 2)
    with pytest.raises(DenseGradientError, match=r"a table is torch\.strided") as caught:
        act(weight)
    assert caught.value.layout == "torch.strided"


def test_averaging_without_processes_does_nothing():
    table = table_of()
    touch(table, [3, 3])
    before = table.weight.grad
    average_rows_([table.weight])
    assert table.weight.grad is before


class Largest(TorchDispatchMode):
    """Record the most numbers that an operation made in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        given = {id(leaf) for leaf in tree_leaves((args, kwargs))}
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor) and leaf.layout == torch.strided:
                new = 0 if id(leaf) in given or leaf._is_view() else leaf.numel()
                self.numbers = max(self.numbers, new)
        return made


@pytest.mark.parametrize("make", [RowAdam, RowAdagrad])
def test_nothing_of_the_tables_size_is_made(make):
    table = table_of(rows=50_000)
    optimiser = make(table.parameters())
    with Largest() as largest:
        for rows in ([5, 7, 7], [7, 49_999]):
            touch(table, rows)
            touch(table, rows)
            sum_repeated_rows_(table.parameters())
            clip_gradient_norm_(table.parameters(), 0.1)
            optimiser.step()
            optimiser.load_state_dict(optimiser.state_dict())
            optimiser.zero_grad()
    assert 0 < largest.numbers < 100
    with Largest() as largest:
        table.weight.detach().clone()
    assert largest.numbers == 150_000


def test_a_bank_is_trained_with_its_table_made_sparse():
    bank = memory()
    bank.table.sparse = True
    before = {name: values.detach().clone() for name, values in bank.named_parameters()}
    rows = RowAdam([bank.table.weight], lr=0.1)
    hidden, addresses = torch.randn(2, 3, 6), torch.zeros(2, 3, 4, dtype=torch.int64)
    bank(hidden, addresses)[0].square().sum().backward()
    clip_gradient_norm_(bank.parameters(), 1.0)
    rows.step()
    read = bank.bank_hash.offsets.tolist()
    assert rows.touched_rows(bank.table.weight).tolist() == read
    changed = (bank.table.weight != before["table.weight"]).any(1).nonzero().squeeze(1)
    assert changed.tolist() == read


def test_gradients_arrive_in_the_tables_dtype_under_autocast():
    table = table_of()
    projection = nn.Linear(WIDTH, 2)
    with torch.autocast("cpu", torch.bfloat16):
        projection(table(torch.tensor([4, 4, 2]))).sum().backward()
    assert table.weight.grad.is_sparse
    assert table.weight.grad.dtype == torch.float32


def test_scaled_gradients_are_unscaled_before_clipping_and_overflows_skip_the_step():
    plain, scaled = table_of(), table_of()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimisers = [RowAdam(table.parameters(), lr=0.1) for table in (plain, scaled)]
    for factor in (0.5, math.inf, 2.0):
        if factor != math.inf:
            touch(plain, [2, 2, 5], factor)
            clip_gradient_norm_([plain.weight], 0.3)
            optimisers[0].step()
        scaler.scale(scaled(torch.tensor([2, 2, 5])).sum() * factor).backward()
        scaler.unscale_(optimisers[1])
        clip_gradient_norm_([scaled.weight], 0.3)
        scaler.step(optimisers[1])
        scaler.update()
        for optimiser in optimisers:
            optimiser.zero_grad()
    assert scaler.get_scale() == 512.0
    assert torch.equal(plain.weight, scaled.weight)


@given(plans)
def test_recomputed_blocks_give_the_same_gradients(plan):
    once, again = training(RowAdam), training(RowAdam)
    rows = torch.tensor(plan.steps[0][0], dtype=torch.int64)
    once.table(rows).square().sum().backward()
    checkpointed = torch.utils.checkpoint.checkpoint(
        lambda asked: again.table(asked).square(), rows, use_reentrant=False
    )
    checkpointed.sum().backward()
    assert torch.equal(once.table.weight.grad.to_dense(), again.table.weight.grad.to_dense())


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> list[dict[str, dict[str, torch.Tensor]]]:
    """What each process ended with: case -> name -> tensor."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=PROCESSES)
    return [torch.load(Path(folder) / f"outcomes-{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_end_as_one_that_reads_all(outcomes, case):
    expected = alone()
    first, second = (found[case] for found in outcomes)
    assert first.keys() == second.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(first[name], values, rtol=1e-5, atol=1e-6)
        assert torch.equal(first[name], second[name]), name

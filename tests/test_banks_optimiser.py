"""Adam and Adagrad of rows, beside torch's own on the rows that batches read."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from banks_rows import (
    ADAGRAD,
    ADAM,
    ALL,
    FULL,
    OF_TORCH,
    ROW_WISE,
    ROWS,
    WIDTH,
    Plan,
    Reference,
    Training,
    plans,
    table_of,
    touch,
    training,
    weight_of,
)
from hypothesis import example, given
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from engram_transformers.banks.errors import BankConfigError
from engram_transformers.banks.optimiser import RowAdagrad, RowAdam
from engram_transformers.banks.row_gradients import clip_gradient_norm_

CLOSE = {"rtol": 1e-6, "atol": 1e-6}
BUSY = Plan([[[0, 4, 4], [4, 8]], [[]], [[4]], [[0, 1], [], [0]]], max_norm=0.5, resume=2)
"""Rows read twice, in one and in two micro-batches; an empty step; clipping; a resume."""


@pytest.mark.parametrize("kind", FULL)
@given(plan=plans)
@example(plan=BUSY)
def test_rows_move_as_torch_moves_them_one_by_one(kind, plan):
    ours = training(FULL[kind])
    reference = Reference(OF_TORCH[kind], table_of().weight.detach(), weight_of())
    torch.testing.assert_close(ours.run(plan), reference.run(plan), **CLOSE)
    torch.testing.assert_close(ours.norms, reference.norms, **CLOSE)


@pytest.mark.parametrize("kind", FULL)
@given(plan=plans)
@example(plan=BUSY)
def test_rows_of_doubles_move_as_torch_moves_them_to_the_last_digits(kind, plan):
    weight = weight_of(torch.float64)
    ours = Training(FULL[kind], table_of(torch.float64), weight)
    reference = Reference(OF_TORCH[kind], table_of(torch.float64).weight.detach(), weight_of())
    plan = replace(plan, max_norm=None)
    torch.testing.assert_close(ours.run(plan), reference.run(plan), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", FULL)
@given(plan=plans)
@example(plan=BUSY)
def test_tables_of_bfloat16_have_float32_state_and_are_rounded_once_a_step(kind, plan):
    # Autograd adds micro-batches in bfloat16; what one micro-batch reads, we add in float32.
    joined = [[[row for rows in batches for row in rows]] for batches in plan.steps]
    plan = replace(plan, steps=joined, summing=False, max_norm=None)
    ours = training(FULL[kind], torch.bfloat16)
    reference = Reference(OF_TORCH[kind], table_of(torch.bfloat16).weight.detach(), weight_of())
    rows, expected = ours.run(plan), reference.run(plan)
    assert rows.dtype == torch.bfloat16
    # An ulp apart where float32 sums that differ in the last digit lie on two sides of a tie.
    torch.testing.assert_close(rows, expected, rtol=2**-6, atol=2**-8)
    for name, values in ours.optimiser.state_dict()["state"].get(0, {}).items():
        if name in ("exp_avg", "exp_avg_sq", "sum"):
            touched = ours.optimiser.touched_rows(ours.table.weight).tolist()
            theirs = [reference.optimiser.state[reference.rows[row]][name] for row in touched]
            torch.testing.assert_close(values, torch.stack(theirs), **CLOSE)


@pytest.mark.parametrize("name", ALL)
@given(plan=plans)
@example(plan=BUSY)
def test_rows_that_no_batch_read_keep_their_bits(name, plan):
    ours = training(ALL[name])
    read = {row for batches in plan.steps for rows in batches for row in rows}
    others = [row for row in range(ROWS) if row not in read]
    with torch.no_grad():  # bits that arithmetic would change
        ours.table.weight[others] = torch.tensor([math.nan, -0.0, 1e-45])
    before = ours.table.weight.detach().clone().view(torch.int32)
    after = ours.run(plan).view(torch.int32)
    assert torch.equal(after[others], before[others])
    assert ours.optimiser.touched_rows(ours.table.weight).tolist() == sorted(read)


@pytest.mark.parametrize("name", ALL)
@given(plan=plans)
@example(plan=BUSY)
def test_a_resumed_training_ends_with_the_same_bits(name, plan):
    straight, resumed = training(ALL[name]), training(ALL[name])
    at = len(plan.steps) // 2
    one = straight.run(replace(plan, resume=None))
    other = resumed.run(replace(plan, resume=at))
    assert torch.equal(one, other)


def by_hand(kind: str, gradients: list[list[float]]) -> list[float]:
    """Return what a row of zeros becomes, in Python's doubles."""
    row = [0.0] * len(gradients[0])
    average, square = list(row), ADAGRAD["initial_accumulator_value"] if kind == "adagrad" else 0.0
    beta1, beta2 = ADAM["betas"]
    for step, gradient in enumerate(gradients, 1):
        mean = sum(number**2 for number in gradient) / len(gradient)
        if kind == "adagrad":
            square += mean
            change = [number / (math.sqrt(square) + ADAGRAD["eps"]) for number in gradient]
        else:
            square = beta2 * square + (1 - beta2) * mean
            pairs = zip(average, gradient, strict=True)
            average = [beta1 * old + (1 - beta1) * new for old, new in pairs]
            root = math.sqrt(square / (1 - beta2**step)) + ADAM["eps"]
            change = [number / (1 - beta1**step) / root for number in average]
        row = [old - 0.1 * moved for old, moved in zip(row, change, strict=True)]
    return row


@pytest.mark.parametrize("kind", ROW_WISE)
def test_row_wise_state_follows_the_published_formula(kind):
    table = nn.Embedding.from_pretrained(torch.zeros(5, 3), freeze=False, sparse=True)
    optimiser = ROW_WISE[kind]([table.weight])
    gradients = [[1.0, -2.0, 0.5], [0.25, 0.0, 3.0], [-1.0, 1.0, 1.0]]
    for gradient in gradients:
        optimiser.zero_grad()
        (table(torch.tensor([2])) * torch.tensor(gradient)).sum().backward()
        optimiser.step()
        touch_another(table, optimiser)
    torch.testing.assert_close(table.weight[2].tolist(), by_hand(kind, gradients), **CLOSE)


def touch_another(table: nn.Embedding, optimiser: torch.optim.Optimizer) -> None:
    """Take a step that is none of row 2's business."""
    optimiser.zero_grad()
    touch(table, [4])
    optimiser.step()


def test_a_row_read_late_begins_with_a_step_of_its_own():
    table = table_of()
    optimiser = RowAdam(table.parameters(), lr=0.1)
    before = table.weight.detach().clone()
    for step in range(200):
        optimiser.zero_grad()
        touch(table, [1] if step < 199 else [1, 7])
        optimiser.step()
    torch.testing.assert_close(table.weight[7], before[7] - 0.1, **CLOSE)


@pytest.mark.parametrize("name", ALL)
def test_the_learning_rate_is_the_groups_and_schedulers_set_it(name):
    slow, fast = table_of(), table_of()
    before = slow.weight.detach().clone()
    optimiser = ALL[name]([{"params": slow.parameters(), "lr": 0.01}])
    optimiser.add_param_group({"params": fast.parameters(), "lr": torch.tensor(0.05)})
    schedule = LambdaLR(optimiser, lambda step: 1.0 if step else 0.0)
    touch(slow, [1])
    touch(fast, [1])
    optimiser.step()
    assert torch.equal(slow.weight, before)
    schedule.step()
    optimiser.step()
    moved = (slow.weight - before)[1], (fast.weight - before)[1]
    torch.testing.assert_close(moved[1], 5 * moved[0])


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("adam, full", 2 * WIDTH + 1 + 4),
        ("adam, row-wise", WIDTH + 1 + 1 + 4),
        ("adagrad, full", WIDTH + 4),
        ("adagrad, row-wise", 1 + 4),
    ],
)
def test_state_is_that_of_the_rows_read_whatever_the_tables_size(name, numbers):
    sizes = []
    for rows in (1_000, 300_000):
        table = table_of(rows=rows)
        optimiser = ALL[name](table.parameters())
        assert optimiser.nbytes == 0
        for step in range(5):
            touch(table, list(range(40 * step, 40 * step + 60)))
            optimiser.step()
            optimiser.zero_grad()
        touched = len(optimiser.touched_rows(table.weight))
        assert touched == 220
        assert 4 * numbers * touched <= optimiser.nbytes <= 1.5 * 4 * numbers * touched
        saved = optimiser.state_dict()["state"][0]
        assert sum(tensor.nbytes for tensor in saved.values()) == 4 * (numbers - 2) * touched + 16
        sizes.append(optimiser.nbytes)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(
    ("make", "fields", "message"),
    [
        (RowAdam, {"lr": -1.0}, "`lr` is -1.0, but must be a number of at least 0"),
        (RowAdam, {"lr": math.nan}, "`lr` is nan"),
        (RowAdam, {"lr": torch.tensor(-2.0)}, "`lr` is"),
        (RowAdam, {"eps": math.inf}, "`eps` is inf"),
        (RowAdam, {"betas": (0.9, 1.0)}, r"`betas` is \(0.9, 1.0\), but must be two numbers"),
        (RowAdam, {"betas": (-0.1, 0.9)}, "`betas`"),
        (RowAdam, {"betas": (0.9,)}, "`betas`"),
        (RowAdam, {"row_wise": 1}, "`row_wise` is 1, but must be True or False"),
        (RowAdagrad, {"lr": -1.0}, "`lr`"),
        (RowAdagrad, {"initial_accumulator_value": -1.0}, "`initial_accumulator_value`"),
    ],
)
def test_values_that_make_no_sense_are_refused(make, fields, message):
    with pytest.raises(BankConfigError, match=message):
        make(table_of().parameters(), **fields)


def test_averages_without_memory_are_allowed():
    table = table_of()
    before = table.weight.detach().clone()
    optimiser = RowAdam(table.parameters(), lr=0.1, betas=(0.0, 0.0))
    touch(table, [3, 3])
    optimiser.step()
    torch.testing.assert_close(table.weight[3], before[3] - 0.1, **CLOSE)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ALL)
def test_state_follows_a_table_that_moves_to_the_gpu(name):
    here, there = training(ALL[name]), training(ALL[name])
    for number, rows in enumerate(([2, 5, 5], [5, 7], [1, 2])):
        if number == 1:
            there.table.to("cuda")
        for each in (here, there):
            each.optimiser.zero_grad()
            device = each.table.weight.device
            each.table(torch.tensor(rows, device=device)).square().sum().backward()
            clip_gradient_norm_(each.table.parameters(), 0.5)
            each.optimiser.step()
    torch.testing.assert_close(there.table.weight.cpu(), here.table.weight, **CLOSE)
    there.resume()
    assert there.optimiser.touched_rows(there.table.weight).tolist() == [1, 2, 5, 7]

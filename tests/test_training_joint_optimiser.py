"""The joint optimiser: two optimisers that schedulers, scalers and accelerate take for one."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from engram_transformers.banks.errors import RowGradientError, RowStateError
from engram_transformers.banks.optimiser import RowAdagrad, RowAdam
from engram_transformers.training.errors import JointStateError
from engram_transformers.training.joint_optimiser import JointOptimiser, name_parameters


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 4, sparse=True)
        self.weight = nn.Parameter(torch.ones(4))
        self.other = nn.Parameter(torch.ones(2))


def made(seed=0, *, rows=RowAdam, dense=torch.optim.AdamW, names=True):
    torch.manual_seed(seed)
    reader = Reader()
    groups = [{"params": [reader.weight]}, {"params": [reader.other], "weight_decay": 0.5}]
    inner = dense(groups, lr=0.1)
    if names:
        name_parameters(inner, {weight: name for name, weight in reader.named_parameters()})
        tables = [("table.weight", reader.table.weight)]
    else:
        tables = [reader.table.weight]
    return reader, JointOptimiser(inner, rows(tables, lr=0.5))


def step(reader, optimiser, rows=(3, 5, 3)):
    loss = (reader.table(torch.tensor(rows)) * reader.weight).square().sum() + reader.other.sum()
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()


def weights(reader):
    return [weight.detach().clone() for weight in reader.parameters()]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_step_is_that_of_both():
    reader, optimiser = made()
    other, _ = made()
    dense = torch.optim.AdamW(
        [{"params": [other.weight]}, {"params": [other.other], "weight_decay": 0.5}], lr=0.1
    )
    rows = RowAdam([other.table.weight], lr=0.5)
    for _ in range(3):
        step(reader, optimiser)
        (other.table(torch.tensor((3, 5, 3))) * other.weight).square().sum().backward()
        other.other.sum().backward()
        rows.step()
        dense.step()
        rows.zero_grad()
        dense.zero_grad()
    assert same(weights(reader), weights(other))
    assert optimiser.zero_grad() is None
    assert all(weight.grad is None for weight in reader.parameters())


def test_groups_are_those_of_the_parts():
    reader, optimiser = made()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda epoch: 0.5**epoch)
    step(reader, optimiser)
    scheduler.step()
    assert [group["lr"] for group in optimiser.dense.param_groups] == [0.05, 0.05]
    assert optimiser.rows.param_groups[0]["lr"] == 0.25
    assert scheduler.get_last_lr() == [0.05, 0.05, 0.25]
    assert set(optimiser.state) == set(reader.parameters())
    optimiser.state = {}
    with pytest.raises(AttributeError, match="that of its two parts"):
        optimiser.state = {reader.weight: {}}


@pytest.mark.parametrize("names", [True, False])
def test_a_saved_state_is_taken_over_bit_for_bit(names):
    reader, optimiser = made(names=names)
    step(reader, optimiser)
    stored = io.BytesIO()
    torch.save(optimiser.state_dict(), stored)
    stored.seek(0)
    other, loaded = made(names=names)
    other.load_state_dict(reader.state_dict())
    scheduler = torch.optim.lr_scheduler.LambdaLR(loaded, lambda epoch: 0.5**epoch)
    loaded.load_state_dict(torch.load(stored, weights_only=True))
    for model, each in ((reader, optimiser), (other, loaded)):
        step(model, each, (3, 8))
    assert same(weights(reader), weights(other))
    scheduler.step()  # still sets the groups that are stepped
    assert loaded.rows.param_groups[0]["lr"] == 0.25
    assert loaded.param_groups[0] is loaded.dense.param_groups[0]


def test_the_state_is_numbered_as_torch_numbers_it():
    reader, optimiser = made()
    step(reader, optimiser)
    packed = optimiser.state_dict()
    assert sorted(packed["state"]) == [0, 1, 2]
    assert [group["params"] for group in packed["param_groups"]] == [[0], [1], [2]]
    assert packed["state"][2]["rows"].tolist() == [3, 5]


@pytest.mark.parametrize("what", ["count", "name", "shape", "rows"])
def test_states_of_others_are_refused_and_change_nothing(what):
    reader, optimiser = made()
    step(reader, optimiser)
    packed = copy.deepcopy(optimiser.state_dict())
    rows = RowAdagrad if what == "rows" else RowAdam
    other, loading = made(rows=rows)
    step(other, loading, (1,))
    before = copy.deepcopy(loading.state_dict())
    if what == "count":
        packed["param_groups"][0]["params"] = [0, 7]
    elif what == "name":
        packed["param_groups"][0]["param_names"] = ["bias"]
    elif what == "shape":
        packed["state"][0]["exp_avg"] = torch.zeros(5)
    expected = {
        "count": (JointStateError, r"groups have \[2, 1, 1\] parameters, but here \[1, 1, 1\]"),
        "name": (JointStateError, "it has bias where weight is here"),
        "shape": (JointStateError, r"weight had shape \(5,\), but has \(4,\)"),
        "rows": (RowStateError, "this optimiser keeps `rows`, `sum`"),
    }
    error, match = expected[what]
    with pytest.raises(error, match=match):
        loading.load_state_dict(packed)
    after = loading.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for number, kept in before["state"].items():
        assert all(torch.equal(kept[name], after["state"][number][name]) for name in kept)


def test_rows_that_are_refused_leave_dense_weights_alone():
    reader, optimiser = made()
    before = weights(reader)
    reader.weight.grad = torch.ones(4)
    (reader.table(torch.tensor([2])) * float("nan")).sum().backward()
    with pytest.raises(RowGradientError, match=r"NaN or infinite in 1 rows \(2\)"):
        optimiser.step()
    assert same(weights(reader), before)


def test_a_closure_is_called_once():
    reader, optimiser = made()
    calls = []

    def closure():
        calls.append(1)
        loss = reader.table(torch.tensor([2])).sum() + reader.weight.sum() + reader.other.sum()
        loss.backward()
        return loss

    expected = float(reader.table.weight[2].sum().detach()) + 6
    assert optimiser.step(closure).item() == pytest.approx(expected)
    assert float(reader.weight.detach()[0]) != 1
    assert calls == [1]


def test_groups_added_later_are_stepped():
    reader, optimiser = made(names=False)
    late = nn.Parameter(torch.ones(1))
    optimiser.add_param_group({"params": [late], "lr": 1.0})
    late.grad = torch.ones(1)
    optimiser.step()
    assert late.item() != 1
    assert len(optimiser.param_groups) == 4
    assert optimiser.param_groups[-1] is optimiser.rows.param_groups[0]
    step(reader, optimiser)


def test_the_scaler_unscales_both_and_leaves_out_steps_that_overflow():
    reader, optimiser = made()
    plain, other = made()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for factor in (1.0, float("inf"), 1.0):
        before = weights(reader)
        loss = (reader.table(torch.tensor([3, 3])) * reader.weight).sum() + reader.other.sum()
        scaler.scale(loss * factor).backward()
        scaler.unscale_(optimiser)
        scaler.step(optimiser)
        scaler.update()
        optimiser.zero_grad()
        assert same(weights(reader), before) == (factor != 1.0)
    for _ in range(2):
        loss = (plain.table(torch.tensor([3, 3])) * plain.weight).sum() + plain.other.sum()
        loss.backward()
        other.step()
        other.zero_grad()
    for seen, expected in zip(weights(reader), weights(plain), strict=True):
        torch.testing.assert_close(seen, expected)


@pytest.mark.filterwarnings("ignore")
def test_accelerate_takes_it_for_one_optimiser():
    reader, optimiser = made()
    plain, other = made()
    accelerator = Accelerator(cpu=True)
    reader, prepared = accelerator.prepare(reader, optimiser)
    for model, each in ((reader, prepared), (plain, other)):
        step(model, each)
        step(model, each)
    assert prepared.optimizer is optimiser
    assert same(weights(reader), weights(plain))


def test_modes_of_a_dense_optimiser_are_passed_on():
    class Free(torch.optim.AdamW):
        mode = ""

        def train(self):
            self.mode = "train"

        def eval(self):
            self.mode = "eval"

    _, optimiser = made(dense=Free)
    optimiser.train()
    assert optimiser.dense.mode == "train"
    optimiser.eval()
    assert optimiser.dense.mode == "eval"
    _, plain = made()
    plain.train()

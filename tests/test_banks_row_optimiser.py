"""What all optimisers of rows promise: refusals, saved state, copies."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from banks_rows import ALL, FULL, ROW_WISE, WIDTH, table_of, touch, training
from safetensors.torch import load, save
from torch import nn

from engram_transformers.banks.errors import (
    BankConfigError,
    BankDtypeError,
    BankShapeError,
    DenseGradientError,
    ResizedTableError,
    RowGradientError,
    RowStateError,
)
from engram_transformers.banks.optimiser import RowAdagrad, RowAdam

every = pytest.mark.parametrize("name", ALL)


def trained(name: str, table: nn.Embedding, rows: list[int]) -> torch.optim.Optimizer:
    """Return an optimiser that took one step."""
    optimiser = ALL[name](table.parameters())
    touch(table, rows)
    optimiser.step()
    optimiser.zero_grad()
    return optimiser


def bits(optimiser: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Return all tensors of a state."""
    states = optimiser.state_dict()["state"]
    return [states[key][name] for key in sorted(states) for name in sorted(states[key])]


def sparse(indices: list, values: list, shape: torch.Size) -> torch.Tensor:
    """Return a sparse tensor."""
    return torch.sparse_coo_tensor(indices, values, shape, check_invariants=True)


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Say whether two states are equal to the bit."""
    return len(one) == len(other) and all(map(torch.equal, one, other))


@every
def test_a_dense_gradient_is_refused(name):
    dense = nn.Embedding(5, WIDTH)
    optimiser = ALL[name](dense.named_parameters())
    touch(dense, [1])
    message = r"gradient of `weight` is torch.strided \(60 bytes\).*sparse=True"
    with pytest.raises(DenseGradientError, match=message):
        optimiser.step()
    assert not optimiser.state


@every
def test_a_gradient_of_single_numbers_is_refused(name):
    table = table_of()
    optimiser = ALL[name](table.parameters())
    table.weight.grad = sparse([[1], [2]], [1.0], table.weight.shape)
    with pytest.raises(DenseGradientError, match=r"table 0 of group 0 .* one sparse dimension"):
        optimiser.step()


@every
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_rows_without_a_finite_gradient_are_named_and_nothing_changes(name, bad):
    first, second = table_of(), table_of(rows=30)
    optimiser = ALL[name]([*first.parameters(), *second.parameters()])
    touch(first, [2])
    touch(second, [5])
    optimiser.step()
    before = copy.deepcopy([first.weight.data, second.weight.data]), bits(optimiser)
    touch(second, list(range(29, 10, -1)), bad)
    message = r"table 1 of group 0 is NaN or infinite in 19 rows \(11, 12, .*, 18, …\)"
    with pytest.raises(RowGradientError, match=message) as caught:
        optimiser.step()
    assert caught.value.rows == tuple(range(11, 19))
    assert caught.value.count == 19
    assert torch.equal(first.weight, before[0][0])
    assert torch.equal(second.weight, before[0][1])
    assert same(bits(optimiser), before[1])


@every
def test_a_resized_table_is_refused(name):
    table = table_of()
    optimiser = trained(name, table, [2])
    table.weight.data = torch.zeros(20, WIDTH)
    touch(table, [2])
    with pytest.raises(ResizedTableError, match=r"shape \(20, 3\), but had \(9, 3\)"):
        optimiser.step()
    assert not table.weight.any()


@every
@pytest.mark.parametrize(
    ("parameter", "error", "message"),
    [
        (torch.zeros(3), BankShapeError, "two dimensions: rows, width"),
        (torch.zeros(3, 2, dtype=torch.complex64), BankDtypeError, "complex64, but must be float"),
    ],
)
def test_parameters_that_are_no_tables_are_refused(name, parameter, error, message):
    with pytest.raises(error, match=message):
        ALL[name]([nn.Parameter(parameter)])
    optimiser = ALL[name](table_of().parameters())
    with pytest.raises(error, match="table 0 of group 1"):
        optimiser.add_param_group({"params": [nn.Parameter(parameter)]})
    assert len(optimiser.param_groups) == 1


@every
def test_weight_decay_is_refused_unless_it_is_none(name):
    ALL[name]([{"params": table_of().parameters(), "weight_decay": 0.0}])
    with pytest.raises(BankConfigError, match=r"`weight_decay` is 0\.1, but must be 0"):
        ALL[name]([{"params": table_of().parameters(), "weight_decay": 0.1}])


@every
def test_steps_without_gradients_change_and_remember_nothing(name):
    table = table_of()
    before = table.weight.detach().clone()
    optimiser = ALL[name](table.parameters())
    optimiser.step()
    touch(table, [])
    assert table.weight.grad is not None
    optimiser.step()
    assert torch.equal(table.weight, before)
    assert optimiser.nbytes == 0
    assert optimiser.touched_rows(table.weight).tolist() == []
    assert optimiser.state_dict()["state"] == {}


@every
def test_a_closure_is_evaluated_with_gradients_and_its_loss_returned(name):
    table = table_of()
    optimiser = ALL[name](table.parameters())

    def closure():
        touch(table, [4])
        return 2.5

    assert optimiser.step(closure) == 2.5
    assert optimiser.touched_rows(table.weight).tolist() == [4]


@every
def test_state_goes_through_files_of_torch_and_of_safetensors(name):
    table = table_of()
    optimiser = trained(name, table, [7, 1, 7])
    file = io.BytesIO()
    torch.save(optimiser.state_dict(), file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    flat = {
        f"{key}.{entry}": tensor
        for entry, tensor in optimiser.state_dict()["state"][0].items()
        for key in [0]
    }
    unflat = {entry.split(".")[1]: tensor for entry, tensor in load(save(flat)).items()}
    for state in (saved["state"], {0: unflat}):
        other = ALL[name](table.parameters())
        other.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
        assert same(bits(other), bits(optimiser))
        assert other.touched_rows(table.weight).tolist() == [1, 7]


@every
def test_state_in_float32_stays_so_for_a_table_of_bfloat16(name):
    table = table_of(torch.bfloat16)
    optimiser = trained(name, table, [7, 1])
    other = ALL[name](table.parameters())
    other.load_state_dict(optimiser.state_dict())
    kinds = {tensor.dtype for tensor in bits(other)}
    assert torch.float32 in kinds
    assert torch.bfloat16 not in kinds


@every
def test_groups_values_are_resumed(name):
    table = table_of()
    optimiser = trained(name, table, [7])
    optimiser.param_groups[0]["lr"] = 0.025
    other = ALL[name](table.parameters())
    other.load_state_dict(optimiser.state_dict())
    assert other.param_groups[0]["lr"] == 0.025


def refused(optimiser: torch.optim.Optimizer, saved: dict, message: str) -> RowStateError:
    """Return the error of loading, after a look that nothing changed."""
    before = bits(optimiser), copy.deepcopy(optimiser.param_groups[0]["lr"])
    with pytest.raises(RowStateError, match=message) as caught:
        optimiser.load_state_dict(saved)
    assert same(bits(optimiser), before[0])
    assert optimiser.param_groups[0]["lr"] == before[1]
    return caught.value


@every
def test_the_state_of_another_table_is_refused(name):
    optimiser = trained(name, table_of(), [3])
    saved = trained(name, table_of(rows=11), [7]).state_dict()
    saved["param_groups"][0]["lr"] = 7.0
    refused(optimiser, saved, r"of table 0 of group 0, it is of a table of shape \(11, 3\), not")


@every
def test_the_state_of_a_table_of_another_name_is_refused(name):
    one, other = (nn.ModuleDict({part: table_of()}) for part in ("layer 1", "layer 8"))
    optimiser = ALL[name](one.named_parameters())
    saved = ALL[name](other.named_parameters()).state_dict()
    refused(optimiser, saved, r"`param_names` of group 0 is \['layer 8.weight'\], but here")


@pytest.mark.parametrize("kind", FULL)
def test_the_state_of_another_kind_is_refused(kind):
    full, row_wise = training(FULL[kind]).optimiser, training(ROW_WISE[kind]).optimiser
    message = "`row_wise` of group 0 is True, but here False"
    refused(full, row_wise.state_dict(), message)


def test_all_that_does_not_fit_is_named_at_once():
    adam, adagrad = RowAdam(table_of().parameters()), RowAdagrad(table_of().parameters())
    table = adagrad.param_groups[0]["params"][0]
    table.grad = sparse([[1]], [[1.0] * WIDTH], table.shape)
    adagrad.step()
    saved = adagrad.state_dict()
    saved["state"][4] = saved["state"][0]
    error = refused(adam, saved, "nothing was loaded")
    assert len(error.problems) == 3
    for part in ("`row_wise`", "it holds `rows`, `sum`", "tables that no group names: 4"):
        assert part in str(error)


def test_other_numbers_of_tables_are_refused():
    two = RowAdam([*table_of().parameters(), *table_of().parameters()])
    one = RowAdam(table_of().parameters())
    refused(one, two.state_dict(), r"its groups have \[2\] tables, but this optimiser's have \[1\]")


@every
def test_a_copy_goes_its_own_way(name):
    table = table_of()
    optimiser = trained(name, table, [2])
    before = bits(optimiser)
    other = copy.deepcopy(optimiser)
    (copied,) = other.param_groups[0]["params"]
    copied.grad = sparse([[2, 3]], [[1.0] * WIDTH] * 2, copied.shape)
    other.step()
    assert same(bits(optimiser), before)
    assert other.touched_rows(copied).tolist() == [2, 3]

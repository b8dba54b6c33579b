"""Rows of a shared table, as one process sees them; two and more: see `test_training_fsdp`."""

from __future__ import annotations

import time

import pytest
import torch
import torch.distributed as dist
from torch import nn

from engram_transformers.banks.row_exchange import RowRange, read_rows
from engram_transformers.banks.sharded import ShardedTable, shard_table, sharing_mesh

ROWS = 11
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def group():
    """A group of this one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    time.sleep(0.2)  # as in test_sharding
    dist.destroy_process_group()


@pytest.fixture
def table() -> ShardedTable:
    torch.manual_seed(0)
    return shard_table(torch.randn(ROWS, 4, requires_grad=True), sharing_mesh(CPU), CPU)


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 7, 20])
def test_each_row_lies_in_one_process(processes):
    shares = [RowRange(ROWS, processes, process) for process in range(processes)]
    rows = [row for share in shares for row in range(share.first, share.last)]
    assert rows == list(range(ROWS))
    chunks = [len(part) for part in torch.arange(ROWS).chunk(processes)]
    assert [n for s in shares if (n := s.last - s.first)] == chunks  # as DTensor cuts it


def test_rows_and_their_gradients_are_those_of_an_embedding(table):
    plain = nn.Embedding(ROWS, 4, sparse=True)
    plain.weight.data.copy_(table.local)
    addresses = torch.tensor([[3, 3, 0], [10, 4, 3]])
    weights = torch.randn(2, 3, 4)
    for one in (table, plain):
        (one(addresses) * weights).sum().backward()
    assert torch.equal(table(addresses), plain(addresses))
    assert table.local.grad is not None
    assert plain.weight.grad is not None
    assert table.local.grad.layout == torch.sparse_coo
    torch.testing.assert_close(table.local.grad.to_dense(), plain.weight.grad.to_dense())


def test_what_is_sent_goes_by_the_different_rows_that_are_read(table, monkeypatch):
    sent: list[int] = []
    send = dist.all_to_all_single

    def counted(into, out, *args, **kwargs):
        sent.append(out.numel())
        return send(into, out, *args, **kwargs)

    monkeypatch.setattr(dist, "all_to_all_single", counted)
    rows = read_rows(table.local, torch.tensor([[2] * 50 + [9] * 50]), table.share)
    rows.sum().backward()
    assert sent == [1, 2, 2 * 4, 2 * 4]  # counts, ids, rows, gradients
    assert table.local.grad is not None
    assert table.local.grad._nnz() == 2


def test_a_process_that_reads_nothing_takes_part(table):
    rows = table(torch.empty(0, 3, dtype=torch.int64))
    assert rows.shape == (0, 3, 4)
    rows.sum().backward()
    assert table.local.grad is not None
    assert table.local.grad._nnz() == 0


def test_the_whole_table_is_one_weight_until_it_moves(table):
    weight = table.weight
    assert table.weight is weight
    assert weight.shape == (ROWS, 4)
    with torch.no_grad():
        table.local[2] = 5.0
    assert (weight.full_tensor()[2] == 5.0).all()
    table.double()
    assert table.weight is not weight
    assert table.weight.dtype == torch.float64


def test_a_share_of_no_rows_moves_too():
    table = shard_table(torch.zeros(0, 4), sharing_mesh(CPU), CPU)
    assert table.weight.dtype == torch.float32
    assert table.double().weight.dtype == torch.float64


def test_its_state_dict_is_that_of_an_embedding(table):
    state = table.state_dict()
    assert list(state) == ["weight"]
    whole = state["weight"].full_tensor().clone()
    other = shard_table(torch.zeros(ROWS, 4), sharing_mesh(CPU), CPU)
    for given in (state, {"weight": whole}):
        with torch.no_grad():
            other.local.zero_()
        other.load_state_dict(given)
        assert torch.equal(other.local, table.local)
    with pytest.raises(RuntimeError, match=r"Missing key.*weight"):
        other.load_state_dict({})
    with pytest.raises(RuntimeError, match=r"weight has shape \(3, 4\)"):
        other.load_state_dict({"weight": whole[:3]})

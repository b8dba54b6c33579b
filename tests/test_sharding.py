"""Promises of looking into sharded weights. Two processes: see `test_contract_distributed`."""

from __future__ import annotations

import time

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

from engram_transformers.sharding import is_sharded, sharded_samples

# Of torch 2.6, about what is not used here.
pytestmark = pytest.mark.filterwarnings("ignore:DTensor random operators:UserWarning")


@pytest.fixture(scope="module")
def mesh():
    """A mesh of this one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    # Until gloo's thread has let go of the last tensors: torch 2.6 waits for ever otherwise.
    time.sleep(0.2)
    dist.destroy_process_group()


def test_only_distributed_tensors_are_sharded(mesh):
    weight = torch.randn(4, 3)
    assert not is_sharded(weight)
    assert not is_sharded(torch.nn.Parameter(weight))
    assert is_sharded(distribute_tensor(weight, mesh, [Shard(0)]))
    assert is_sharded(torch.nn.Parameter(distribute_tensor(weight, mesh, [Replicate()])))


@pytest.mark.parametrize("placement", [Shard(0), Shard(1), Replicate()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_samples_are_those_of_the_whole_weight(mesh, placement, dtype):
    whole = [
        torch.randn(7, 5).to(dtype),
        torch.randn(2, 3).to(dtype),
        torch.randn(64, 64).to(dtype),
    ]
    weights = [distribute_tensor(weight, mesh, [placement]) for weight in whole]
    seen = sharded_samples(weights, 16)
    for sample, weight in zip(seen, whole, strict=True):
        flat = weight.reshape(-1)
        expected = flat[:: max(flat.numel() // 16, 1)][:16]
        assert sample.dtype == dtype
        assert torch.equal(sample, expected)


def test_nothing_sharded_takes_no_collective(monkeypatch):
    monkeypatch.setattr(dist, "all_reduce", None)
    assert sharded_samples([], 16) == []

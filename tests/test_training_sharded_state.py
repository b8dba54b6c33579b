"""Files of an optimiser's state are read by any number of processes."""

from __future__ import annotations

import json
import time

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from engram_transformers.banks.optimiser import RowAdam
from engram_transformers.banks.row_exchange import RowRange
from engram_transformers.training.errors import JointStateError
from engram_transformers.training.joint_optimiser import JointOptimiser
from engram_transformers.training.sharded_state import load_sharded_state, save_sharded_state

pytestmark = pytest.mark.filterwarnings("ignore:DTensor random operators:UserWarning")


@pytest.fixture(scope="module")
def mesh():
    """A mesh of this one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    time.sleep(0.2)  # as in test_sharding
    dist.destroy_process_group()


def stepped(mesh, weight: torch.Tensor, *, steps: int) -> JointOptimiser:
    """Return an optimiser of a sharded weight and a table, that has taken some steps."""
    torch.manual_seed(0)
    dense = torch.nn.Parameter(distribute_tensor(weight, mesh, [Shard(0)]))
    table = torch.nn.Embedding(10, 4, sparse=True)
    joint = JointOptimiser(torch.optim.AdamW([("w", dense)]), RowAdam([("t", table.weight)]))
    for step in range(steps):
        (table(torch.tensor([step, 7])).sum() + dense.to_local().square().sum()).backward()
        joint.step()
        joint.zero_grad()
    return joint


def test_a_state_that_was_saved_is_loaded(mesh, tmp_path):
    joint, other = (stepped(mesh, torch.randn(5, 3), steps=steps) for steps in (2, 0))
    assert not load_sharded_state(other, [RowRange(10, 1, 0)], tmp_path / "nowhere")
    save_sharded_state(joint, [RowRange(10, 1, 0)], tmp_path)
    assert load_sharded_state(other, [RowRange(10, 1, 0)], tmp_path)
    expected, found = joint.state_dict(), other.state_dict()
    assert found["param_groups"] == expected["param_groups"]
    for number, state in expected["state"].items():
        for entry, value in state.items():
            whole = getattr(value, "full_tensor", lambda value=value: value)()
            seen = found["state"][number][entry]
            assert torch.equal(getattr(seen, "full_tensor", lambda seen=seen: seen)(), whole)


def test_shards_of_three_processes_are_joined_by_one(mesh, tmp_path):
    joint = stepped(mesh, torch.randn(5, 3), steps=2)
    save_sharded_state(joint, [RowRange(10, 1, 0)], tmp_path)
    whole = joint.dense.state_dict()["state"][0]["exp_avg"].full_tensor()
    groups = json.dumps(joint.state_dict()["param_groups"])
    (tmp_path / "engram_optimiser-00000-of-00001.safetensors").unlink()
    for process, (begin, end) in enumerate([(0, 2), (2, 4), (4, 5)]):
        names = ("0.exp_avg", "0.exp_avg_sq")
        tensors = {name: whole[begin:end].clone() for name in names}
        if process == 0:
            tensors["0.step"] = torch.tensor(2.0)
        told = {"first": json.dumps(dict.fromkeys(names, begin)), "groups": groups, "plain": "{}"}
        save_file(tensors, tmp_path / f"engram_optimiser-{process:05d}-of-00003.safetensors", told)
    other = stepped(mesh, torch.randn(5, 3), steps=0)
    assert load_sharded_state(other, [RowRange(10, 1, 0)], tmp_path)
    state = other.dense.state_dict()["state"][0]
    assert torch.equal(state["exp_avg"].full_tensor(), whole)


def test_states_of_other_parameters_and_damaged_files_are_refused(mesh, tmp_path):
    joint = stepped(mesh, torch.randn(5, 3), steps=2)
    save_sharded_state(joint, [RowRange(10, 1, 0)], tmp_path)
    other = stepped(mesh, torch.randn(5, 3), steps=0)
    other.rows.param_groups[0]["param_names"] = ["u"]
    with pytest.raises(JointStateError, match=r"it has \['t'\] where \['u'\] are here"):
        load_sharded_state(other, [RowRange(10, 1, 0)], tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(JointStateError, match="can't be read"):
        load_sharded_state(joint, [RowRange(10, 1, 0)], tmp_path)


def test_a_weight_that_is_sharded_by_columns_is_refused(mesh, tmp_path, monkeypatch):
    joint = stepped(mesh, torch.randn(5, 3), steps=1)
    (average,) = [s["exp_avg"] for s in joint.dense.state.values()]
    monkeypatch.setattr(average, "to_local", lambda: torch.zeros(5, 1))
    with pytest.raises(JointStateError, match="along another dimension"):
        save_sharded_state(joint, [RowRange(10, 1, 0)], tmp_path)
    assert not list(tmp_path.iterdir())

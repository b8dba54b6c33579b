"""Ways of training that are refused under FSDP2, and in its place."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist
from bank_training import make_trainer, with_new_banks
from torch.distributed.fsdp import fully_shard

from engram_transformers.attachment import require_attachment
from engram_transformers.training.errors import UnsupportedTrainingError, UntrainableBankError
from engram_transformers.training.support import require_supported


@pytest.fixture(scope="module")
def group():
    """A group of this one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    time.sleep(0.2)  # as in test_sharding
    dist.destroy_process_group()


def trainer(*, version: int = 2, freeze_base: bool = True, parallelism: Any = None, **args: Any):
    """Return what is looked at of a trainer under FSDP."""
    given = {"fp16": False, "torch_compile": False, "n_gpu": 1, **args}
    return SimpleNamespace(
        optimizer=None,
        is_deepspeed_enabled=False,
        is_fsdp_enabled=True,
        freeze_base=freeze_base,
        accelerator=SimpleNamespace(is_fsdp2=version == 2, parallelism_config=parallelism),
        args=SimpleNamespace(**given),
        model=with_new_banks(),
    )


def test_fsdp2_is_supported():
    require_supported(trainer())
    require_supported(trainer(fp16=True))
    require_supported(trainer(freeze_base=False))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"version": 1}, "FSDP version 1 or over XLA: use FSDP2"),
        ({"torch_compile": True}, "FSDP2 and torch_compile"),
        ({"fp16": True, "freeze_base": False}, "fp16 and freeze_base=False.*bf16=True"),
        ({"parallelism": SimpleNamespace(cp_enabled=True)}, "`cp_size` above 1"),
        ({"parallelism": SimpleNamespace(tp_enabled=True)}, "`tp_size` above 1"),
    ],
)
def test_what_rows_can_t_be_trained_with_is_refused(options, match):
    with pytest.raises(UnsupportedTrainingError, match=match):
        require_supported(trainer(**options))


def test_a_sharded_base_that_the_trainer_was_not_told_of_is_refused(tmp_path, group):
    model = with_new_banks()
    ours = {w for b in require_attachment(model).banks.values() for w in b.parameters()}
    fully_shard(model, ignored_params=ours)
    with pytest.raises(UnsupportedTrainingError, match="which the trainer was not told"):
        make_trainer(tmp_path, model)


def test_banks_that_fsdp_has_sharded_are_refused(tmp_path, group):
    model = fully_shard(with_new_banks())
    with pytest.raises(UntrainableBankError, match=r"of layer 1.*as large as the table.*ignored"):
        make_trainer(tmp_path, model)

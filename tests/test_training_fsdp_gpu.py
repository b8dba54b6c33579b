"""FSDP2 over NCCL: two GPUs end as one process on the CPU does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bank_training import is_same
from fsdp_processes import CASES, ON_GPUS, STEPS, work_on_gpus
from torch.testing import assert_close
from training_processes import PROCESSES, trained

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(torch.cuda.device_count() < PROCESSES, reason="needs two GPUs"),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gpus")
    torch.multiprocessing.spawn(work_on_gpus, (str(folder),), nprocs=PROCESSES)
    files = [folder / f"outcomes-{rank}.pt" for rank in range(PROCESSES)]
    return [torch.load(file, weights_only=False) for file in files]


def of_all(outcomes, name) -> list[dict[str, Any]]:
    for rank, found in enumerate(outcomes):
        assert not isinstance(found[name], str), f"Process {rank}:\n{found[name]}"
    return [found[name] for found in outcomes]


@pytest.mark.parametrize("case", [name for name in ON_GPUS if name in CASES])
def test_two_gpus_end_as_one_process_with_whole_batches(outcomes, tmp_path, case):
    first, second = of_all(outcomes, case)
    of_case = {**STEPS, **CASES[case]}
    expected = trained("lora" if case == "lora" else "plain", tmp_path, 1, **of_case)
    for name in ("banks", "base", "norms"):
        assert_close(first[name], expected[name], rtol=1e-5, atol=1e-6)
    assert is_same(first["banks"], second["banks"])
    assert first["rates"] == pytest.approx(expected["rates"])


def test_two_gpus_resume_a_checkpoint(outcomes):
    for found in of_all(outcomes, "SHARDED_STATE_DICT"):
        for name, weight in found["whole"]["banks"].items():
            assert_close(found["resumed"]["banks"][name], weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_two_gpus_train_in_half_precision(outcomes, precision):
    (first, second), (plain, _) = of_all(outcomes, precision), of_all(outcomes, "plain")
    assert is_same(first["banks"], second["banks"])
    assert first["losses"] == pytest.approx(plain["losses"], rel=1e-2)

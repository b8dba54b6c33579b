"""The contract on two processes: DDP and FSDP2, on the CPU through gloo."""

from __future__ import annotations

import json

import pytest
import torch
from two_processes import ALL_CHECKS, PROCESSES, work

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> list[dict[str, str]]:
    """What each process found: check -> traceback, empty where the check holds."""
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=PROCESSES)
    files = [folder / f"outcomes-{rank}.json" for rank in range(PROCESSES)]
    return [json.loads(file.read_text("utf-8")) for file in files]


@pytest.mark.parametrize("check", ALL_CHECKS)
def test_two_processes_find_that_a_model(outcomes, check):
    for rank, found in enumerate(outcomes):
        assert not found[check], f"Process {rank}:\n{found[check]}"

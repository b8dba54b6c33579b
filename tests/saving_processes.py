"""Banks that two processes share (FSDP2, gloo on the CPU) are saved and loaded by both."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from banked import with_banks
from saved_banks import content, same_weights, weights_of
from torch import distributed
from torch.distributed.fsdp import fully_shard

from engram_transformers import load_engram, save_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.banks.file_errors import BankMismatchError


def made(seed: int) -> Any:
    return with_banks(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), seed=seed)


def sharded(model: Any) -> Any:
    for block in model.model.layers:
        fully_shard(block)
    return model


def whole_weights(model: Any) -> dict[str, torch.Tensor]:
    return {
        name: weight.full_tensor() if hasattr(weight, "full_tensor") else weight
        for name, weight in weights_of(model).items()
    }


def check(folder: Path, rank: int) -> None:
    single, trained, other = made(0), sharded(made(0)), sharded(made(9))
    assert not same_weights(whole_weights(other), weights_of(single))
    save_engram(trained, folder / ("shared", "nowhere")[rank], max_shard_size=8_000)
    distributed.barrier()
    assert not (folder / "nowhere").exists()
    if rank == 0:
        save_engram(single, folder / "single", max_shard_size=8_000)
        assert content(folder / "shared") == content(folder / "single")
    distributed.barrier()
    load_engram(other, folder / "shared")
    assert same_weights(whole_weights(other), weights_of(single))
    for bank in require_attachment(single).banks.values():
        bank.to(torch.bfloat16)
    if rank == 0:
        save_engram(single, folder / "small")
    distributed.barrier()
    with pytest.raises(BankMismatchError, match=r"torch\.float32 and sharded over processes"):
        load_engram(other, folder / "small")


def work(rank: int, folder: str) -> None:
    """Check as one of the processes, and write what went wrong."""
    torch.set_num_threads(1)
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    try:
        check(Path(folder), rank)
        found = ""
    except BaseException:
        found = traceback.format_exc()
    (Path(folder) / f"outcome-{rank}").write_text(found, encoding="utf-8")
    os._exit(0)  # the other process may have stopped, and no collective would end

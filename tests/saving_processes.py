"""Banks that two processes share (FSDP2, gloo on the CPU) are saved and loaded by both."""

from __future__ import annotations

import errno
import os
import traceback
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, patch

import pytest
import tiny
import torch
from banked import with_banks
from saved_banks import content, same_weights, weights_of
from torch import distributed
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from engram_transformers import load_engram, save_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.banks import shards
from engram_transformers.banks.file_errors import BankMismatchError, BankSaveError
from engram_transformers.banks.sharded import shard_table, sharing_mesh


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


def shared_out() -> Any:
    """Return a model whose banks' rows are shared out, as after training under FSDP2."""
    model = made(0)
    mesh = sharing_mesh(torch.device("cpu"))
    for bank in require_attachment(model).banks.values():
        bank.replace_table(shard_table(bank.table.weight, mesh, torch.device("cpu")))
    return model


def check_shared_out(folder: Path, rank: int) -> None:
    """All know when the files are there, or that they can't be; no table is ever gathered."""
    single, model = made(0), shared_out()
    digest = require_attachment(single).bank_fingerprint()
    heads = [b.bank_hash.primes.flatten() for b in require_attachment(single).banks.values()]
    row = next(iter(require_attachment(single).banks.values())).table.weight[0].nbytes
    middle = int(torch.cat(heads).sort().values[3]) * row  # some heads are larger than a file
    with patch.object(DTensor, "full_tensor", side_effect=AssertionError("gathered")):
        for size in ("5GB", middle):
            save_engram(model, folder / f"parts-{size}", max_shard_size=size)
            load_engram(model, folder / f"parts-{size}")  # without a barrier
            assert require_attachment(model).bank_fingerprint() == digest
            if rank == 0:
                save_engram(single, folder / f"one-{size}", max_shard_size=size)
                assert content(folder / f"parts-{size}") == content(folder / f"one-{size}")
        flush = MagicMock(side_effect=[None, OSError(errno.ENOSPC, "full")])
        with (
            patch.object(shards, "_flush", flush),
            pytest.raises(BankSaveError, match="full" if rank == 0 else "first process") as failed,
        ):
            save_engram(model, folder / "full", max_shard_size=middle)
        assert failed.value.errno == errno.ENOSPC
        (folder / "file").touch()
        with pytest.raises(BankSaveError):
            save_engram(model, folder / "file" / "below")
        save_engram(model, folder / "full")
        load_engram(model, folder / "full")


def work(rank: int, folder: str) -> None:
    """Check as one of the processes, and write what went wrong."""
    torch.set_num_threads(1)
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    try:
        check(Path(folder), rank)
        check_shared_out(Path(folder), rank)
        found = ""
    except BaseException:
        found = traceback.format_exc()
    (Path(folder) / f"outcome-{rank}").write_text(found, encoding="utf-8")
    os._exit(0)  # the other process may have stopped, and no collective would end

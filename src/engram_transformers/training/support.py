"""Which ways of training banks are refused, by name and before anything is changed."""

from __future__ import annotations

from typing import Any

from torch import nn

from engram_transformers.sharding import is_sharded
from engram_transformers.training.errors import UnsupportedTrainingError


def require_supported(trainer: Any) -> None:
    """Refuse by name what would train banks wrongly.

    Args:
        trainer: An `EngramTrainerMixin`, made.

    Raises:
        UnsupportedTrainingError: If banks can't be trained by it.
    """
    if trainer.optimizer is not None:
        raise UnsupportedTrainingError(
            "an optimiser of your own",
            "rows need theirs. Leave `optimizers` out; `args.optim` chooses the one of all"
            " other weights.",
        )
    if trainer.is_deepspeed_enabled:
        raise UnsupportedTrainingError(
            "DeepSpeed", "it knows no gradients of rows. Use FSDP2 or DDP."
        )
    is_fsdp2 = bool(getattr(trainer.accelerator, "is_fsdp2", False))
    if is_fsdp2:
        _require_supported_by_fsdp2(trainer)
    elif trainer.is_fsdp_enabled or getattr(trainer, "is_fsdp_xla_enabled", False):
        raise UnsupportedTrainingError(
            "FSDP version 1 or over XLA",
            'use FSDP2, fsdp_config={"version": 2}, or DDP: a frozen base has no optimiser state.',
        )
    elif getattr(trainer, "is_distributed_loading_by_transformers", False):
        raise UnsupportedTrainingError(
            "a base that was sharded while it was loaded",
            'load it whole, and let the trainer shard it: fsdp=True, fsdp_config={"version": 2}.',
        )
    elif _has_shards(trainer.model):
        raise UnsupportedTrainingError(
            "a base that is sharded over processes, which the trainer was not told",
            'tell it: fsdp=True, fsdp_config={"version": 2}. It takes the model as it is.',
        )
    if trainer.args.n_gpu > 1:
        raise UnsupportedTrainingError(
            "torch.nn.DataParallel",
            f"one process has {trainer.args.n_gpu} devices. Start one process for each"
            " (torchrun --nproc-per-node=…), or show this one a single device"
            " (CUDA_VISIBLE_DEVICES=0).",
        )


def _require_supported_by_fsdp2(trainer: Any) -> None:
    parallelism = getattr(trainer.accelerator, "parallelism_config", None)
    for kind in ("tp", "cp", "sp"):
        if getattr(parallelism, f"{kind}_enabled", False):
            raise UnsupportedTrainingError(
                f"FSDP2 and `{kind}_size` above 1",
                "each process must have whole sequences of its own. Leave it at 1.",
            )
    if trainer.args.torch_compile:
        raise UnsupportedTrainingError(
            "FSDP2 and torch_compile",
            "processes must ask each other for rows, which compiled code can't wait for.",
        )
    if trainer.args.fp16 and not trainer.freeze_base:
        raise UnsupportedTrainingError(
            "FSDP2, fp16 and freeze_base=False",
            "a GradScaler takes no sharded and whole gradients together. Use bf16=True.",
        )


def _has_shards(model: nn.Module) -> bool:
    return any(is_sharded(weight) for weight in model.parameters())

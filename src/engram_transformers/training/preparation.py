"""What a model is made for the time of its banks' training, and is not any more afterwards."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn

from engram_transformers.active import is_disabled
from engram_transformers.attachment import Attachment, find_attachment
from engram_transformers.banks.file_errors import NoBanksError
from engram_transformers.sharding import is_sharded, reshard
from engram_transformers.training.errors import (
    UnsupportedTrainingError,
    UntrainableBankError,
)
from engram_transformers.training.processes import is_shared

_IGNORED_BY_DDP = "_ddp_params_and_buffers_to_ignore"


def require_trainable_banks(model: object) -> Attachment:
    """Return the patch of a model whose banks can be trained.

    Args:
        model: What a trainer was given.

    Raises:
        NoBanksError: If it is no model or has no banks.
        UntrainableBankError: If a bank is offloaded, has fewer than 32 bits, or an adapter on its
            projections.
        UnsupportedTrainingError: If banks are switched off here.
    """
    attachment = find_attachment(model) if isinstance(model, nn.Module) else None
    if attachment is None or not attachment.banks:
        name = type(model).__name__ if isinstance(model, nn.Module) else repr(model)
        raise NoBanksError(name)
    if is_disabled(attachment):
        raise UnsupportedTrainingError(
            "engram_disabled", "they would not be read. Train outside of that block."
        )
    for layer, bank in attachment.banks.items():
        if bank.offloaded is not None:
            raise UntrainableBankError(
                f"table of layer {layer}",
                'it is offloaded, so rows come as copies. Call offload_banks(model, to="device").',
            )
        for name in ("value_projection", "key_projection"):
            if not isinstance(bank.get_submodule(name), nn.Linear):
                raise UntrainableBankError(
                    f"{name} of layer {layer}",
                    "another library has put an adapter on it. Leave banks out: with PEFT,"
                    r' exclude_modules=r".*\.engram(_bank)?\..*".',
                )
        for name, weight in bank.named_parameters():
            if is_sharded(weight):
                raise UntrainableBankError(
                    f"{name} of layer {layer}",
                    "FSDP has sharded it with the base, so its gradient would be as large as the"
                    " table. Call add_engram behind fully_shard, or give fully_shard the banks'"
                    " parameters as ignored_params.",
                )
            if torch.finfo(weight.dtype).bits < 32:
                raise UntrainableBankError(
                    f"{name} of layer {layer}",
                    f"it is {weight.dtype}, which loses small steps. Make the bank float32 again"
                    " (bank.float()); autocast or a base in bfloat16 may stay.",
                )
    return attachment


def tables_of(attachment: Attachment) -> dict[str, Tensor]:
    """Return the banks' tables by name, in the order of layers; of shared ones, the rows here."""
    return {
        f"layer {layer} table": bank.own_rows for layer, bank in sorted(attachment.banks.items())
    }


def require_saved_gates(attachment: Attachment) -> None:
    """Refuse learned gates of tables that would be trained, as checkpoints don't hold them.

    Raises:
        UnsupportedTrainingError: If a gate's parameter asks for gradients.
    """
    for memory in attachment.memories.values():
        if any(parameter.requires_grad for parameter in memory.parameters()):
            raise UnsupportedTrainingError(
                "a trainable gate of tables beside them",
                "checkpoints don't hold it. Freeze it: requires_grad_(False).",
            )


def set_trainable(model: nn.Module, attachment: Attachment, *, freeze_base: bool) -> None:
    """Let banks learn; with `freeze_base`, nothing else.

    Args:
        model: Whole, adapters included.
        attachment: Its patch.
        freeze_base: Whether everything else is frozen or left as it is.
    """
    if freeze_base:
        model.requires_grad_(False)
    for bank in attachment.banks.values():
        bank.requires_grad_(True)


@contextmanager
def trainable_banks(
    model: nn.Module, attachment: Attachment, *, freeze_base: bool
) -> Generator[None]:
    """Let banks learn, with sparse gradients that DDP leaves alone; put all back afterwards.

    `requires_grad` of every parameter, `sparse` of the tables, what DDP ignores, and the banks'
    gradients, which nothing else could use, are as they were found.
    """
    reshard(model)
    # By name: FSDP2 puts others into their places, and a table that it shares out has no name.
    flags = {_plain(name): weight.requires_grad for name, weight in model.named_parameters()}
    tables = {layer: bank.own_rows.requires_grad for layer, bank in attachment.banks.items()}
    sparse = {layer: bank.table.sparse for layer, bank in attachment.banks.items()}
    ignored = getattr(model, _IGNORED_BY_DDP, None)
    had_own = _IGNORED_BY_DDP in model.__dict__
    try:
        set_trainable(model, attachment, freeze_base=freeze_base)
        for bank in attachment.banks.values():
            bank.table.sparse = True
        # DDP would make dense ones of the tables' gradients, and over NCCL refuses sparse ones;
        # buffers of banks never change.
        names = [*(ignored or ()), *_names_for_ddp(model, attachment)]
        object.__setattr__(model, _IGNORED_BY_DDP, names)
        yield
    finally:
        reshard(model)  # an evaluation may have come last
        for name, weight in model.named_parameters():
            if (flag := flags.get(_plain(name))) is not None:
                weight.requires_grad_(flag)
        for layer, bank in attachment.banks.items():
            bank.own_rows.requires_grad_(tables[layer])
            bank.own_rows.grad = None
            if bank.shared_rows is None:
                bank.table.sparse = sparse[layer]
        if had_own:
            object.__setattr__(model, _IGNORED_BY_DDP, ignored)
        else:
            object.__delattr__(model, _IGNORED_BY_DDP)


def share_tables(attachment: Attachment) -> None:
    """Give all processes the first one's tables, as DDP does with what it is not told to ignore."""
    if is_shared():
        for table in tables_of(attachment).values():
            distributed.broadcast(table.data, src=0)


def _plain(name: str) -> str:
    """Return a parameter's name without what wrappers of blocks add to it."""
    return name.replace("_checkpoint_wrapped_module.", "")


def _names_for_ddp(model: nn.Module, attachment: Attachment) -> Iterator[str]:
    """Yield names as DDP makes them, of the tables and the banks' buffers."""
    ours: set[int] = {id(table) for table in tables_of(attachment).values()}
    ours |= {id(buffer) for bank in attachment.banks.values() for buffer in bank.buffers()}
    for module_name, module in model.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for name, tensor in own:
            if id(tensor) in ours:
                yield f"{module_name}.{name}"

"""Moving the tables of banks between the model's devices and host memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor, nn

from engram_transformers.attachment import Attachment, require_attachment
from engram_transformers.banks.attached import AttachedBank
from engram_transformers.banks.file_errors import NoBanksError, OffloadError
from engram_transformers.banks.offloaded import OffloadedTable
from engram_transformers.errors import ConfigError
from engram_transformers.patching import forget_compiled_code
from engram_transformers.placement import device_of
from engram_transformers.sharding import is_sharded

ModelT = TypeVar("ModelT", bound=nn.Module)
To = Literal["host", "device"]


def offload_banks(model: ModelT, to: To = "host") -> ModelT:
    """Keep the tables of a model's banks in host memory, or bring them back, in place.

    Projections, norms and convolutions stay on the device; they are small. What a model computes is
    the same, bit for bit. Rows depend on token ids alone, so they are fetched while the blocks
    below their bank compute: each n-gram of a batch once. Offloaded banks can't be trained.
    `load_engram(…, offload="disk")` leaves tables in their files instead.

    Args:
        model: A patched model.
        to: `"host"`, or `"device"`: where each bank's block computes.

    Returns:
        The same model object.

    Raises:
        NotPatchedError: If the model has no memories.
        NoBanksError: If it has no bank.
        ConfigError: If `to` is something else.
        OffloadError: If a bank is being trained, or its table is not this process's alone.

    Example:
        >>> from engram_transformers import offload_banks
        >>> def smaller(model):
        ...     return offload_banks(model)
    """
    attachment = require_attachment(model)
    if to not in get_args(To):
        raise ConfigError("to", to, 'one of "host", "device"')
    if not attachment.banks:
        raise NoBanksError(type(attachment.model).__name__)
    banks = list(attachment.banks.values())
    with attachment.moving_banks():
        if to == "host":
            for bank in banks:
                require_movable(bank)
            for bank in banks:
                if bank.offloaded is None or bank.offloaded.place == "disk":
                    bank.replace_table(OffloadedTable(bank, list(_heads(bank)), "host"))
        else:
            tables = {bank.layer: _table(attachment, bank) for bank in banks if bank.offloaded}
            for layer, table in tables.items():
                attachment.banks[layer].replace_table(table)
    forget_compiled_code()
    return model


def require_movable(bank: AttachedBank) -> None:
    """Raise unless a bank's table can be somewhere else than where the model computes.

    Raises:
        OffloadError: If it can't.
    """
    if bank.offloaded is not None:
        return
    weight = bank.table.weight
    if is_sharded(weight):
        raise OffloadError("A bank that is sharded over processes can't be offloaded.")
    if weight.device.type == "meta":
        raise OffloadError(
            "accelerate keeps this bank's weights elsewhere already: offload it before accelerate"
            " dispatches the model."
        )
    if any(weight.requires_grad for weight in bank.parameters()):
        raise OffloadError(
            "A bank that is being trained can't be offloaded: freeze it first, with"
            " bank.requires_grad_(False)."
        )


def heads_of(bank: AttachedBank, table: Tensor) -> Iterator[Tensor]:
    """Yield the parts of a whole table that belong to each head."""
    yield from table.split(bank.bank_hash.primes.flatten().tolist())


def as_embedding(rows: Tensor) -> nn.Embedding:
    """Return a frozen table of rows, without copying them."""
    made = nn.Embedding(rows.shape[0], rows.shape[1], device="meta")
    made.weight = nn.Parameter(rows, requires_grad=False)
    return made


def _heads(bank: AttachedBank) -> Iterator[Tensor]:
    if bank.offloaded is None:
        yield from heads_of(bank, bank.table.weight.detach().to("cpu").contiguous())
    else:
        whole = torch.empty(bank.bank_hash.rows, bank.config.head_dim, dtype=bank.rows_dtype)
        with bank.offloaded.read_in_order():
            for into, head in zip(heads_of(bank, whole), bank.offloaded.heads, strict=True):
                into.copy_(head)
                yield into


def _table(attachment: Attachment, bank: AttachedBank) -> nn.Embedding:
    device = device_of(attachment.block_list[bank.layer])
    shape = (bank.bank_hash.rows, bank.config.head_dim)
    whole = torch.empty(shape, dtype=bank.rows_dtype, device=device)
    if bank.offloaded is not None:
        with bank.offloaded.read_in_order():
            for into, head in zip(heads_of(bank, whole), bank.offloaded.heads, strict=True):
                into.copy_(head)
    return as_embedding(whole)

"""Putting the tensors of checked files into the banks of a model."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engram_transformers.attachment import Attachment
from engram_transformers.banks.attached import AttachedBank
from engram_transformers.banks.description import BanksDescription
from engram_transformers.banks.mapping import map_tensors
from engram_transformers.banks.offloaded import OffloadedTable, Place
from engram_transformers.banks.offloading import as_embedding, heads_of
from engram_transformers.banks.shards import open_shards
from engram_transformers.banks.weights import Piece, pieces_of
from engram_transformers.placement import device_of
from engram_transformers.sharding import is_sharded


@torch.no_grad()
def fill_banks(
    attachment: Attachment,
    folder: Path,
    description: BanksDescription,
    dtypes: Mapping[str, torch.dtype],
    offload: Place | None,
) -> None:
    """Put checked files into the weights, tensor by tensor.

    What has a table keeps it, if it is of the right dtype: no bank is in memory twice.

    Args:
        attachment: Of the model.
        folder: Where the files are.
        description: What they hold.
        dtypes: What each tensor is stored as.
        offload: Where the tables go; see `load_engram`.
    """
    pieces = {piece.name: piece for piece in pieces_of(attachment)}
    heads: dict[int, list[Piece]] = {layer: [] for layer in attachment.banks}
    for piece in pieces.values():
        if piece.first is not None and isinstance(piece.module, AttachedBank):
            heads[piece.module.layer].append(piece)
    if offload == "disk":
        left_out = {piece.name for found in heads.values() for piece in found}
        _fill_weights(folder, description, pieces, left_out)
        _map_tables(attachment, folder, description, heads)
        return
    tables = {
        layer: _table_for(attachment, attachment.banks[layer], dtypes[found[0].name], offload)
        for layer, found in heads.items()
    }
    targets = {p.name: tables[layer] for layer, found in heads.items() for p in found}
    _fill_weights(folder, description, pieces, (), targets)
    for layer, table in tables.items():
        _install(attachment.banks[layer], table, offload)


def _fill_weights(
    folder: Path,
    description: BanksDescription,
    pieces: Mapping[str, Piece],
    left_out: Container[str],
    targets: Mapping[str, Tensor] | None = None,
) -> None:
    for name, numbers in open_shards(folder, description, left_out):
        piece, target = pieces[name], None if targets is None else targets.get(name)
        if target is None:
            target = piece.source
            if target.dtype != numbers.dtype:
                # The parameter stays the same object: optimisers know it.
                target.data = torch.empty_like(target, dtype=numbers.dtype)
        _copy(numbers, target, piece.first or 0)


def _map_tables(
    attachment: Attachment,
    folder: Path,
    description: BanksDescription,
    heads: Mapping[int, list[Piece]],
) -> None:
    for layer, found in heads.items():
        where = {piece.name: description.weight_map[piece.name] for piece in found}
        tensors, maps = map_tensors(folder, where)
        bank = attachment.banks[layer]
        mapped = [tensors[piece.name] for piece in found]
        bank.replace_table(OffloadedTable(bank, mapped, "disk", maps))


def _table_for(
    attachment: Attachment, bank: AttachedBank, dtype: torch.dtype, offload: Place | None
) -> Tensor:
    """Return what a table's rows are written to: its own weight, or new memory."""
    shape = (bank.bank_hash.rows, bank.config.head_dim)
    if offload is not None:
        return torch.empty(shape, dtype=dtype, device="cpu")
    if bank.offloaded is None:
        weight = bank.table.weight
        if weight.device.type != "meta":
            return weight if weight.dtype == dtype else torch.empty_like(weight, dtype=dtype)
    device = device_of(attachment.block_list[bank.layer])
    return torch.empty(shape, dtype=dtype, device=device)


def _install(bank: AttachedBank, table: Tensor, offload: Place | None) -> None:
    if offload is not None:
        bank.replace_table(OffloadedTable(bank, list(heads_of(bank, table)), "host"))
        return
    if bank.offloaded is None and bank.table.weight is table:
        return
    if bank.offloaded is None and bank.table.weight.device.type != "meta":
        bank.table.weight.data = table  # the same parameter
        return
    bank.replace_table(as_embedding(table))


def _copy(numbers: Tensor, target: Tensor, first: int) -> None:
    """Put numbers into a weight, from a row on; of a sharded one into what lies in this process."""
    if not is_sharded(target):
        target[first : first + len(numbers)].copy_(numbers)
        return
    sharded: Any = target
    local: Tensor = sharded.to_local()
    for chunk in sharded.__create_chunk_list__():
        begins, sizes = tuple(chunk.offsets), tuple(chunk.sizes)
        begin = max(begins[0], first)
        end = min(begins[0] + sizes[0], first + len(numbers))
        if begin < end:
            others = [slice(b, b + s) for b, s in zip(begins[1:], sizes[1:], strict=True)]
            part = numbers[(slice(begin - first, end - first), *others)]
            local[begin - begins[0] : end - begins[0]].copy_(part)

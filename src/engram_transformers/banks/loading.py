"""Loading the trained memories of a model: from a folder, and from the Hub."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from engram_transformers.attachment import Attachment, find_attachment, require_attachment
from engram_transformers.banks.description import (
    CONFIG_NAME,
    BanksDescription,
    read_description,
)
from engram_transformers.banks.file_errors import (
    BankFileError,
    BankMismatchError,
    OtherCheckpointWarning,
)
from engram_transformers.banks.shards import check_shards, open_shards
from engram_transformers.banks.weights import Piece, pieces_of
from engram_transformers.errors import LayerIndexError
from engram_transformers.patching import attach, prepare
from engram_transformers.placement import device_of
from engram_transformers.sharding import is_sharded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ModelT = TypeVar("ModelT", bound=nn.Module)


def load_engram(
    model: ModelT,
    source: str | Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    blocks: str | nn.ModuleList | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> ModelT:
    """Load trained memories that `save_engram` saved, in place.

    A model without memories gets those that were saved, with their configuration. One that has the
    same ones gets the saved weights; weights keep the dtype that they were saved in. Everything is
    checked before anything is changed, digests of all files included. No pickle is read.

    Cost: the files are read twice, once for their digests. A model without memories needs no more
    memory than what it gets.

    Args:
        model: A transformers causal language model. If its weights are sharded over processes, all
            of them must call this.
        source: A folder that `save_engram` made, or a Hub repository. What exists here comes first.
        tokenizer: The model's, for a model without memories. None loads the one of
            `model.name_or_path`.
        blocks: As in `add_engram`, for a model without memories.
        revision: Of a Hub repository.
        token: Of the Hub account; None uses the one that is logged in.

    Returns:
        The same model object.

    Raises:
        BankFileError: If files are missing, damaged or of a later format; all problems are listed.
        BankMismatchError: If the model has other memories, or is of another kind; all differences
            are listed.
        HubError: If there is no such folder, and no such repository that can be reached.
        UnsupportedModelError: If the model can't have memories.
        TokenizerMismatchError: If there is no tokenizer or it does not fit the model.

    Warns:
        OtherCheckpointWarning: If the base model has other weights than the one that the memories
            were saved from.

    Example:
        >>> from engram_transformers import load_engram
        >>> def with_memories(model, tokenizer, folder):
        ...     return load_engram(model, folder, tokenizer)
    """
    _load(model, _as_folder(source, revision, token), tokenizer, blocks)
    return model


def load_banks(model: nn.Module, folder: Path) -> None:
    """Load what `save_banks` wrote into a model that has the same banks.

    Weights stay the same objects, so that optimisers know them.

    Args:
        model: A patched model.
        folder: A local one.

    Raises:
        NotPatchedError: If the model has no memories.
        BankFileError: As `load_engram`.
        BankMismatchError: As `load_engram`.

    Warns:
        OtherCheckpointWarning: As `load_engram`.
    """
    require_attachment(model)
    _load(model, folder, None, None)


def require_fitting_banks(model: nn.Module, folder: Path) -> None:
    """Raise unless `load_banks` would load a folder's files.

    Args:
        model: A patched model.
        folder: A local one.

    Raises:
        NotPatchedError: If the model has no memories.
        BankFileError: As `load_engram`.
        BankMismatchError: As `load_engram`.
    """
    _require_files(require_attachment(model), folder, read_description(folder))


def _load(
    model: nn.Module,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase | None,
    blocks: str | nn.ModuleList | None,
) -> None:
    description = read_description(folder)
    is_model = isinstance(model, nn.Module)  # pyright: ignore[reportUnnecessaryIsInstance]
    attachment = find_attachment(model) if is_model else None
    is_new = attachment is None
    if attachment is None:
        try:
            attachment = prepare(model, tokenizer, description.config, blocks, with_tables=False)
        except LayerIndexError as error:
            raise BankMismatchError(folder, [str(error)]) from None
    _require(attachment, folder, description)
    _fill(attachment, folder, description)
    if is_new:
        attach(model, attachment)
    attachment.forget_banks()


def _as_folder(source: str | Path, revision: str | None, token: str | None) -> Path:
    # os.path: unlike pathlib's, it answers no to names that no file can have.
    if os.path.lexists(source):
        return Path(source)
    from engram_transformers.hub import fetch

    names = (CONFIG_NAME, "README.md", "engram-*.safetensors")
    return fetch(str(source), revision, names, token=token)


def _require(attachment: Attachment, folder: Path, description: BanksDescription) -> None:
    """Raise unless all of the files fit the model; warn if it is another checkpoint."""
    _require_files(attachment, folder, description)
    fingerprint = attachment.model_fingerprint()
    if fingerprint != description.model:
        name = getattr(attachment.model, "name_or_path", "") or type(attachment.model).__name__
        warning = OtherCheckpointWarning(
            description.model_name, description.model, name, fingerprint
        )
        warnings.warn(warning, stacklevel=4)


def _require_files(attachment: Attachment, folder: Path, description: BanksDescription) -> None:
    """Raise unless all of the files fit the model."""
    differences = description.differences(attachment)
    if differences:
        raise BankMismatchError(folder, differences)
    pieces = pieces_of(attachment)
    dtypes, problems = check_shards(folder, description, pieces)
    if problems:
        raise BankFileError(folder, problems)
    differences = list(dict.fromkeys(_obstacles(attachment, pieces, dtypes)))
    if differences:
        raise BankMismatchError(folder, differences)


def _obstacles(
    attachment: Attachment, pieces: list[Piece], dtypes: dict[str, torch.dtype]
) -> Iterator[str]:
    """Yield why weights of a model that has memories can't be replaced."""
    for piece in pieces:
        source = piece.source
        if source.device.type == "meta" and not _is_unmade(attachment, piece):
            yield "accelerate keeps their place elsewhere: load them before it dispatches the model"
        if is_sharded(source) and source.dtype != dtypes[piece.name]:
            yield (
                f"they are {dtypes[piece.name]}, this model's are {source.dtype} and sharded over"
                " processes: convert the model first"
            )


def _is_unmade(attachment: Attachment, piece: Piece) -> bool:
    """Say whether a table has no memory because it was never given any."""
    return find_attachment(attachment.model) is not attachment and piece.first is not None


@torch.no_grad()
def _fill(attachment: Attachment, folder: Path, description: BanksDescription) -> None:
    """Put checked files into the weights, tensor by tensor."""
    pieces = {piece.name: piece for piece in pieces_of(attachment)}
    for name, numbers in open_shards(folder, description):
        piece = pieces[name]
        _give_memory(attachment, piece, numbers.dtype)
        _copy(numbers, piece.source, piece.first or 0)


def _give_memory(attachment: Attachment, piece: Piece, dtype: torch.dtype) -> None:
    """Let a weight have memory, in the dtype that its numbers were saved in."""
    source = piece.source
    if source.device.type == "meta":  # a table, which has none yet
        bank: Any = piece.module
        device = device_of(attachment.block_list[bank.layer])
        made = torch.empty(source.shape, dtype=dtype, device=device)
        bank.table.weight = nn.Parameter(made, requires_grad=False)
    elif source.dtype != dtype:
        source.data = torch.empty_like(source, dtype=dtype)  # optimisers know the parameter


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

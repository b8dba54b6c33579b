"""Loading the trained memories of a model: from a folder, and from the Hub."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, get_args

import torch
from torch import nn

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
from engram_transformers.banks.filling import fill_banks
from engram_transformers.banks.offloaded import Place
from engram_transformers.banks.offloading import require_movable
from engram_transformers.banks.shards import check_shards
from engram_transformers.banks.weights import Piece, pieces_of
from engram_transformers.errors import ConfigError, LayerIndexError
from engram_transformers.patching import attach, forget_compiled_code, prepare
from engram_transformers.sharding import class_name, is_sharded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ModelT = TypeVar("ModelT", bound=nn.Module)


def load_engram(
    model: ModelT,
    source: str | Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    blocks: str | nn.ModuleList | None = None,
    offload: Place | None = None,
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
        offload: Where the tables go: None to the devices of their blocks, `"host"` to host memory
            (see `offload_banks`), `"disk"` nowhere: rows are read from the files when they are
            needed. The digests of the files are then not checked, as that would read all of them.
        revision: Of a Hub repository.
        token: Of the Hub account; None uses the one that is logged in.

    Returns:
        The same model object.

    Raises:
        BankFileError: If files are missing, damaged or of a later format; all problems are listed.
        BankMismatchError: If the model has other memories, or is of another kind; all differences
            are listed.
        OffloadError: If a bank that is to be offloaded is being trained or sharded.
        ConfigError: If `offload` is something else.
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
    if offload is not None and offload not in get_args(Place):
        raise ConfigError("offload", offload, 'one of None, "host", "disk"')
    _load(model, _as_folder(source, revision, token), tokenizer, blocks, offload)
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
    _load(model, folder, None, None, None)


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
    attachment = require_attachment(model)
    _require_files(attachment, folder, read_description(folder), digests=True)


def _load(
    model: nn.Module,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase | None,
    blocks: str | nn.ModuleList | None,
    offload: Place | None,
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
    elif offload is not None:
        for bank in attachment.banks.values():
            require_movable(bank)
    dtypes = _require(attachment, folder, description, digests=offload != "disk")
    fill_banks(attachment, folder, description, dtypes, offload)
    if is_new:
        attach(model, attachment)
    else:
        forget_compiled_code()
    attachment.forget_banks()


def _as_folder(source: str | Path, revision: str | None, token: str | None) -> Path:
    # os.path: unlike pathlib's, it answers no to names that no file can have.
    if os.path.lexists(source):
        return Path(source)
    from engram_transformers.hub import fetch

    names = (CONFIG_NAME, "README.md", "engram-*.safetensors")
    return fetch(str(source), revision, names, token=token)


def _require(
    attachment: Attachment, folder: Path, description: BanksDescription, *, digests: bool
) -> dict[str, torch.dtype]:
    """Raise unless all of the files fit the model; warn if it is another checkpoint.

    Returns:
        What each tensor is stored as.
    """
    dtypes = _require_files(attachment, folder, description, digests=digests)
    fingerprint = attachment.model_fingerprint()
    if fingerprint != description.model:
        name = getattr(attachment.model, "name_or_path", "") or class_name(attachment.model)
        warning = OtherCheckpointWarning(
            description.model_name, description.model, name, fingerprint
        )
        warnings.warn(warning, stacklevel=4)
    return dtypes


def _require_files(
    attachment: Attachment, folder: Path, description: BanksDescription, *, digests: bool
) -> dict[str, torch.dtype]:
    """Raise unless all of the files fit the model; return what each tensor is stored as."""
    differences = description.differences(attachment)
    if differences:
        raise BankMismatchError(folder, differences)
    pieces = pieces_of(attachment)
    dtypes, problems = check_shards(folder, description, pieces, digests=digests)
    if problems:
        raise BankFileError(folder, problems)
    differences = list(dict.fromkeys(_obstacles(attachment, pieces, dtypes)))
    if differences:
        raise BankMismatchError(folder, differences)
    return dtypes


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

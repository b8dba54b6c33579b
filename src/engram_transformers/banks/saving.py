"""Saving the trained memories of a model: to a folder, and to the Hub."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed, nn

from engram_transformers.attachment import require_attachment
from engram_transformers.banks.card import bank_card
from engram_transformers.banks.description import CONFIG_NAME, KIND, BanksDescription, read_fields
from engram_transformers.banks.file_errors import BankFileError, BankSaveError, NoBanksError
from engram_transformers.banks.shards import MaxShardSize, plan_shards, written_shards
from engram_transformers.banks.weights import Piece, WholeWeights, pieces_of
from engram_transformers.model_card import is_model_card
from engram_transformers.sharding import is_sharded
from engram_transformers.staging import write_files

if TYPE_CHECKING:
    from engram_transformers.patch_state import PatchState

CARD_NAME = "README.md"


def save_engram(
    model: nn.Module, save_directory: str | Path, *, max_shard_size: MaxShardSize = "5GB"
) -> Path:
    """Save the trained memories of a model: all banks, and gates that are learned.

    The folder gets safetensors files, `engram_config.json` with all that is needed to attach them
    again, and a model card; a `README.md` that this library did not write stays as it is. Nothing
    of the base model is written, nor are tables (`UserTable.save_pretrained`). The same weights
    give the same bytes. Files that are there count until all new ones are whole.

    Cost: every byte is written, read again and hashed. Needs memory for one file at most.

    Args:
        model: A patched model. If its weights are sharded over processes, all of them must call
            this, and the first one writes; all return when the files are there, or raise.
        save_directory: Made if it does not exist.
        max_shard_size: Of one file, in bytes or as in "5GB". A head's rows are never divided.

    Returns:
        The folder.

    Raises:
        NotPatchedError: If the model has no memories.
        NoBanksError: If it has neither banks nor learned gates.
        ConfigError: If the size is none.
        BankSaveError: If they can't be saved (an `OSError`); what was there before still is.

    Example:
        >>> from engram_transformers import save_engram
        >>> def keep(model, folder):
        ...     return save_engram(model, folder, max_shard_size="2GB")
    """
    return save_banks(model, Path(save_directory), max_shard_size=max_shard_size, card=True)


def save_banks(
    model: nn.Module, folder: Path, *, max_shard_size: MaxShardSize = "5GB", card: bool = False
) -> Path:
    """Write what `load_banks` reads; see `save_engram`.

    Args:
        model: As there.
        folder: As there.
        max_shard_size: As there.
        card: Whether to write a model card, too.

    Returns:
        The folder.

    Raises:
        As `save_engram`.
    """
    attachment = require_attachment(model)
    pieces = pieces_of(attachment)
    if not pieces:
        raise NoBanksError(type(attachment.model).__name__)
    shards = plan_shards(pieces, max_shard_size)
    attachment.model_fingerprint()  # now: collectives must meet, whoever writes
    device = next((piece.source.device for piece in pieces if is_sharded(piece.source)), None)
    if device is None:
        _write(attachment, folder, shards, WholeWeights().read, card=card)
    else:
        write = partial(_write, attachment, folder, shards, card=card)
        _write_together(folder, shards, device, write)
    return folder


def push_engram_to_hub(
    model: nn.Module,
    repo_id: str,
    *,
    private: bool = True,
    max_shard_size: MaxShardSize = "5GB",
    token: str | None = None,
) -> str:
    """Upload the trained memories of a model to the Hub.

    They are saved first (to the system's folder for temporary files), so that nothing is made on
    the Hub if they can't be. Files of weights that the repository had are removed from its newest
    state; its earlier commits keep them.

    Args:
        model: As in `save_engram`.
        repo_id: "name/repository"; made if it does not exist.
        private: Make a new repository private, and refuse one that exists and is public.
        max_shard_size: As in `save_engram`.
        token: Of the Hub account; None uses the one that is logged in.

    Returns:
        The commit's address.

    Raises:
        NotPatchedError: If the model has no memories.
        NoBanksError: If it has neither banks nor learned gates.
        ConfigError: If the size is none.
        BankSaveError: If they can't be saved.
        HubError: If the Hub refuses or can't be reached, or the repository is public.
    """
    from engram_transformers.hub import push_folder

    return push_folder(
        lambda folder: save_engram(model, folder, max_shard_size=max_shard_size),
        repo_id,
        private=private,
        token=token,
        message="Trained memories",
        replaced="engram-*.safetensors",
    )


def _write(
    attachment: PatchState,
    folder: Path,
    shards: list[list[Piece]],
    read: Callable[[Piece], Tensor],
    *,
    card: bool,
) -> None:
    """Write all files, or none."""
    try:
        _require_own(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with written_shards(folder, shards, read) as (files, weight_map):
            description = BanksDescription.of(attachment, files, weight_map)
            write_files(folder, _texts(folder, attachment, description, card))
    except BankSaveError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path that no system has
        number = error.errno if isinstance(error, OSError) else None
        raise BankSaveError(folder, str(error), number) from error


def _write_together(
    folder: Path,
    shards: list[list[Piece]],
    device: torch.device,
    write: Callable[[Callable[[Piece], Tensor]], None],
) -> None:
    """Let the first process write what all have parts of.

    All return when the files are there, or raise if they can't be written.

    Args:
        folder: For an error.
        shards: In the order in which pieces are read.
        device: Of the weights.
        write: Is given what reads a piece.
    """
    weights = WholeWeights()
    left = deque(piece for shard in shards for piece in shard)
    failure: Exception | None = None
    if distributed.get_rank() == 0:
        try:
            write(lambda _: weights.read(left.popleft()))  # in this order
        except Exception as error:  # the others wait for what is left, and then for the outcome
            failure = error
    while left:
        weights.read(left.popleft())
    number = getattr(failure, "errno", None) or -1
    outcome = torch.tensor(0 if failure is None else number, device=device)
    distributed.broadcast(outcome, src=0)
    if failure is not None:
        raise failure
    if number := int(outcome):
        reason = "the first process writes, and could not: its error says why"
        raise BankSaveError(folder, reason, None if number < 0 else number)


def _require_own(folder: Path) -> None:
    """Raise if a folder holds a table: both have an `engram_config.json`."""
    if not (folder / CONFIG_NAME).exists():
        return
    try:
        kind = read_fields(folder).get("kind")
    except BankFileError:
        return  # damaged: saving repairs it
    if kind != KIND:
        raise BankSaveError(folder, "it holds a table; give banks a folder of their own")


def _texts(
    folder: Path, attachment: PatchState, description: BanksDescription, card: bool
) -> dict[str, bytes]:
    """Return the files beside the weights, the one that counts last."""
    texts = {CONFIG_NAME: description.to_json()}
    path = folder / CARD_NAME
    if card and (not path.exists() or is_model_card(path.read_bytes())):
        texts = {CARD_NAME: bank_card(description, attachment).encode(), **texts}
    return texts

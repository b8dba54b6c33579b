"""Tables as folders: `table.safetensors`, `engram_config.json`, `README.md`."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from engram_transformers.attachment import Attachment
from engram_transformers.errors import TableFileError, TableSaveError
from engram_transformers.model_card import is_model_card, model_card
from engram_transformers.staging import write_files
from engram_transformers.strict_json import parse_json
from engram_transformers.table_format import StoredTable, decode_table, encode_table
from engram_transformers.table_header import Description

if TYPE_CHECKING:
    from engram_transformers.table import UserTable

TABLE_NAME = "table.safetensors"
CONFIG_NAME = "engram_config.json"
CARD_NAME = "README.md"
FILE_NAMES = (CONFIG_NAME, CARD_NAME, TABLE_NAME)

_LARGEST_CONFIG_BYTES = 1 << 16


def save_table(table: UserTable, folder: Path, *, store_text: bool) -> Path:
    """Save a table to a folder; see `UserTable.save_pretrained`.

    The same table gives the same bytes. A `README.md` that is not a table's stays as it is.

    Args:
        table: The table.
        folder: Made if it does not exist.
        store_text: Whether to save the ledger.

    Returns:
        The folder.

    Raises:
        TableSaveError: If it can't be saved; the folder is then as it was before.
    """
    stored = _as_stored(table, store_text)
    try:
        data = encode_table(stored)
    except TableFileError as error:
        raise TableSaveError(table.owner, folder, "it " + "; it ".join(error.problems)) from None
    except ValueError as error:
        raise TableSaveError(table.owner, folder, str(error)) from error
    files = {
        CONFIG_NAME: (json.dumps(_config_of(stored.description), indent=2) + "\n").encode(),
        CARD_NAME: model_card(stored).encode(),
        TABLE_NAME: data,  # the last one: until it is in place, the old table counts
    }
    try:
        if _holds_banks(folder / CONFIG_NAME):
            reason = "it holds saved banks; give tables a folder of their own"
            raise TableSaveError(
                table.owner, folder, f"{reason}: give tables a folder of their own"
            )
        if _has_foreign_card(folder / CARD_NAME):
            del files[CARD_NAME]
        write_files(folder, files)
    except TableSaveError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a path that no system has
        number = error.errno if isinstance(error, OSError) else None
        raise TableSaveError(table.owner, folder, str(error), number) from error
    return folder


def load_table(folder: Path, attachment: Attachment) -> UserTable:
    """Load a table from a folder.

    Args:
        folder: What `save_table` made.
        attachment: The patch of the model that is to read the table.

    Returns:
        The table, as it was saved.

    Raises:
        TableFileError: If the files are not a table's; every problem is named.
        TableMismatchError: If the table belongs to another model; every difference is named.
    """
    from engram_transformers.table import UserTable

    stored = read_table(folder)
    description = stored.description
    description.binding.require(attachment, description.owner, description.layer)
    return UserTable._restore(
        attachment,
        description.owner,
        description.layer,
        description.dtype,
        description.binding,
        stored.rows,
        description.entries,
        description.version,
    )


def read_table(folder: Path) -> StoredTable:
    """Read and check a table's files, without a model.

    Args:
        folder: What `save_table` made.

    Returns:
        What the files hold.

    Raises:
        TableFileError: If the files are not a table's; every problem is named.
    """
    try:
        mode = folder.stat().st_mode
    except (OSError, ValueError) as error:
        raise TableFileError(folder, [f"the folder can't be read: {error}"]) from None
    if not stat.S_ISDIR(mode):
        raise TableFileError(folder, ["it is a file: give the folder that holds the three files"])
    problems: list[str] = []
    config: dict[str, Any] | None = None
    stored: StoredTable | None = None
    try:
        config = _read_config(folder / CONFIG_NAME)
    except TableFileError as error:
        problems += [f"{CONFIG_NAME} {problem}" for problem in error.problems]
    try:
        stored = _read_stored(folder / TABLE_NAME)
    except TableFileError as error:
        problems += [f"{TABLE_NAME} {problem}" for problem in error.problems]
    if config is not None and stored is not None:
        problems += _disagreements(config, _config_of(stored.description))
    if problems or stored is None:
        raise TableFileError(folder, problems)
    return stored


def _as_stored(table: UserTable, store_text: bool) -> StoredTable:
    rows, entries = table._state  # at once: another thread may be writing
    description = Description(
        table.owner,
        table.layer,
        table.dtype,
        rows.orders,
        table.version,
        table.binding,
        entries if store_text else None,
    )
    return StoredTable(description, rows)


def _config_of(description: Description) -> dict[str, Any]:
    """Return the content of `engram_config.json`: all but the version are `EngramConfig`'s."""
    return {
        "format_version": description.format_version,
        "layers": [description.layer],
        **dict(description.binding.config),
    }


def _has_foreign_card(path: Path) -> bool:
    """Say whether a README is there that no table wrote: somebody else's, and to be left alone."""
    try:
        return not is_model_card(path.read_bytes())
    except FileNotFoundError:
        return False


def _holds_banks(path: Path) -> bool:
    """Say whether a configuration is that of saved banks."""
    try:
        return "kind" in _read_config(path)
    except TableFileError:
        return False


def _read_config(path: Path) -> dict[str, Any]:
    if _size_of(path) > _LARGEST_CONFIG_BYTES:
        raise TableFileError(path, [f"is larger than {_LARGEST_CONFIG_BYTES} bytes"])
    try:
        config = parse_json(path.read_bytes())
    except OSError as error:
        raise TableFileError(path, [f"can't be read: {error}"]) from None
    except ValueError as error:
        raise TableFileError(path, [str(error)]) from None
    if not isinstance(config, dict):
        raise TableFileError(path, ["is not a JSON object"])
    return cast("dict[str, Any]", config)


def _read_stored(path: Path) -> StoredTable:
    size = _size_of(path)
    try:
        with path.open("rb") as file:
            return decode_table(file, size, path)
    except TableFileError:
        raise
    except OSError as error:
        raise TableFileError(path, [f"can't be read: {error}"]) from None


def _size_of(path: Path) -> int:
    """Return a file's size in bytes; links are followed, as the Hub's cache is made of them."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise TableFileError(path, ["is missing"]) from None
    except OSError as error:
        raise TableFileError(path, [f"can't be read: {error}"]) from None
    if not stat.S_ISREG(status.st_mode):
        raise TableFileError(path, ["is not a regular file"])
    return status.st_size


def _disagreements(config: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return [
        f"{CONFIG_NAME} has {name} {_shown(config, name)}, {TABLE_NAME} has"
        f" {_shown(expected, name)}"
        for name in sorted(config.keys() | expected.keys())
        if _shown(config, name) != _shown(expected, name)
    ]


def _shown(fields: dict[str, Any], name: str) -> str:
    text = json.dumps(fields[name]) if name in fields else "nothing"
    return text if len(text) <= 80 else text[:77] + "..."

"""`engram_config.json` of saved banks: what attaches them again, and which file has which tensor.

It is written last and read first, so that it alone decides which files count.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from engram_transformers.banks.described import (
    StoredFile,
    config_of,
    files_of,
    typed_fields,
    weight_map_of,
)
from engram_transformers.banks.file_errors import BankFileError
from engram_transformers.banks.sizes import BankConfig
from engram_transformers.config import EngramConfig
from engram_transformers.lora import public_name
from engram_transformers.sharding import class_name
from engram_transformers.strict_json import parse_json, shown

if TYPE_CHECKING:
    from engram_transformers.patch_state import PatchState

CONFIG_NAME = "engram_config.json"
KIND = "banks"
FORMAT_VERSION = 1

_LARGEST_BYTES = 1 << 24
_BANK_FIELDS = (
    "memory_size",
    "bank_order",
    "bank_heads",
    "bank_dim",
    "bank_kernel_size",
    "seed",
)
_GATE_FIELDS = ("gate_type", "row_dim")


@dataclass(frozen=True)
class BanksDescription:
    """Saved banks, without their weights.

    Attributes:
        config: Of the memories; its layers are resolved.
        banks: What follows from it for the model that they were saved from; None if there are only
            learned gates.
        hidden_size: Width of a residual stream.
        blocks: How many decoder blocks the model has.
        model: Fingerprint of the base model.
        tokenizer: Fingerprint of the tokenizer.
        model_name: For people.
        files: Name -> what it must be.
        weight_map: Tensor -> name of the file that holds it.
    """

    config: EngramConfig
    banks: BankConfig | None
    hidden_size: int
    blocks: int
    model: str
    tokenizer: str
    model_name: str
    files: dict[str, StoredFile]
    weight_map: dict[str, str]

    @classmethod
    def of(
        cls, attachment: PatchState, files: dict[str, StoredFile], weight_map: dict[str, str]
    ) -> BanksDescription:
        """Describe a patched model and the files that were made of it."""
        name = public_name(getattr(attachment.model, "name_or_path", ""))
        return cls(
            attachment.config,
            next((bank.config for bank in attachment.banks.values()), None),
            attachment.layout.hidden_size,
            attachment.blocks,
            attachment.model_fingerprint(),
            attachment.tokenizer_fingerprint,
            name or class_name(attachment.model),
            files,
            weight_map,
        )

    def to_json(self) -> bytes:
        """Return the file's content; the same description gives the same bytes."""
        from engram_transformers import __version__

        fields = {
            "format_version": FORMAT_VERSION,
            "kind": KIND,
            "config": dataclasses.asdict(self.config),
            "banks": None if self.banks is None else dataclasses.asdict(self.banks),
            "model": {
                "name": self.model_name,
                "fingerprint": self.model,
                "hidden_size": self.hidden_size,
                "blocks": self.blocks,
            },
            "tokenizer": self.tokenizer,
            "files": {
                name: {"bytes": file.size, "xxh3_128": file.digest}
                for name, file in self.files.items()
            },
            "weight_map": self.weight_map,
            "created_by": __version__,
        }
        return (json.dumps(fields, indent=2) + "\n").encode()

    def differences(self, attachment: PatchState) -> list[str]:
        """Return why a patched model can't have these banks; empty if it can."""
        mine, its = dataclasses.asdict(self.config), dataclasses.asdict(attachment.config)
        compared = ["layers"]
        if self.banks is not None or attachment.banks:
            compared += _BANK_FIELDS
        if "learned" in (mine["gate_type"], its["gate_type"]):
            compared += _GATE_FIELDS
        found = [
            f"their {name} is {mine[name]!r}, this model's is {its[name]!r}"
            for name in compared
            if mine[name] != its[name]
        ]
        hidden_size, blocks = attachment.layout.hidden_size, attachment.blocks
        if hidden_size != self.hidden_size:
            found.append(f"their hidden_size is {self.hidden_size}, this model's is {hidden_size}")
        if blocks != self.blocks:
            found.append(f"their model has {self.blocks} decoder blocks, this one has {blocks}")
        if attachment.tokenizer_fingerprint != self.tokenizer:
            found.append(
                f"their tokenizer is {self.tokenizer[:12]}, this model's is"
                f" {attachment.tokenizer_fingerprint[:12]}"
            )
        return found + self._bank_differences(attachment, settings_differ=bool(found))

    def _bank_differences(self, attachment: PatchState, *, settings_differ: bool) -> list[str]:
        """Return what differs though the settings agree, because it follows from the model."""
        bank = next(iter(attachment.banks.values()), None)
        if bank is None or self.banks is None:
            return []
        words = {"streams": "residual streams", "pad_id": "distinct canonical ids"}
        names = [field.name for field in dataclasses.fields(BankConfig)]
        return [
            f"their banks have {getattr(self.banks, name)!r} {words.get(name, f'as {name}')}, this"
            f" model's {getattr(bank.config, name)!r}"
            for name in (words if settings_differ else names)
            if getattr(self.banks, name) != getattr(bank.config, name)
        ]


def read_description(folder: Path) -> BanksDescription:
    """Read and check `engram_config.json` of saved banks.

    Args:
        folder: What `save_banks` made.

    Returns:
        What it says.

    Raises:
        BankFileError: If it is missing, or wrong in any way; every problem is named.
    """
    fields = read_fields(folder)
    if "kind" not in fields and "layers" in fields:
        raise _problem(folder, "is that of a table: load it with UserTable.from_pretrained")
    if fields.get("kind") != KIND:
        raise _problem(folder, f"has kind {shown(fields.get('kind'))}, not {KIND!r}")
    version = fields.get("format_version")
    if type(version) is not int or version < 1:
        raise _problem(folder, f"has format_version {shown(version)}")
    if version > FORMAT_VERSION:
        raise _problem(
            folder,
            f"has format version {version}; this release reads up to {FORMAT_VERSION}: upgrade"
            " engram-transformers",
        )
    problems: list[str] = []
    config = config_of(fields, "config", EngramConfig, problems)
    banks = None
    if fields.get("banks") is not None:
        banks = config_of(fields, "banks", BankConfig, problems)
    if config is not None and (config.memory_size > 0) != (fields.get("banks") is not None):
        problems.append("describes banks though memory_size is 0, or none though it is not")
    model = fields.get("model")
    texts = typed_fields(model, {"name": str, "fingerprint": str}, "model", problems)
    sizes = typed_fields(model, {"hidden_size": int, "blocks": int}, "model", problems)
    tokenizer = typed_fields(fields, {"tokenizer": str}, "", problems)
    files = files_of(fields.get("files"), problems)
    weight_map = weight_map_of(fields.get("weight_map"), files, problems)
    if problems or config is None:
        raise BankFileError(folder, [f"{CONFIG_NAME} {problem}" for problem in problems])
    return BanksDescription(
        config,
        banks,
        sizes["hidden_size"],
        sizes["blocks"],
        texts["fingerprint"],
        tokenizer["tokenizer"],
        texts["name"],
        files,
        weight_map,
    )


def read_fields(folder: Path) -> dict[str, Any]:
    """Read `engram_config.json` of a folder, whatever it describes.

    Raises:
        BankFileError: If it is missing, or not a JSON object.
    """
    path = folder / CONFIG_NAME
    try:
        if not folder.is_dir():
            raise BankFileError(folder, ["it is not a folder that can be read"])
        with path.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise _problem(folder, "is missing") from None
    except (OSError, ValueError) as error:
        if isinstance(error, BankFileError):
            raise
        raise _problem(folder, f"can't be read: {error}") from None
    if len(data) > _LARGEST_BYTES:
        raise _problem(folder, f"is larger than {_LARGEST_BYTES} bytes")
    try:
        fields = parse_json(data)
    except ValueError as error:
        raise _problem(folder, str(error)) from None
    if not isinstance(fields, dict):
        raise _problem(folder, "is not a JSON object")
    return cast("dict[str, Any]", fields)


def _problem(folder: Path, problem: str) -> BankFileError:
    return BankFileError(folder, [f"{CONFIG_NAME} {problem}"])

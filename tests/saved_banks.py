"""Saved banks of tiny models, and what breaks them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from engram_transformers.attachment import require_attachment
from engram_transformers.banks.description import CONFIG_NAME
from engram_transformers.banks.shards import file_digest


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    """Return the weights of banks and learned gates by layer and name."""
    attachment = require_attachment(model)
    modules = {"bank": attachment.banks, "gate": attachment.memories}
    return {
        f"{kind}.{layer}.{name}": tensor.detach().clone()
        for kind, found in modules.items()
        for layer, module in found.items()
        for name, tensor in module.state_dict().items()
    }


def same_weights(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    """Say whether all numbers and dtypes are equal."""
    return mine.keys() == theirs.keys() and all(
        tensor.dtype == theirs[name].dtype and torch.equal(tensor, theirs[name])
        for name, tensor in mine.items()
    )


def content(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def fields_of(folder: Path) -> dict[str, Any]:
    """Return what `engram_config.json` says."""
    return json.loads((folder / CONFIG_NAME).read_bytes())


def set_fields(folder: Path, fields: dict[str, Any]) -> None:
    """Replace `engram_config.json`."""
    (folder / CONFIG_NAME).write_text(json.dumps(fields), encoding="utf-8")


def shards_of(folder: Path) -> list[Path]:
    """Return the files of weights."""
    return sorted(folder.glob("engram-*.safetensors"))


def reseal(folder: Path) -> None:
    """Let `engram_config.json` agree with files that were changed on purpose."""
    fields = fields_of(folder)
    for name, stored in fields["files"].items():
        path = folder / name
        stored["bytes"], stored["xxh3_128"] = path.stat().st_size, file_digest(path)
    set_fields(folder, fields)


def change_tensors(folder: Path, change: Any) -> None:
    """Change the tensors of the first file, so that its digest still agrees."""
    path = shards_of(folder)[0]
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path, {"format": "pt"})
    reseal(folder)


def flip_last(path: Path) -> None:
    """Change one bit of the last tensor."""
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def copied(folder: Path, to: Path) -> Path:
    """Return a copy of a folder, to be broken."""
    return Path(shutil.copytree(folder, to))


def golden_weights(bank: Any) -> Iterator[torch.Tensor]:
    """Yield what the weights of a golden bank are: whole numbers from -8 to 8, in bfloat16."""
    generator = torch.Generator().manual_seed(bank.layer)
    for weight in bank.parameters():
        yield torch.randint(-8, 9, weight.shape, generator=generator).to(torch.bfloat16)

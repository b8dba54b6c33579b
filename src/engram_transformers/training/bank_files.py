"""Banks in a checkpoint's folder, beside the base: their weights, and what they must fit."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from engram_transformers.attachment import Attachment, require_attachment
from engram_transformers.training.errors import BankFilesError

WEIGHTS_NAME = "engram_banks.safetensors"
SETTINGS_NAME = "engram_banks.json"
_FORMAT = 1


def save_banks(model: nn.Module, folder: str | Path) -> Path:
    """Save all banks of a model: `engram_banks.safetensors` and `engram_banks.json`.

    Each file is written to a temporary name and renamed.

    Args:
        model: With banks, also inside wrappers.
        folder: Made if it does not exist.

    Returns:
        The folder.

    Raises:
        NotPatchedError: If the model has no memories.
        OSError: If the folder can't be written.
    """
    attachment = require_attachment(model)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().contiguous() for name, weight in _weights(attachment)}
    staged = target / f"{WEIGHTS_NAME}.tmp"
    save_file(weights, staged, metadata={"format": "pt"})
    os.replace(staged, target / WEIGHTS_NAME)
    staged = target / f"{SETTINGS_NAME}.tmp"
    staged.write_text(json.dumps(_settings(attachment), indent=2) + "\n", encoding="utf-8")
    os.replace(staged, target / SETTINGS_NAME)
    return target


def require_fitting_banks(model: nn.Module, folder: str | Path) -> None:
    """Raise unless `load_banks` would load a folder's banks.

    Args:
        model: With banks, also inside wrappers.
        folder: What `save_banks` made.

    Raises:
        NotPatchedError: If the model has no memories.
        BankFilesError: If a file is missing or damaged, or does not fit; all problems are named.
    """
    problems = _problems(require_attachment(model), Path(folder))
    if problems:
        raise BankFilesError(folder, problems)


@torch.no_grad()
def load_banks(model: nn.Module, folder: str | Path) -> None:
    """Load what `save_banks` saved into a model's banks. All is checked before anything changes.

    Args:
        model: With banks of the same settings, also inside wrappers.
        folder: What `save_banks` made.

    Raises:
        NotPatchedError: If the model has no memories.
        BankFilesError: If a file is missing or damaged, or does not fit; all problems are named.
    """
    require_fitting_banks(model, folder)
    with safe_open(Path(folder) / WEIGHTS_NAME, framework="pt") as file:
        for name, weight in _weights(require_attachment(model)):
            weight.copy_(file.get_tensor(name))


def _weights(attachment: Attachment) -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor of the banks' state, also the numbers that decide addresses."""
    for layer, bank in sorted(attachment.banks.items()):
        for name, weight in bank.state_dict(keep_vars=True).items():
            yield f"{layer}.{name}", weight


def _settings(attachment: Attachment) -> dict[str, Any]:
    """Return as JSON what decides the banks' shapes and which text reads which row."""
    described: dict[str, Any] = {}
    for layer, bank in sorted(attachment.banks.items()):
        fields = dataclasses.asdict(bank.config)
        described[str(layer)] = {"hidden_size": bank.hidden_size, **fields}
    settings = {
        "format": _FORMAT,
        "tokenizer": attachment.tokenizer_fingerprint,
        "banks": described,
    }
    return json.loads(json.dumps(settings))  # tuples become lists, as they are read


def _problems(attachment: Attachment, folder: Path) -> list[str]:
    """Return all that keeps a folder's banks from being loaded."""
    try:
        saved: Any = json.loads((folder / SETTINGS_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return [f"{SETTINGS_NAME} is missing: it was saved without banks"]
    except (OSError, ValueError) as error:
        return [f"{SETTINGS_NAME} can't be read: {error}"]
    problems = _differences(saved, _settings(attachment))
    if problems:
        return problems
    try:
        with safe_open(folder / WEIGHTS_NAME, framework="pt") as file:
            names = file.keys()
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        return [f"{WEIGHTS_NAME} can't be read: {error}"]
    expected = {name: tuple(weight.shape) for name, weight in _weights(attachment)}
    return [
        f"`{name}` is {shapes.get(name, 'missing')}, but must be {expected.get(name, 'absent')}"
        for name in sorted({*shapes, *expected})
        if shapes.get(name) != expected.get(name)
    ]


def _differences(saved: Any, here: dict[str, Any]) -> list[str]:
    if not isinstance(saved, dict) or not isinstance(saved.get("banks"), dict):
        return [f"{SETTINGS_NAME} does not describe banks"]
    if saved.get("format") != _FORMAT:
        return [f"its format is {saved.get('format')!r}, but this release reads {_FORMAT}"]
    problems: list[str] = []
    if saved.get("tokenizer") != here["tokenizer"]:
        problems.append(
            "its banks were trained with another tokenizer: the same text would read other rows"
        )
    layers = [int(layer) for layer in saved["banks"] if layer.isdecimal()]
    own = [int(layer) for layer in here["banks"]]
    if sorted(layers) != own:
        return [*problems, f"its banks are on layers {sorted(layers)}, those here on {own}"]
    for layer, fields in here["banks"].items():
        old = saved["banks"][layer]
        problems += [
            f"`{name}` of layer {layer} was {old.get(name)!r}, but is {value!r}"
            for name, value in fields.items()
            if old.get(name) != value
        ]
    return problems

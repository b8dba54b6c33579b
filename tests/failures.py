"""What tests that plant failures share."""

from __future__ import annotations

from typing import Any

import torch
from patched import at_trigger
from tables import LAYERS

from engram_transformers import UserTable

FAMILIES = ("llama", "gemma3", "gpt2")


class PlantedError(Exception):
    """What the tests plant."""


def fail(*_: Any, **__: Any) -> Any:
    raise PlantedError


def stacked(model: Any, ids: torch.Tensor) -> list[list[UserTable]]:
    """Tables with a row at each memory."""
    return [[at_trigger(model, ids, layer=layer).table for layer in LAYERS]]

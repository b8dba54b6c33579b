"""A tiny random model of every class that transformers calls a causal language model."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from tiny import SPECIAL_TOKENS
from torch import nn
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from zoo_configs import tiny_config

LOGITS_STD = 3.0
_PACKAGES = {"Gemma3nForConditionalGeneration": ("timm", "torchvision")}


@dataclass(frozen=True)
class Species:
    """One class of causal language models.

    Attributes:
        name: Of the class.
        model_type: The first of the mapping that leads to it.
    """

    name: str
    model_type: str

    @property
    def packages(self) -> tuple[str, ...]:
        """What has to be installed beside transformers."""
        return _PACKAGES.get(self.name, ())

    def build(self, seed: int = 0) -> PreTrainedModel:
        """Return a fresh random model: float32, in evaluation mode.

        Args:
            seed: Another seed gives other weights.
        """
        model_class: Any = getattr(transformers, self.name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = model_class(tiny_config(model_class.config_class))
            model = model.to(torch.float32)
            spread_weights(model)
        return model.eval()


@functools.cache
def species() -> dict[str, Species]:
    """Return every distinct class of the mapping of the installed transformers, by name."""
    existing = set(dir(transformers))  # without importing them all
    found: dict[str, Species] = {}
    for model_type, names in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        for name in (names,) if isinstance(names, str) else names:
            if name not in found and name in existing:
                found[name] = Species(name, model_type)
    return dict(sorted(found.items()))


@torch.no_grad()
def spread_weights(model: nn.Module) -> None:
    """Draw the weights anew, larger than for training, so that what is said varies.

    Logits vary as those of trained models do: an answer that is to be won with margin can be.
    """
    for parameter in model.parameters():
        if parameter.ndim >= 2:
            parameter.normal_(std=parameter.shape[-1] ** -0.5)
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    weight = getattr(inputs, "weight", None)
    if isinstance(weight, torch.Tensor) and weight is not getattr(outputs, "weight", None):
        weight.normal_(std=1.0)
        if outputs is not None:
            outputs.weight *= LOGITS_STD
    if isinstance(getattr(outputs, "weight", None), torch.Tensor):
        outputs.weight[: len(SPECIAL_TOKENS)] *= 0.5

"""FLOPs per token, counted from a model's matrices.

A matrix of `in` times `out` numbers costs 2 · in · out in the forward pass. In training it costs as
much again for the gradients of what it was given, and, if it learns, as much again for its own.
Attention costs 4 · width · (length + 1) / 2 a layer: scores and sums over the positions before. A
bank costs its two projections and the taps of its convolution; looking up rows is no arithmetic.
Norms, activations, softmax and optimisers are left out, for all alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn
from transformers.pytorch_utils import Conv1D

from engram_transformers.banks.attached import AttachedBank


class Flops(NamedTuple):
    """FLOPs of a forward pass, per token.

    Attributes:
        base: The model's own matrices and its attention.
        bank: Of all banks.
        adapter: Of LoRAs.
    """

    base: int
    bank: int
    adapter: int

    @property
    def forward(self) -> int:
        """All of a forward pass."""
        return sum(self)

    @property
    def added(self) -> int:
        """What banks and adapters cost in a step of training, the base being frozen."""
        return 3 * (self.bank + self.adapter)

    @property
    def frozen_base_step(self) -> int:
        """A step of training with a frozen base, which hands gradients through, at most."""
        return 2 * self.base + self.added

    @property
    def whole_step(self) -> int:
        """A step of training in which everything learns."""
        return 3 * self.forward


def count(model: nn.Module, length: int) -> Flops:
    """Count a model's FLOPs per token of a text.

    Args:
        model: A transformers model, with or without banks and adapters.
        length: Tokens of a text.
    """
    base = bank = adapter = 0
    inside = {
        id(module)
        for found in model.modules()
        if isinstance(found, AttachedBank)
        for module in found.modules()
    }
    for name, module in model.named_modules():
        if isinstance(module, AttachedBank):
            bank += 2 * module.convolution.numel()
        if not isinstance(module, nn.Linear | Conv1D) or ".engram." in f".{name}.":
            continue  # tables that users write are not read here
        cost = 2 * module.weight.numel()
        if id(module) in inside:
            bank += cost
        elif ".lora_" in name:
            adapter += cost
        else:
            base += cost
    return Flops(base + attention(model, length), bank, adapter)


def attention(model: Any, length: int) -> int:
    """Return FLOPs per token of scores and sums, on the average over a causal text."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    return config.num_hidden_layers * 4 * width * (length + 1) // 2


def of_lora(model: Any, rank: int) -> int:
    """Return what a LoRA on all linear layers but the output would cost in a forward pass."""
    output = model.get_output_embeddings()
    return sum(
        2 * rank * sum(module.weight.shape)
        for module in model.modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not output
    )


def of_bank(width: int, hidden_size: int, layers: int, kernel_size: int = 4) -> int:
    """Return what banks cost in a forward pass, on so many layers of one residual stream."""
    return layers * 2 * (2 * width * hidden_size + kernel_size * hidden_size)


def bank_width(flops: int, hidden_size: int, layers: int, multiple: int) -> int:
    """Return the greatest width of banks, a multiple of some number, that costs at most so much."""
    fixed = of_bank(0, hidden_size, layers)
    slope = of_bank(multiple, hidden_size, layers) - fixed
    return max(1, (flops - fixed) // slope) * multiple

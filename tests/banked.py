"""Tiny models with banks whose weights are as if they had been trained: large and random."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from tables import LAYERS, ROW_DIM
from torch import Tensor, nn

from engram_transformers import add_engram
from engram_transformers.attachment import require_attachment

BANK = {"memory_size": 600, "bank_heads": 2, "bank_dim": 16}
"""A bank of two heads per order, with 150 rows of 4 numbers each."""


def with_banks(model: Any, tokenizer: Any, *, seed: int = 0, **fields: Any) -> Any:
    """Put banks on a tiny model and fill them."""
    add_engram(model, tokenizer, **{"layers": LAYERS, "row_dim": ROW_DIM, **BANK, **fields})
    fill_banks(model, seed)
    return model


@torch.no_grad()
def fill_banks(model: Any, seed: int = 0) -> None:
    """Draw every weight of a model's banks, so that whatever is dropped changes the output."""
    generator = torch.Generator().manual_seed(seed)
    for bank in require_attachment(model).banks.values():
        for name, weight in bank.named_parameters():
            drawn = torch.randn(weight.shape, generator=generator)
            wide = name in ("value_projection.weight", "key_projection.weight")
            weight.copy_(drawn / (weight.shape[1] ** 0.5 if wide else 1))


@contextmanager
def block_inputs(model: Any, layer: int) -> Generator[list[tuple[Tensor, Tensor]]]:
    """Record a block's hidden states in each forward: as the bank got and as it left them."""
    attachment = require_attachment(model)
    block = attachment.block_list[layer]
    before: list[Tensor] = []
    found: list[tuple[Tensor, Tensor]] = []

    def first(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        before.append((args[0] if args else kwargs["hidden_states"]).detach().clone())

    def last(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        after = (args[0] if args else kwargs["hidden_states"]).detach().clone()
        found.append((before[-1], after))

    handles = [
        block.register_forward_pre_hook(first, with_kwargs=True, prepend=True),
        block.register_forward_pre_hook(last, with_kwargs=True),
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()

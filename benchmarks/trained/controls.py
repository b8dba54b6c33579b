"""Banks whose addresses say nothing: test doubles of the hash, in place only while asked for.

A bank is given its addresses as an argument. Before that, a hook replaces them; the module, its
sizes and its cost stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from engram_transformers.attachment import require_attachment

ONE_ROW = "one row"
SHUFFLED = "shuffled"


@contextmanager
def one_row(model: nn.Module) -> Generator[None]:
    """Let every n-gram read the first row of each head: a bank that knows nothing of its n-gram."""
    with _readdressed(model, torch.zeros_like):
        yield


@contextmanager
def shuffled(model: nn.Module, seed: int) -> Generator[None]:
    """Let each position read what another one of the batch, drawn at random, should read.

    Rows are read as often as without, but not where their n-grams are. The heads of a bank move
    together; each bank draws for itself.

    Args:
        model: With banks.
        seed: Of the draws, anew in every forward.
    """
    generators: dict[torch.device, torch.Generator] = {}

    def draw(addresses: Tensor) -> Tensor:
        device = addresses.device
        if device not in generators:
            generators[device] = torch.Generator(device).manual_seed(seed)
        flat = addresses.flatten(0, 1)  # (positions, heads)
        drawn = torch.randperm(len(flat), device=device, generator=generators[device])
        return flat[drawn].view_as(addresses)

    with _readdressed(model, draw):
        yield


@contextmanager
def _readdressed(model: nn.Module, change: Callable[[Tensor], Tensor]) -> Generator[None]:
    def before(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (arguments[0], change(arguments[1]), *arguments[2:])

    banks = require_attachment(model).banks.values()
    # First, so that telemetry sees the addresses that are read.
    handles = [bank.register_forward_pre_hook(before, prepend=True) for bank in banks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

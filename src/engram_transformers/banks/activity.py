"""What banks do at each token: how far their gates open, and how much they add."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engram_transformers.attachment import Attachment
from engram_transformers.banks.attached import AttachedBank


@dataclass(frozen=True)
class BankActivity:
    """What one bank did in one sequence.

    Attributes:
        layer: The decoder block that it adds to.
        gates: For each token how far the gate was open, 0 to 1; in models with several residual
            streams their mean.
        added: Norm of what was added to the hidden state, over all streams.
        hidden: Norm of the hidden state before.
    """

    layer: int
    gates: tuple[float, ...]
    added: tuple[float, ...]
    hidden: tuple[float, ...]

    @property
    def relative(self) -> tuple[float, ...]:
        """What was added, relative to the hidden state."""
        pairs = zip(self.added, self.hidden, strict=True)
        return tuple(added / hidden if hidden else 0.0 for added, hidden in pairs)


class BankMeasures(NamedTuple):
    """What one bank did in one call, each (batch, seq) float32 on the CPU.

    Attributes:
        gates: Means over the streams.
        added: Norms over the streams.
        hidden: Norms over the streams.
    """

    gates: Tensor
    added: Tensor
    hidden: Tensor

    def of_sequence(self, layer: int, number: int, places: list[int]) -> BankActivity:
        """Return one sequence's part.

        Args:
            layer: Of the bank.
            number: Which sequence of the batch.
            places: Where its tokens are; padding is left out.
        """
        return BankActivity(layer, *(tuple(part[number, places].tolist()) for part in self))


@contextmanager
def measuring(attachment: Attachment) -> Generator[dict[int, BankMeasures]]:
    """Measure what this thread's calls of a model do with its banks, until the block ends.

    Code that `torch.compile` compiled has no hooks: there, nothing is measured.

    Args:
        attachment: The model's patch.

    Yields:
        Layer -> what its bank did in the last call; of blocks that a model runs several times in
        one call, in the last run.
    """
    thread = threading.get_ident()
    seen: dict[int, BankMeasures] = {}

    @torch.no_grad()
    def note(
        bank: AttachedBank, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if threading.get_ident() == thread:
            seen[bank.layer] = _measures(bank, args[0], args[1], kwargs["rows"], output[0])

    handles = [
        bank.register_forward_hook(note, with_kwargs=True) for bank in attachment.banks.values()
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _measures(
    bank: AttachedBank,
    hidden_states: Tensor,
    addresses: Tensor | None,
    rows: Tensor | None,
    added: Tensor,
) -> BankMeasures:
    gates = bank.gates(hidden_states, addresses, rows=rows)  # (batch, seq, streams)
    norms = [part.float().flatten(2).norm(dim=-1) for part in (added, hidden_states)]
    return BankMeasures(*(part.float().cpu() for part in (gates.mean(-1), *norms)))

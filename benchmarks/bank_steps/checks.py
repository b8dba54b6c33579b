"""Correctness before speed: what every condition must leave alone, and what a bank must learn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from benchmarks.bank_steps.conditions import Condition
from benchmarks.bank_steps.turn import Turn, inner_optimiser, take_turn
from benchmarks.common import require
from engram_transformers.banks.addresses import table_addresses

_REPEATS = 8
_TOLERANCE = {"float32": 1e-4, "bf16 autocast": 2e-2}
"""Of the first losses; a LoRA and a bank round differently."""


class NotLearnedError(AssertionError):
    """What is trained does not learn a batch that it sees again and again."""

    def __init__(self, condition: str, losses: list[float]) -> None:
        shown = ", ".join(f"{loss:.4f}" for loss in losses)
        super().__init__(f"{condition}: the loss of a repeated batch does not fall: {shown}")


class BankWatch(TrainerCallback):
    """Compare the rows that a bank reads with those that change, and look at their gradients.

    Args:
        trainer: Of a condition with banks of this library.
        banks: Layer -> bank.
    """

    def __init__(self, trainer: Any, banks: Any) -> None:
        self._trainer = trainer
        self._banks = banks
        tables = {layer: bank.table.weight.detach() for layer, bank in banks.items()}
        self._first = {layer: table.to("cpu", copy=True) for layer, table in tables.items()}
        self._read: dict[int, list[Tensor]] = {layer: [] for layer in banks}
        self._within: dict[int, list[Tensor]] = {layer: [] for layer in banks}
        self._hooks = [bank.register_forward_pre_hook(self._note_reads) for bank in banks.values()]
        self.are_sparse = True

    def _note_reads(self, bank: Any, arguments: tuple[Any, ...]) -> None:
        places = table_addresses(arguments[1], bank.bank_hash).cpu()  # (batch, seq, heads)
        self._read[bank.layer].append(places.flatten())
        # Nothing follows a last position: what it reads has no gradient but a zero.
        self._within[bank.layer].append(places[:, :-1].flatten())

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at the gradients of tables."""
        grads = [bank.table.weight.grad for bank in self._banks.values()]
        layouts = [None if grad is None else grad.layout for grad in grads]
        self.are_sparse &= all(layout == torch.sparse_coo for layout in layouts)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Compare what was read with what changed and with what the optimiser knows."""
        for hook in self._hooks:
            hook.remove()
        require(self.are_sparse, "gradients of tables are sparse")
        optimiser = inner_optimiser(self._trainer).rows
        for layer, bank in self._banks.items():
            table = bank.table.weight.detach()
            changed = (table.cpu() != self._first[layer]).any(1)
            read, within = (torch.zeros_like(changed) for _ in range(2))
            read[torch.cat(self._read[layer])] = True
            within[torch.cat(self._within[layer])] = True
            require(not bool((changed & ~read).any()), "rows that were not read do not change")
            require(not bool((within & ~changed).any()), "all rows that were read change")
            known = optimiser.touched_rows(bank.table.weight).cpu()
            exactly = torch.equal(known, read.nonzero().flatten())
            require(exactly, "the optimiser remembers exactly the rows that were read")


def check(
    condition: Condition,
    data: list[dict[str, Tensor]],
    device: torch.device,
    batch: int,
    **how: Any,
) -> Turn:
    """Train on one batch again and again; a bank must learn in the rows that are read alone.

    Raises:
        NotLearnedError: If the loss does not fall.
    """
    watch = (lambda trainer: BankWatch(trainer, condition.banks)) if condition.banks else None
    turn = take_turn(
        condition,
        data[:batch] * _REPEATS,
        device,
        batch=batch,
        steps=_REPEATS - 1,
        warm_up=1,
        look=watch,
        **how,
    )
    if not turn.losses[-1] < turn.losses[0]:
        raise NotLearnedError(condition.name, turn.losses)
    return turn


def require_same_losses(turns: Iterable[tuple[Condition, Turn]], precision: str) -> None:
    """Stop unless models that add nothing yet have the same first loss: of the same batch."""
    first = {condition.name: turn.losses[0] for condition, turn in turns}
    tolerance = _TOLERANCE[precision]
    least, most = min(first.values()), max(first.values())
    same = most - least <= tolerance * most
    require(same, f"all conditions begin with the loss of the same batch: {first}")


def require_same_base(condition: Condition, base: Any) -> None:
    """Stop if training moved a weight of the base."""
    pairs = zip(condition.base, base.parameters(), strict=True)
    same = all(torch.equal(mine.detach().cpu(), its.detach().cpu()) for mine, its in pairs)
    require(same, f"{condition.name}: the base's weights are bit for bit as they were")

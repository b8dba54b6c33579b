"""Finding rows: gradient steps over the last blocks until every answer token is won with margin."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engram_transformers.batch import Batch
from engram_transformers.storage import RowDtype, as_stored
from engram_transformers.tail import Tail
from engram_transformers.whole import WholeModel

_SHRINK = 0.7
"""Facts that are won are left out of the batches once so few are left, relative to before."""
_COMPETITORS = 64
"""Likely tokens per position that are scored beside the targets, not the whole vocabulary."""


@dataclass(frozen=True)
class Effort:
    """How hard to try.

    Attributes:
        learning_rate: Of Adam, in units of a row's numbers.
        start: Root mean square of a row's numbers at the start.
        margin: By how many logits each target must lead.
        skip_margin: Positions where the model leads by this much without a row get none.
        steps: At most so many.
    """

    learning_rate: float = 0.3
    start: float = 0.5
    margin: float = 3.0
    skip_margin: float = float("inf")
    steps: int = 60


@dataclass(frozen=True)
class Solution:
    """What the optimisation found.

    Attributes:
        values: (rows, row_dim) float32, all rows, as they are stored.
        needed: (rows,) bool: False where the model needs no row.
        steps: Steps taken.
        unsolved: Facts of which some target is not won with margin.
    """

    values: Tensor
    needed: Tensor
    steps: int
    unsolved: frozenset[int]


class Optimiser:
    """Optimise new rows, with rows that are there already in place.

    Args:
        runner: How to run the model.
        batches: The sequences, whose `rows` count through all rows.
        rows: (rows, row_dim) float32; what new ones hold is ignored.
        is_new: (rows,) bool: which ones are to be found.
        dtype: How rows are stored.
        effort: How hard to try.
        on_step: Called with the step and the number of facts that are left.
    """

    def __init__(
        self,
        runner: Tail | WholeModel,
        batches: Sequence[Batch],
        rows: Tensor,
        is_new: Tensor,
        dtype: RowDtype,
        effort: Effort,
        on_step: Callable[[int, int], None],
    ) -> None:
        self.runner = runner
        self.batches = list(batches)
        self.dtype: RowDtype = dtype
        self.effort = effort
        self.on_step = on_step
        self.facts = int(max(int(b.facts.max()) for b in batches)) + 1
        self.device = batches[0].hidden_states.device
        self.is_new = is_new.to(self.device)
        found = rows.to(self.device)
        self.rows = torch.where(self.is_new.unsqueeze(1), 0.0, found).requires_grad_()
        self.needed = torch.ones(len(rows), dtype=torch.bool, device=self.device)

    def solve(self) -> Solution:
        """Run until every fact is won or the steps are used up."""
        candidates = self._start()
        adam = torch.optim.Adam([self.rows], lr=self.effort.learning_rate)
        unsolved = torch.ones(self.facts, dtype=torch.bool, device=self.device)
        active, count = self.batches, self.facts
        step = 0
        while step < self.effort.steps:
            unsolved &= ~self._step(active, candidates, unsolved, adam)
            step += 1
            left = int(unsolved.sum())
            self.on_step(step, left)
            if left == 0:
                unsolved, candidates = self._verify(candidates)
                left = int(unsolved.sum())
                if left == 0:
                    break
                active, count = _of_facts(self.batches, unsolved), left
            elif left < _SHRINK * count:
                active, count = _of_facts(active, unsolved), left
        values = as_stored(self.rows.detach(), self.dtype)
        facts = frozenset(unsolved.nonzero().flatten().tolist())
        return Solution(values, self.needed, step, facts)

    def _start(self) -> Tensor:
        """Set rows to a linearised solution, drop those not needed, and return the candidates.

        The gradient of the loss at zero is the direction in which a row raises its target above
        what the model would say, through everything above the memory; its length is chosen.
        """
        lead = torch.full((len(self.rows),), float("inf"), device=self.device)
        gradient = torch.zeros_like(self.rows)
        competitors: list[Tensor] = []
        for batch in self.batches:
            logits, targets = self._logits(batch, None)
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            gradient += torch.autograd.grad(loss, self.rows)[0]
            rows = batch.rows[batch.asked]
            read = rows >= 0
            margins = _margins(logits.detach(), targets)
            lead.scatter_reduce_(0, rows[read], margins[read], "amin")
            competitors += [targets, logits.detach().topk(_COMPETITORS).indices.flatten()]
        self.needed = (lead < self.effort.skip_margin) | ~self.is_new
        if not bool(self.needed.all()):
            self.batches = [self._without_needless(batch) for batch in self.batches]
        scale = gradient.pow(2).mean(1, keepdim=True).sqrt().clamp_min(1e-12)
        with torch.no_grad():
            start = -gradient / scale * self.effort.start
            self.rows.copy_(torch.where(self.is_new.unsqueeze(1), start, self.rows))
        return torch.cat(competitors).unique()

    def _step(
        self,
        batches: Sequence[Batch],
        candidates: Tensor,
        unsolved: Tensor,
        adam: torch.optim.Optimizer,
    ) -> Tensor:
        """Take one step on the facts that are not won yet; return which are won, (facts,) bool.

        The rows of facts that are won stay as they are won with.
        """
        won = torch.ones(self.facts, dtype=torch.bool, device=self.device)
        gradient = torch.zeros_like(self.rows)
        for batch in batches:
            logits, targets = self._logits(batch, candidates)
            places = torch.searchsorted(candidates, targets)
            loss = torch.nn.functional.cross_entropy(logits, places, reduction="sum")
            gradient += torch.autograd.grad(loss, self.rows)[0]
            self._mark_lost(won, batch, _margins(logits.detach(), places))
        moving = (self._rows_of(batches, ~won & unsolved) & self.is_new).unsqueeze(1)  # (rows, 1)
        before = self.rows.detach().clone()
        self.rows.grad = gradient
        adam.step()
        with torch.no_grad():
            self.rows.copy_(torch.where(moving, self.rows, before))
        return won

    @torch.no_grad()
    def _verify(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Look at the whole vocabulary: which facts are lost to tokens that were not scored?

        Returns:
            (facts,) bool, which are lost, and the candidates with the tokens that won.
        """
        won = torch.ones(self.facts, dtype=torch.bool, device=self.device)
        found = [candidates]
        for batch in self.batches:
            logits, targets = self._logits(batch, None)
            margins = _margins(logits, targets)
            self._mark_lost(won, batch, margins)
            found.append(logits[margins < self.effort.margin].topk(_COMPETITORS).indices.flatten())
        return ~won, torch.cat(found).unique()

    def _without_needless(self, batch: Batch) -> Batch:
        needless = (batch.rows >= 0) & ~self.needed[batch.rows.clamp_min(0)]
        return dataclasses.replace(batch, rows=torch.where(needless, -1, batch.rows))

    def _logits(self, batch: Batch, candidates: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return logits and targets where something is asked."""
        logits = self.runner.logits(batch, self._values(batch), candidates)
        return logits, batch.targets[batch.asked]

    def _values(self, batch: Batch) -> Tensor:
        """Return the rows found at each position, (batch, tail, row_dim)."""
        return as_stored(self.rows, self.dtype)[batch.rows.clamp_min(0)]

    def _mark_lost(self, won: Tensor, batch: Batch, margins: Tensor) -> None:
        facts = batch.facts[batch.asked[0]]
        won &= ~_any(self.facts, facts, margins < self.effort.margin)

    def _rows_of(self, batches: Sequence[Batch], facts: Tensor) -> Tensor:
        """Say of each row whether some facts read it, (rows,) bool."""
        read = torch.zeros(len(self.rows), dtype=torch.bool, device=self.device)
        for batch in batches:
            counts = facts[batch.facts].unsqueeze(1) & (batch.rows >= 0)
            read |= _any(len(self.rows), batch.rows.clamp_min(0).flatten(), counts.flatten())
        return read


def _of_facts(batches: Sequence[Batch], facts: Tensor) -> list[Batch]:
    """Return the sequences of some facts."""
    chosen = [(batch, facts[batch.facts].nonzero().flatten()) for batch in batches]
    return [batch.select(numbers) for batch, numbers in chosen if numbers.numel()]


def _any(size: int, places: Tensor, flags: Tensor) -> Tensor:
    """Say of each place whether any of its flags is set, (size,) bool; no wait for a GPU."""
    sums = torch.zeros(size, dtype=torch.int32, device=flags.device)
    return sums.index_add_(0, places, flags.to(torch.int32)) > 0


def _margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Return by how much each target leads the best other token, (positions,)."""
    target = logits.gather(1, targets.unsqueeze(1))
    best_other = logits.scatter(1, targets.unsqueeze(1), float("-inf")).amax(1)
    return target.squeeze(1) - best_other

"""Finding rows: gradient steps over the last blocks until every answer token is won with margin."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engram_transformers.storage import RowDtype, as_stored
from engram_transformers.tail import Batch, Tail

# Measured on SmolLM2-135M-Instruct and Gemma-3-270M (docs/benchmarks.md).
_CHUNK = 256
"""Sequences per forward."""
_COMPETITORS = 8
"""Tokens that are likely at a position, scored beside the targets instead of the whole vocabulary."""


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

    learning_rate: float = 0.2
    start: float = 0.5
    margin: float = 3.0
    skip_margin: float = float("inf")
    steps: int = 60


@dataclass(frozen=True)
class Solution:
    """What the optimisation found.

    Attributes:
        values: (rows, row_dim) float32, as they are stored.
        needed: (rows,) bool: False where the model needs no row.
        steps: Steps taken.
        unsolved: Facts of which some target is not won with margin.
    """

    values: Tensor
    needed: Tensor
    steps: int
    unsolved: frozenset[int]


class Optimiser:
    """Optimise new rows of one table, with its other rows in place.

    Rows are numbered: first the fixed ones, then the new ones.
    """

    def __init__(
        self,
        tail: Tail,
        batches: Sequence[Batch],
        new_rows: int,
        fixed: Tensor,
        dtype: RowDtype,
        effort: Effort,
        on_step: Callable[[int, int], None],
    ) -> None:
        self.tail = tail
        self.batches = list(batches)
        self.fixed = fixed  # (fixed rows, row_dim)
        self.first_new = fixed.shape[0]
        self.dtype: RowDtype = dtype
        self.effort = effort
        self.on_step = on_step
        self.new_rows = new_rows
        self.facts = int(max(int(b.facts.max()) for b in batches)) + 1
        self.device = batches[0].hidden_states.device
        self.rows = torch.zeros(new_rows, fixed.shape[1], device=self.device, requires_grad=True)
        self.needed = torch.ones(new_rows, dtype=torch.bool, device=self.device)

    def solve(self) -> Solution:
        """Run until every fact is won or the steps are used up."""
        candidates = self._start()
        adam = torch.optim.SparseAdam([self.rows], lr=self.effort.learning_rate)
        unsolved = torch.ones(self.facts, dtype=torch.bool, device=self.device)
        step = 0
        while step < self.effort.steps:
            won = self._step(candidates, unsolved, adam)
            step += 1
            unsolved &= ~won
            left = int(unsolved.sum())
            self.on_step(step, left)
            if left == 0:
                unsolved, candidates, grown = self._verify(candidates)
                if not grown:
                    break
        values = as_stored(self.rows.detach(), self.dtype)
        facts = frozenset(unsolved.nonzero().flatten().tolist())
        return Solution(values, self.needed, step, facts)

    def _start(self) -> Tensor:
        """Set rows to a linearised solution, drop those not needed, and return the candidates.

        The gradient of the loss at zero is the direction in which a row raises its target above
        what the model would say, through everything above the memory; its length is chosen.
        """
        lead = torch.full((self.new_rows,), float("inf"), device=self.device)
        gradient = torch.zeros_like(self.rows)
        competitors: list[Tensor] = []
        for batch in self._chunks():
            logits, targets, rows = self._targets(batch, self.tail.logits(batch, self._values(batch), None))
            loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
            gradient += torch.autograd.grad(loss, self.rows)[0].to_dense()
            margins = _margins(logits.detach(), targets)
            new = rows >= self.first_new
            lead.scatter_reduce_(0, rows[new] - self.first_new, margins[new], "amin")
            competitors += [targets, logits.detach().topk(_COMPETITORS).indices.flatten()]
        scale = gradient.pow(2).mean(1, keepdim=True).sqrt().clamp_min(1e-12)
        self.needed = lead < self.effort.skip_margin
        if not bool(self.needed.all()):
            self.batches = [self._without_needless(batch) for batch in self.batches]
        with torch.no_grad():
            self.rows.copy_(-gradient / scale * self.effort.start)
        return torch.cat(competitors).unique()

    def _without_needless(self, batch: Batch) -> Batch:
        new = batch.rows >= self.first_new
        needless = new & ~self.needed[(batch.rows - self.first_new).clamp_min(0)]
        return dataclasses.replace(batch, rows=torch.where(needless, -1, batch.rows))

    def _step(self, candidates: Tensor, unsolved: Tensor, adam: torch.optim.Optimizer) -> Tensor:
        """Take one step on the facts that are not won yet; return which are won, (facts,) bool."""
        won = torch.ones(self.facts, dtype=torch.bool, device=self.device)
        gradients: list[Tensor] = []
        for batch in self._chunks(unsolved):
            all_logits = self.tail.logits(batch, self._values(batch), candidates)
            logits, targets, _ = self._targets(batch, all_logits)
            places = torch.searchsorted(candidates, targets)
            loss = torch.nn.functional.cross_entropy(logits, places, reduction="sum")
            gradients.append(torch.autograd.grad(loss, self.rows)[0])
            self._mark_lost(won, batch, _margins(logits.detach(), places))
        if gradients:
            total = gradients[0]
            for gradient in gradients[1:]:
                total = total + gradient
            total = total.coalesce()
            # Facts that are won keep the rows they are won with.
            owner_lost = self._row_lost(won, unsolved)[total.indices()[0]]
            self.rows.grad = torch.sparse_coo_tensor(
                total.indices()[:, owner_lost], total.values()[owner_lost], total.shape
            )
            adam.step()
        return won

    @torch.no_grad()
    def _verify(self, candidates: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Look at the whole vocabulary: which facts are lost to tokens that were not scored?

        Returns:
            (facts,) bool unsolved, the candidates with the tokens found, and whether any is new.
        """
        won = torch.ones(self.facts, dtype=torch.bool, device=self.device)
        found: list[Tensor] = [candidates]
        for batch in self._chunks():
            logits, targets, _ = self._targets(batch, self.tail.logits(batch, self._values(batch), None))
            margins = _margins(logits, targets)
            self._mark_lost(won, batch, margins)
            found.append(logits[margins < self.effort.margin].topk(_COMPETITORS).indices.flatten())
        grown = torch.cat(found).unique()
        lost = ~won
        return lost, grown, bool(lost.any())

    def _chunks(self, unsolved: Tensor | None = None) -> list[Batch]:
        """Return the sequences of some facts, in pieces."""
        pieces: list[Batch] = []
        for batch in self.batches:
            chosen = torch.arange(batch.facts.numel(), device=self.device)
            if unsolved is not None:
                chosen = chosen[unsolved[batch.facts]]
            if chosen.numel() == batch.facts.numel() <= _CHUNK:
                pieces.append(batch)
            else:
                pieces += [batch.select(part) for part in chosen.split(_CHUNK) if part.numel()]
        return pieces

    def _values(self, batch: Batch) -> Tensor:
        """Return the rows found at each position, (batch, tail, row_dim), new ones with gradient."""
        new = (batch.rows - self.first_new).clamp_min(0)
        values = torch.nn.functional.embedding(new, self.rows, sparse=True)
        values = as_stored(values.flatten(0, 1), self.dtype).view_as(values)
        if self.first_new == 0:
            return values
        fixed = self.fixed[batch.rows.clamp(0, self.first_new - 1)]
        return torch.where((batch.rows >= self.first_new).unsqueeze(-1), values, fixed)

    def _targets(self, batch: Batch, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Keep the positions where something is asked: logits, targets, rows."""
        asked = batch.targets >= 0
        return logits[asked].float(), batch.targets[asked], batch.rows[asked]

    def _mark_lost(self, won: Tensor, batch: Batch, margins: Tensor) -> None:
        facts = batch.facts.unsqueeze(1).expand_as(batch.targets)[batch.targets >= 0]
        lost = margins < self.effort.margin
        won.index_put_((facts[lost],), torch.zeros_like(facts[lost], dtype=torch.bool))

    def _row_lost(self, won: Tensor, unsolved: Tensor) -> Tensor:
        """Say of each new row whether a fact that is not won uses it, (rows,) bool."""
        lost = torch.zeros(self.new_rows, dtype=torch.bool, device=self.device)
        facts_lost = ~won & unsolved
        for batch in self.batches:
            rows = batch.rows[facts_lost[batch.facts]]
            lost[rows[rows >= self.first_new] - self.first_new] = True
        return lost


def _margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Return by how much each target leads the best other token, (positions,)."""
    target = logits.gather(1, targets.unsqueeze(1))
    best_other = logits.scatter(1, targets.unsqueeze(1), float("-inf")).amax(1)
    return target.squeeze(1) - best_other

"""Finding rows that replace a memory's own: gradient steps through all that reads them.

A row has no closed form here: what it adds goes through the memory's key, gate and convolution, and
then through nearly all blocks. So the whole model is run, and each step moves the replaced rows
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from engram_transformers.attachment import Attachment
from engram_transformers.batch import arrange
from engram_transformers.buckets.hashed_rows import HashedRows
from engram_transformers.calls import current_call
from engram_transformers.evaluation import left_padded
from engram_transformers.partial_model import run_reading, takes_positions
from engram_transformers.sequences import Wording
from engram_transformers.storage import RowDtype, as_stored

_LOGITS_AT_ONCE = 1 << 26
"""Of one pass: a quarter of a gigabyte in float32."""
_PROBES = 64


@dataclass(frozen=True)
class BucketEffort:
    """How hard to try.

    Attributes:
        learning_rate: Of Adam, in units in which a row's value is as long as the hidden state.
        margin: By how many logits each token of an answer must lead.
        steps: At most so many.
    """

    learning_rate: float
    margin: float
    steps: int


class Replaced(NamedTuple):
    """Rows by number.

    Attributes:
        numbers: (rows,) int64, distinct.
        values: (rows, width) float32.
    """

    numbers: Tensor
    values: Tensor


class BucketOptimiser:
    """Find the rows that some facts replace, beside others that stay as they are.

    Args:
        attachment: The model's patch.
        memory: Whose rows are replaced.
        lines: The facts' wordings.
        contexts: Token ids of texts that facts are written behind besides on their own.
        fixed: Rows that are replaced already.
        numbers: (new rows,) int64, the rows that are to be found.
        dtype: How rows are stored.
    """

    def __init__(
        self,
        attachment: Attachment,
        memory: HashedRows,
        lines: Sequence[Wording],
        contexts: Sequence[Sequence[int]],
        fixed: Replaced,
        numbers: Tensor,
        dtype: RowDtype,
    ) -> None:
        self.attachment = attachment
        self.memory = memory
        self.dtype: RowDtype = dtype
        self.device = attachment.device
        self._takes_positions = takes_positions(attachment)
        self._batches = [b for c in [(), *contexts] for b in self._arranged(lines, c)]
        self._count = len(numbers)
        self._fixed = fixed.values.to(self.device)
        keys = torch.cat([numbers.to(self.device), fixed.numbers.to(self.device)])
        self._keys, self._order = torch.sort(keys)
        self._own = torch.zeros(self._count, memory.layout.width, device=self.device)
        self._moved = torch.zeros_like(self._own)
        self._unit = 1.0
        self._look()

    def solve(self, effort: BucketEffort, on_step: Callable[[int], None]) -> tuple[Tensor, int]:
        """Take steps until every token of every answer leads, or they are used up.

        Args:
            effort: How hard to try.
            on_step: Called with the number of each step.

        Returns:
            (new rows, width) float32 on the CPU, as they are stored; and the steps taken.
        """
        moved = self._moved.requires_grad_()
        adam = torch.optim.Adam([moved], lr=effort.learning_rate)
        step = 0
        while step < effort.steps and self._count:
            gradient, left = torch.zeros_like(moved), 0
            for batch in self._batches:
                logits, targets = self._logits(batch, self._override(moved))
                open_ = _margins(logits.detach(), targets) < effort.margin
                left += int(open_.sum())
                losses = cross_entropy(logits, targets, reduction="none")
                gradient += torch.autograd.grad((losses * open_).sum(), moved)[0]
            if left == 0:
                break
            moved.grad = gradient
            adam.step()
            step += 1
            on_step(step)
        return as_stored(self._rows(moved.detach()), self.dtype).cpu(), step

    def _rows(self, moved: Tensor) -> Tensor:
        return self._own + self._unit * moved

    def _override(self, moved: Tensor) -> Callable[[int, Tensor, Tensor], Tensor]:
        """Return what puts rows in place; see `Call.override`."""
        values = torch.cat([as_stored(self._rows(moved), self.dtype), self._fixed])[self._order]

        def override(layer: int, numbers: Tensor, rows: Tensor) -> Tensor:
            if layer != self.memory.layer:
                return rows
            places, hit = self._find(numbers)
            return torch.where(hit.unsqueeze(-1).to(rows.device), values[places].to(rows), rows)

        return override

    def _find(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        numbers = numbers.to(self.device).contiguous()
        places = torch.searchsorted(self._keys, numbers).clamp_max(len(self._keys) - 1)
        return places, self._keys[places] == numbers

    @torch.no_grad()
    def _look(self) -> None:
        """Learn the rows that the memory has, and how long they must be to be heard."""
        squares: list[Tensor] = []

        def note(_: nn.Module, args: tuple[Any, ...]) -> None:
            call = current_call(self.attachment)
            if call is not None and call.override is override:  # not another thread's
                squares.append(args[0].detach().float().pow(2).mean())

        def override(layer: int, numbers: Tensor, rows: Tensor) -> Tensor:
            if layer == self.memory.layer:
                places, hit = self._find(numbers)
                which = self._order[places]
                hit &= which < self._count
                self._own[which[hit]] = rows.to(self.device)[hit].float()
            return rows

        handle = self.memory.module.register_forward_pre_hook(note)
        try:
            for batch in self._batches:
                self._logits(batch, override)
        finally:
            handle.remove()
        heads, width = len(self.memory.layout.sizes), self.memory.layout.width
        generator = torch.Generator().manual_seed(0)
        probes = torch.randn(_PROBES, heads, width, generator=generator).to(self.device)
        added = self.memory.value(probes) - self.memory.value(torch.zeros_like(probes))
        length = added.pow(2).mean().sqrt().clamp_min(1e-12)
        self._unit = float(torch.stack(squares).mean().sqrt().to(length.device) / length)

    def _arranged(self, lines: Sequence[Wording], context: Sequence[int]) -> list[_Batch]:
        """Put wordings behind a context; chats are a whole context already."""
        chosen = [line for line in lines if not (context and line.is_chat)]
        chosen.sort(key=lambda line: len(line.prompt_ids) + len(line.targets))
        batches: list[_Batch] = []
        while chosen:
            longest = len(context) + len(chosen[-1].prompt_ids) + len(chosen[-1].targets)
            count = max(_LOGITS_AT_ONCE // (longest * self.attachment.canonical.numel()), 1)
            batches.append(self._batch(chosen[-count:], context))
            chosen = chosen[:-count]
        return batches

    def _batch(self, lines: Sequence[Wording], context: Sequence[int]) -> _Batch:
        starts = [line.start if context else 0 for line in lines]
        texts = [
            line.prompt_ids[start:] + line.targets[:-1]
            for line, start in zip(lines, starts, strict=True)
        ]
        ids, mask = left_padded(texts, self.device)
        arranged = arrange(context, ids, mask)
        length = arranged.ids.shape[1]
        targets = [[-1] * (length - len(line.targets)) + list(line.targets) for line in lines]
        given: dict[str, Any] = {"attention_mask": arranged.mask, "use_cache": False}
        if self._takes_positions:
            given["position_ids"] = arranged.positions
        return _Batch(arranged.ids, torch.tensor(targets, device=self.device), given)

    def _logits(
        self, batch: _Batch, override: Callable[[int, Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return (asked, vocab) float32 logits and (asked,) int64 targets."""
        output = run_reading(
            self.attachment,
            self.attachment.model,
            lambda _, hidden_states: hidden_states,
            batch.input_ids,
            override=override,
            **batch.arguments,
        )
        asked = batch.targets >= 0
        return output.logits[asked].float(), batch.targets[asked]


class _Batch(NamedTuple):
    """Sequences, padded on the left.

    Attributes:
        input_ids: (batch, seq) int64.
        targets: (batch, seq) int64: what is to be said next, -1 where nothing is asked.
        arguments: What the model is given besides.
    """

    input_ids: Tensor
    targets: Tensor
    arguments: dict[str, Any]


def _margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Return by how much each target leads the best other token, (asked,)."""
    target = logits.gather(1, targets.unsqueeze(1))
    others = logits.scatter(1, targets.unsqueeze(1), float("-inf"))
    return target.squeeze(1) - others.amax(1)

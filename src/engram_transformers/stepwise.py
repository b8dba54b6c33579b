"""Finding the rows of one or many tables by optimisation, in shared batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engram_transformers.attachment import Attachment
from engram_transformers.attempt import Attempt
from engram_transformers.batch import Batch
from engram_transformers.evaluation import left_padded
from engram_transformers.index import RowIndex
from engram_transformers.optimise import Effort, Optimiser
from engram_transformers.plan import find_in
from engram_transformers.sequences import Encoder, Wording
from engram_transformers.storage import RowDtype
from engram_transformers.tail import Tail
from engram_transformers.whole import WholeModel

_SEQUENCES_PER_BATCH = 256


def find_by_steps(
    attempts: Sequence[Attempt],
    runner: Tail | WholeModel,
    dtype: RowDtype,
    effort: Effort,
    on_step: Callable[[int, int], None],
) -> int:
    """Optimise the rows that attempts need; they take them.

    Args:
        attempts: At least one; of one model and memory.
        runner: How to run the model.
        dtype: How rows are stored.
        effort: How hard to try.
        on_step: Called with the step and the number of facts that are left.

    Returns:
        The steps taken.
    """
    device = attempts[0].attachment.device
    row_dim = attempts[0].attachment.config.row_dim
    rows: list[Tensor] = []
    is_new: list[Tensor] = []
    for attempt in attempts:
        old, new = attempt.old_rows, attempt.plan.new_rows
        rows.append(torch.cat([attempt.values[:old], torch.zeros(new, row_dim, device=device)]))
        is_new.append(torch.arange(old + new, device=device) >= old)
    batches = _Batches(attempts, rows, runner).made()
    solution = Optimiser(
        runner, batches, torch.cat(rows), torch.cat(is_new), dtype, effort, on_step
    ).solve()
    values = solution.values.split([len(part) for part in rows])
    needed = solution.needed.split([len(part) for part in rows])
    first_fact = 0
    for attempt, theirs, wanted in zip(attempts, values, needed, strict=True):
        facts = range(first_fact, first_fact + len(attempt.items))
        unsolved = frozenset(n - first_fact for n in solution.unsolved if n in facts)
        old = attempt.old_rows
        attempt.take_rows(theirs[old:], wanted[old:].tolist(), unsolved)
        first_fact = facts.stop
    return solution.steps


class _Line(NamedTuple):
    """A wording of a new fact: of which attempt, and which fact counted through all of them."""

    attempt: int
    fact: int
    wording: Wording


class _Batches:
    """Every new wording, on its own and in each context, run up to the memory."""

    def __init__(
        self, attempts: Sequence[Attempt], rows: Sequence[Tensor], runner: Tail | WholeModel
    ) -> None:
        self.attachment: Attachment = attempts[0].attachment
        self.runner: Any = runner
        self.index = RowIndex.build(
            [a.plan.rows(values) for a, values in zip(attempts, rows, strict=True)],
            self.attachment.device,
        )
        first_fact = 0
        self.lines: list[_Line] = []
        for number, attempt in enumerate(attempts):
            self.lines += [_Line(number, first_fact + n, w) for n, w in attempt.lines]
            first_fact += len(attempt.items)
        # Alike lengths together, so that little is computed for padding.
        self.lines.sort(key=lambda line: (len(line.wording.targets), len(line.wording.prompt_ids)))
        first = self.lines[0].wording
        prefix = first.prompt_ids[: first.start]
        texts = attempts[0].options.context_texts
        encoder = Encoder(self.attachment.tokenizer)
        self.contexts = [[*prefix, *encoder(text)] for text in texts]

    def made(self) -> list[Batch]:
        """Run all sequences."""
        # A CPU saves time by running a context once for all; a GPU by running everything at once.
        shares = self.attachment.device.type == "cpu"
        caches = [self.runner.run_context(c if shares else []) for c in self.contexts]
        empty = self.runner.run_context([])
        batches: list[Batch] = []
        count = max(_SEQUENCES_PER_BATCH // (1 + len(self.contexts)), 1)
        for start in range(0, len(self.lines), count):
            part = self.lines[start : start + count]
            alone = [(line, line.wording.prompt_ids) for line in part]
            # A chat prompt is a whole context already.
            texts = [
                (line, line.wording.prompt_ids[line.wording.start :])
                for line in part
                if not line.wording.is_chat
            ]
            if shares:
                joined = [self._batch(empty, alone)]
                joined += [self._batch(cache, texts) for cache in caches if texts]
                batches.append(Batch.join(joined))
            else:
                within = [(line, (*c, *ids)) for c in self.contexts for line, ids in texts]
                batches.append(self._batch(empty, alone + within))
        return batches

    def _batch(self, context: Any, lines: Sequence[tuple[_Line, tuple[int, ...]]]) -> Batch:
        device = self.attachment.device
        sequences = [prompt + line.wording.targets[:-1] for line, prompt in lines]
        ids, mask = left_padded(sequences, device)
        length = ids.shape[1]
        targets = [
            [-1] * (length - len(line.wording.targets)) + list(line.wording.targets)
            for line, _ in lines
        ]
        owners = torch.tensor([line.attempt for line, _ in lines], device=device)
        return self.runner.prepare(
            context,
            ids,
            mask,
            find_in(self.attachment, self.index, owners, ids, mask),
            torch.tensor(targets, device=device),
            torch.tensor([line.fact for line, _ in lines], device=device),
        )

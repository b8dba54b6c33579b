"""One try at writing: plan addresses, find rows, ask every fact."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engram_transformers.batch import Batch
from engram_transformers.evaluation import ask, is_recalled, left_padded
from engram_transformers.index import Rows
from engram_transformers.optimise import Effort, Optimiser, Solution
from engram_transformers.plan import Item, Plan, find_rows, make_plan
from engram_transformers.sequences import Wording
from engram_transformers.tail import Tail
from engram_transformers.whole import WholeModel

if TYPE_CHECKING:
    from engram_transformers.table import UserTable
    from engram_transformers.writing import WriteOptions

_SEQUENCES_PER_BATCH = 256


@dataclass(frozen=True)
class Outcome:
    """What came of one fact.

    Attributes:
        item: The fact with its rows.
        reason: Why it can't be kept, None if it can.
        said: What the model said instead.
    """

    item: Item
    reason: str | None
    said: tuple[int, ...]


class Attempt:
    """Find rows for some facts beside others that are there already.

    Attributes:
        values: (rows, row_dim) float32: the old rows and, after `run`, the new ones behind them.
        steps: Optimisation steps.
        evaluation_seconds: Time spent asking.
    """

    def __init__(
        self,
        table: UserTable,
        runner: Tail | WholeModel,
        others: Sequence[Item],
        items: Sequence[Item],
        values: Tensor,
        options: WriteOptions,
    ) -> None:
        self.table = table
        self.attachment = table.attachment
        self.runner = runner
        self.others = others
        self.items = items
        self.values = values
        self.old_rows = values.shape[0]
        self.options = options
        self.steps = 0
        self.evaluation_seconds = 0.0

    def make_plan(self, needed: Sequence[bool] | None = None) -> Plan:
        """Allocate addresses for all facts. See `plan.make_plan`."""
        old_rows = self.old_rows
        return make_plan(self.attachment, [*self.others, *self.items], old_rows, needed)

    def run(self, plan: Plan, effort: Effort, *, is_last: bool, bar: Any) -> list[Outcome]:
        """Find the rows and ask.

        Args:
            plan: What `make_plan` returned.
            effort: How hard to try.
            is_last: Whether a fact that is answered, but not with margin, is good enough.
            bar: The progress bar.

        Returns:
            One outcome per fact.
        """
        done = bar.n

        def show(step: int, left: int) -> None:
            bar.set_postfix_str(f"step {step}", refresh=False)
            bar.n = max(done, done + len(self.items) - left)
            bar.refresh()

        solution = Optimiser(
            self.runner,
            self._batches(plan),
            plan.new_rows,
            self.values,
            self.table.dtype,
            effort,
            show,
        ).solve()
        self.steps = solution.steps
        self.values = torch.cat([self.values, solution.values])
        if not all(needed := solution.needed.tolist()):
            plan = self.make_plan(needed)
        started = time.perf_counter()
        outcomes = self._ask(plan, solution, is_last)
        self.evaluation_seconds = time.perf_counter() - started
        bar.n = done + sum(outcome.reason is None for outcome in outcomes)
        return outcomes

    def _batches(self, plan: Plan) -> list[Batch]:
        """Run every new wording, on its own and in each context, up to the memory."""
        rows = plan.rows(torch.zeros(0, self.attachment.config.row_dim))
        lines = [(n, wording) for n, item in enumerate(self.items) for wording in item.wordings]
        # Alike lengths together, so that little is computed for padding.
        lines.sort(key=lambda line: (len(line[1].targets), len(line[1].prompt_ids)))
        first = lines[0][1]
        prefix = list(first.prompt_ids[: first.start])
        contexts = [[*prefix, *self._ids(text)] for text in self.options.context_texts]
        # A CPU saves time by running a context once for all; a GPU by running everything at once.
        shares = self.attachment.device.type == "cpu"
        caches = [self.runner.run_context(context if shares else []) for context in contexts]
        empty = self.runner.run_context([])
        batches: list[Batch] = []
        count = max(_SEQUENCES_PER_BATCH // (1 + len(contexts)), 1)
        for start in range(0, len(lines), count):
            part = lines[start : start + count]
            alone = [(n, w, w.prompt_ids) for n, w in part]
            # A chat prompt is a whole context already.
            texts = [(n, w, w.prompt_ids[w.start :]) for n, w in part if not w.is_chat]
            if shares:
                joined = [self._batch(empty, alone, rows)]
                joined += [self._batch(cache, texts, rows) for cache in caches if texts]
                batches.append(Batch.join(joined))
            else:
                within = [(n, w, (*c, *ids)) for c in contexts for n, w, ids in texts]
                batches.append(self._batch(empty, alone + within, rows))
        return batches

    def _batch(
        self, context: Any, lines: Sequence[tuple[int, Wording, tuple[int, ...]]], rows: Rows
    ) -> Batch:
        sequences = [prompt + wording.targets[:-1] for _, wording, prompt in lines]
        ids, mask = left_padded(sequences, self.attachment.device)
        length = ids.shape[1]
        targets = [[-1] * (length - len(w.targets)) + list(w.targets) for _, w, _ in lines]
        return self.runner.prepare(
            context,
            ids,
            mask,
            find_rows(self.attachment, rows, ids, mask),
            torch.tensor(targets, device=ids.device),
            torch.tensor([number for number, _, _ in lines], device=ids.device),
        )

    def _ask(self, plan: Plan, solution: Solution, is_last: bool) -> list[Outcome]:
        """Ask every new fact, and every old one in which a new row is found."""
        new = [(n, w) for n, item in enumerate(self.items) for w in item.wordings]
        old = [(n, w, found) for n, w, found in self._new_rows_in_old(plan) if found]
        lines = [w for _, w in new] + [w for _, w, _ in old]
        said = ask(self.attachment.model, self.table.reading(plan.compact_rows(self.values)), lines)
        wrong: dict[int, tuple[int, ...]] = {}
        for (number, wording), tokens in zip(new, said, strict=False):
            if not is_recalled(wording, tokens):
                wrong.setdefault(number, tokens)
        harmed: dict[int, Item] = {}
        row_ids = plan.row_ids[len(self.others) :]
        for (number, wording, found), tokens in zip(old, said[len(new) :], strict=True):
            if not is_recalled(wording, tokens):
                for n, lines_ids in enumerate(row_ids):
                    if any(not found.isdisjoint(ids) for ids in lines_ids):
                        harmed[n] = self.others[number]
        outcomes: list[Outcome] = []
        for n, item in enumerate(self.items):
            reason = None
            if n in wrong:
                reason = "the model gives another answer."
            elif n in harmed:
                reason = f"it would change the answer to {harmed[n].entry.fact.prompt!r}."
            elif n in solution.unsolved and not is_last:
                reason = "its answer is not won with margin."
            with_rows = Item(item.entry, item.wordings, tuple(row_ids[n]), item.own_stop)
            outcomes.append(Outcome(with_rows, reason, wrong.get(n, ())))
        return outcomes

    def _new_rows_in_old(self, plan: Plan) -> list[tuple[int, Wording, set[int]]]:
        """Return for each wording of an old fact the new rows that are found in it."""
        lines = [(n, w) for n, item in enumerate(self.others) for w in item.wordings]
        rows = plan.rows(torch.zeros(0, self.attachment.config.row_dim))
        result: list[tuple[int, Wording, set[int]]] = []
        for start in range(0, len(lines), _SEQUENCES_PER_BATCH):
            part = lines[start : start + _SEQUENCES_PER_BATCH]
            sequences = [wording.prompt_ids + wording.targets[:-1] for _, wording in part]
            ids, mask = left_padded(sequences, torch.device("cpu"))
            found = find_rows(self.attachment, rows, ids, mask).tolist()
            for (number, wording), row_ids in zip(part, found, strict=True):
                result.append((number, wording, {row for row in row_ids if row >= plan.old_rows}))
        return result

    def _ids(self, text: str) -> list[int]:
        tokenizer: Any = self.attachment.tokenizer
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

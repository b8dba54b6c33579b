"""Writing facts: several tries, of which only what is answered whole is kept."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

import torch
from tqdm.auto import tqdm

from engram_transformers.attempt import Attempt, Outcome
from engram_transformers.contexts import WRITING_CONTEXTS
from engram_transformers.errors import ConfigError, ContradictionError, LedgerMissingError
from engram_transformers.facts import Fact
from engram_transformers.index import Rows
from engram_transformers.ledger import Entry, Superseded
from engram_transformers.optimise import Effort
from engram_transformers.plan import Item, Plan, make_plan, row_ids_of
from engram_transformers.report import FailedFact, WriteReport
from engram_transformers.sequences import AUTO_STOP, Encoder, Wording, wordings
from engram_transformers.shortcut import runner_for

if TYPE_CHECKING:
    from engram_transformers.table import UserTable

_Key = tuple[int, ...]

_EFFORTS = (
    Effort(),
    Effort(learning_rate=0.1, start=0.25, margin=4.0, steps=120),
    Effort(learning_rate=0.05, start=1.0, margin=4.0, steps=240),
)
"""One try each: more steps, another start; from the second on, the longest addresses and no row
shared for stops."""


@dataclass(frozen=True)
class WriteOptions:
    """How facts are written. See `UserTable.write`."""

    stop: str | None = AUTO_STOP
    min_order: int = 3
    context: Literal["shortest", "full"] = "shortest"
    guard: tuple[str, ...] = ()
    contexts: int | Sequence[str] = 1
    source: str | None = None
    progress: bool | None = None

    def __post_init__(self) -> None:
        stop: Any = self.stop
        if stop is not None and (not isinstance(stop, str) or not stop):
            raise ConfigError("stop", stop, 'a text, "auto" or None')
        if type(self.min_order) is not int or self.min_order < 1:
            raise ConfigError("min_order", self.min_order, "an integer of at least 1")
        if self.context not in ("shortest", "full"):
            raise ConfigError("context", self.context, '"shortest" or "full"')
        if isinstance(self.contexts, int) and not 0 <= self.contexts <= len(WRITING_CONTEXTS):
            raise ConfigError("contexts", self.contexts, f"0 to {len(WRITING_CONTEXTS)}, or texts")

    @property
    def context_texts(self) -> tuple[str, ...]:
        """The texts that facts are written in besides on their own."""
        if isinstance(self.contexts, int):
            return WRITING_CONTEXTS[: self.contexts]
        return tuple(self.contexts)


@dataclass(frozen=True)
class Written:
    """The state of a table after a write.

    Attributes:
        rows: The rows.
        entries: The ledger.
        report: What happened; `rows` and `nbytes` are filled in by the table.
    """

    rows: Rows
    entries: tuple[Entry, ...]
    report: WriteReport


def write_facts(table: UserTable, facts: Sequence[Fact], options: WriteOptions) -> Written:
    """Compute what a table will be with facts written to it; the table itself is not changed.

    Args:
        table: The table.
        facts: The facts.
        options: How.

    Returns:
        The new state.

    Raises:
        LedgerMissingError: If the table has no ledger.
        FactError: If a fact can't be written as it is given; see its subclasses.
        ContradictionError: If two of the facts contradict each other.
    """
    # Whatever the caller has switched off, rows are found with gradients.
    with torch.inference_mode(False), torch.enable_grad():
        return _Writer(table, options).write(facts)


class _Writer:
    """One call of `write`.

    Attributes:
        kept: What the table holds so far.
        values: (rows, row_dim) float32, all rows that `kept` refers to, and some it does not.
        pending: The facts to be written.
        replaced: For each of these, by `id`, the old facts with one of its triggers.
    """

    def __init__(self, table: UserTable, options: WriteOptions) -> None:
        if table.entries is None:
            raise LedgerMissingError(table.owner, "writing")
        self.table = table
        self.options = options
        self.attachment = table.attachment
        self.now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        config: Any = self.attachment.model.config
        window = getattr(config, "max_position_embeddings", None)
        # XLNet says -1 where there is no end.
        self.longest = window if isinstance(window, int) and window > 0 else 1 << 30
        self.encoder = Encoder(self.attachment.tokenizer)
        self.encoder.preload(entry.fact for entry in table.entries)
        self.kept = [self._old_item(entry) for entry in table.entries]
        self.values = table.rows.values.to(self.attachment.device)
        self.pending: list[Item] = []
        self.pending_by_key: dict[_Key, Item] = {}
        self.kept_by_key = {k: item for item in self.kept for k in self._keys(item.wordings)}
        self.replaced: dict[int, list[Item]] = {}

    def write(self, facts: Sequence[Fact]) -> Written:
        """Write facts and describe the outcome."""
        started = time.perf_counter()
        self.encoder.preload(facts)
        for fact in dict.fromkeys(facts):
            self._add(fact)
        # Contradictions are found before anything costs time.
        others = self._without_replaced(self.pending)
        plan = make_plan(self.attachment, [*others, *self.pending], self.values.shape[0])
        outcomes, evaluation_seconds, steps = self._try_all(plan)
        seconds = time.perf_counter() - started - evaluation_seconds
        plan = make_plan(self.attachment, self.kept, self.values.shape[0])
        entries = tuple(
            dataclasses.replace(item.entry, orders=_orders_with_rows(orders, ids))
            for item, orders, ids in zip(self.kept, plan.orders, plan.row_ids, strict=True)
        )
        written = [item for item in self.pending if outcomes[id(item)].reason is None]
        report = WriteReport(
            tuple(item.entry.fact for item in written),
            tuple(
                self._failure(i, outcomes[id(i)]) for i in self.pending if outcomes[id(i)].reason
            ),
            tuple(old.entry.fact for item in written for old in self.replaced[id(item)]),
            seconds,
            evaluation_seconds,
            steps,
            rows=0,
            nbytes=0,
        )
        return Written(plan.compact_rows(self.values), entries, report)

    def _try_all(self, first_plan: Plan) -> tuple[dict[int, Outcome], float, int]:
        """Try until all is written or the tries are used up: outcomes, evaluation time, steps."""
        outcomes: dict[int, Outcome] = {}
        evaluation_seconds, steps = 0.0, 0
        disable = None if self.options.progress is None else not self.options.progress
        bar: Any = tqdm(
            total=len(self.pending), unit="fact", desc="writing", delay=2, disable=disable
        )
        with bar, self.attachment.evaluating():
            runner = runner_for(self.attachment, self.table.layer)
            waiting = self.pending
            for number, effort in enumerate(_EFFORTS):
                if not waiting:
                    break
                items = waiting if number == 0 else [_with_more_room(i) for i in waiting]
                attempt = Attempt(
                    self.table,
                    runner,
                    self._without_replaced(waiting),
                    items,
                    self.values,
                    self.options,
                )
                plan = first_plan if number == 0 else attempt.make_plan()
                found = attempt.run(plan, effort, is_last=number == len(_EFFORTS) - 1, bar=bar)
                outcomes.update({id(w): o for w, o in zip(waiting, found, strict=True)})
                self._keep(waiting, found)
                self.values = attempt.values
                evaluation_seconds += attempt.evaluation_seconds
                steps += attempt.steps
                waiting = [w for w, o in zip(waiting, found, strict=True) if o.reason is not None]
        return outcomes, evaluation_seconds, steps

    def _keep(self, waiting: Sequence[Item], outcomes: Sequence[Outcome]) -> None:
        succeeded = [w for w, o in zip(waiting, outcomes, strict=True) if o.reason is None]
        self.kept = self._without_replaced(succeeded)
        self.kept += [o.item for o in outcomes if o.reason is None]

    def _without_replaced(self, items: Sequence[Item]) -> list[Item]:
        """Return what is kept if some facts are written: not the old facts that they replace."""
        gone = {id(old) for item in items for old in self.replaced[id(item)]}
        return [item for item in self.kept if id(item) not in gone]

    def _add(self, fact: Fact) -> None:
        """Tokenise a fact and find what it replaces."""
        options = self.options
        lines = self._wordings(fact, options.stop)
        keys = self._keys(lines)
        twin = next((self.pending_by_key[key] for key in keys if key in self.pending_by_key), None)
        if twin is not None:
            same = twin.entry.fact.answer.strip() == fact.answer.strip()
            if same and keys <= self._keys(twin.wordings):
                return  # said twice
            reason = f"{_shown(twin.entry.fact)!r} has the same trigger. Give one of them per call."
            raise ContradictionError(_shown(fact), reason)
        found = {id(old): old for key in keys if (old := self.kept_by_key.get(key)) is not None}
        replaced = list(found.values())
        history = [entry for old in replaced for entry in self._history(old.entry, fact)]
        entry = Entry(
            fact,
            self.now,
            options.stop,
            orders=(),
            source=options.source,
            history=tuple(sorted(history, key=lambda old: old.written_at)),
            guard=options.guard,
            min_order=options.min_order,
            whole=options.context == "full",
        )
        item = Item(entry, lines, None)
        self.pending.append(item)
        self.pending_by_key.update(dict.fromkeys(keys, item))
        self.replaced[id(item)] = replaced

    def _wordings(self, fact: Fact, stop: str | None) -> tuple[Wording, ...]:
        return wordings(self.encoder, fact, stop, self.longest, self.attachment.canonical_list)

    def _keys(self, lines: Sequence[Wording]) -> set[_Key]:
        """Return the triggers of a fact, in canonical ids."""
        canonical = self.attachment.canonical_list
        return {tuple(canonical[i] for i in line.prompt_ids[line.start :]) for line in lines}

    def _history(self, old: Entry, fact: Fact) -> list[Superseded]:
        history = list(old.history)
        if old.fact.answer != fact.answer:
            history.append(Superseded(old.fact.answer, old.written_at, self.now))
        return history

    def _old_item(self, entry: Entry) -> Item:
        lines = self._wordings(entry.fact, entry.stop)
        return Item(entry, lines, row_ids_of(self.attachment, lines, entry, self.table.rows))

    def _failure(self, item: Item, outcome: Outcome) -> FailedFact:
        tokenizer: Any = self.attachment.tokenizer
        return FailedFact(item.entry.fact, outcome.reason or "", tokenizer.decode(outcome.said))


def _shown(fact: Fact) -> tuple[object, str]:
    return (fact.prompt, fact.answer)


def _with_more_room(item: Item) -> Item:
    return Item(dataclasses.replace(item.entry, whole=True), item.wordings, None, own_stop=True)


def _orders_with_rows(
    orders: Sequence[tuple[int, ...]], ids: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], ...]:
    """Write 0 for positions that have no row."""
    return tuple(
        tuple(order if row >= 0 else 0 for order, row in zip(line, line_ids, strict=True))
        for line, line_ids in zip(orders, ids, strict=True)
    )

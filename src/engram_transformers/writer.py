"""One table's part in a write: which facts are tried, kept and left out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from engram_transformers.architectures import logit_count_of
from engram_transformers.attempt import Attempt, Outcome
from engram_transformers.errors import (
    ContradictionError,
    FactError,
    LedgerMissingError,
    TriggerTooLongError,
)
from engram_transformers.evaluation import Said
from engram_transformers.facts import Fact
from engram_transformers.index import Rows
from engram_transformers.ledger import Entry, Superseded
from engram_transformers.located import locate
from engram_transformers.plan import Item, make_plan
from engram_transformers.report import FailedFact, WriteReport
from engram_transformers.sequences import AUTO_STOP_AND_LINE_END, Encoder, Wording, wordings
from engram_transformers.write_options import WriteOptions

if TYPE_CHECKING:
    from engram_transformers.table import UserTable

_Key = tuple[int, ...]


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


class Writer:
    """One table's part in a call of `write` or `write_many`: what is tried, kept and left out.

    Attributes:
        waiting: The facts that are not answered yet.
        attempt: The last try at them.
        values: (rows, row_dim) float32, all rows that the table has or had, or may get.
        pending: The facts to be written.
        replaced: For each of these, by `id`, the old facts with one of its triggers.
    """

    waiting: Sequence[Item]
    attempt: Attempt

    def __init__(self, table: UserTable, options: WriteOptions, encoder: Encoder) -> None:
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
        self.logit_count = logit_count_of(self.attachment.model)
        self.encoder = encoder
        self._old = self._items(table.entries)
        self.values = table.rows.values.to(self.attachment.device)
        self.pending: list[Item] = []
        self.pending_by_key: dict[_Key, Item] = {}
        self.kept_by_key = {k: item for item in self._old for k in self._keys(item.wordings)}
        self.replaced: dict[int, list[Item]] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.steps = 0
        self._written: dict[int, Item] = {}

    def _items(self, entries: Sequence[Entry]) -> list[Item]:
        """Return the facts that the table holds, with their rows."""
        places = locate(self.attachment, self.table, entries, self.encoder)
        return [
            Item(entry, place.wordings, place.row_ids)
            for entry, place in zip(entries, places, strict=True)
        ]

    def begin(self, facts: Sequence[Fact]) -> None:
        """Take facts in. Contradictions are found here, before anything costs time."""
        for fact in dict.fromkeys(facts):
            self._add(fact)
        self.waiting = list(self.pending)
        self._try([dataclasses.replace(item, sharing="tokens") for item in self.pending])

    def begin_with_ends(self) -> bool:
        """Plan shared rows for facts whose answers went on behind their stop, now with a line end.

        Returns:
            Whether there are any.
        """
        ended = {id(item): self._ended(item) for item in self.waiting if self._goes_on(item)}
        trying = [item for item in self.waiting if ended.get(id(item), item) is not item]
        if trying:
            items = [dataclasses.replace(ended[id(item)], sharing="tokens") for item in trying]
            self._try(items, trying)
        return bool(trying)

    def begin_again(self, *, harder: bool) -> None:
        """Plan rows of their own for the facts that are not answered.

        Args:
            harder: Whether they get the longest addresses, and share no row for stops.
        """
        items = [self._ended(i) if self._goes_on(i) else i for i in self.waiting]
        self._try([_with_more_room(i) for i in items] if harder else items)

    def take(self, said: Sequence[Said], least_margin: float) -> None:
        """Keep what was answered.

        Args:
            said: The answers to the attempt's questions.
            least_margin: By how many logits each token of an answer must lead; 0 at the last try,
                where an answer may also go on behind its stop.
        """
        found = self.attempt.outcomes(said, least_margin)
        self.outcomes.update({id(w): o for w, o in zip(self._trying, found, strict=True)})
        succeeded = {id(w) for w, o in zip(self._trying, found, strict=True) if o.reason is None}
        self._written.update(
            {id(w): o.item for w, o in zip(self._trying, found, strict=True) if o.reason is None}
        )
        self.values = self.attempt.values
        self.waiting = [item for item in self.waiting if id(item) not in succeeded]

    def finish(self, seconds: float, evaluation_seconds: float) -> Written:
        """Describe the outcome.

        Args:
            seconds: Spent on these facts, without the evaluation.
            evaluation_seconds: Spent on asking them.
        """
        kept = self._kept_beside(())
        if self.waiting:
            plan, planned = make_plan(self.attachment, kept, self.values.shape[0]), kept
            rows = plan.compact_rows(self.values)
        else:
            # The last try had everything, and that is what was asked.
            plan, rows = self.attempt.plan, self.attempt.table.rows
            tried = [self._written[id(item)] for item in self._trying]
            planned = [*self.attempt.others, *tried]
        orders = {
            id(item): _orders_with_rows(orders, ids)
            for item, orders, ids in zip(planned, plan.orders, plan.row_ids, strict=True)
        }
        entries = tuple(dataclasses.replace(item.entry, orders=orders[id(item)]) for item in kept)
        reasons = {id(item): self.outcomes[id(item)].reason for item in self.pending}
        written = [item for item in self.pending if reasons[id(item)] is None]
        failed = [item for item in self.pending if reasons[id(item)] is not None]
        report = self._report(written, failed, seconds, evaluation_seconds)
        return Written(rows, entries, report)

    def _report(
        self,
        written: Sequence[Item],
        failed: Sequence[Item],
        seconds: float,
        evaluation_seconds: float,
    ) -> WriteReport:
        """Say what became of the facts that were given."""
        return WriteReport(
            tuple(item.entry.fact for item in written),
            tuple(self._failure(item, self.outcomes[id(item)]) for item in failed),
            tuple(old.entry.fact for item in written for old in self.replaced[id(item)]),
            seconds,
            evaluation_seconds,
            self.steps,
        )

    def _try(self, items: Sequence[Item], trying: Sequence[Item] | None = None) -> None:
        """Start an attempt.

        Args:
            items: The facts, as they are to be tried.
            trying: The same as they are in `waiting`; None for all of it.
        """
        self._trying = self.waiting if trying is None else trying
        others = self._kept_beside(self._trying)
        self.attempt = Attempt(self.table, others, items, self.values, self.options)

    def _ended(self, item: Item) -> Item:
        """Return a fact with a line end behind its stop; the fact itself if that does not fit."""
        entry = dataclasses.replace(item.entry, stop=AUTO_STOP_AND_LINE_END)
        try:
            return Item(entry, self._wordings(entry.fact, entry.stop), None)
        except TriggerTooLongError:
            return item

    def _goes_on(self, item: Item) -> bool:
        outcome = self.outcomes.get(id(item))
        return outcome is not None and outcome.goes_on

    def _kept_beside(self, trying: Sequence[Item]) -> list[Item]:
        """Return what the table holds while some facts are tried: not the old ones they replace.

        New facts are in the order they were given in, whichever try wrote them.
        """
        written = [item for item in self.pending if id(item) in self._written]
        gone = {id(old) for item in (*written, *trying) for old in self.replaced[id(item)]}
        old = [item for item in self._old if id(item) not in gone]
        return old + [self._written[id(item)] for item in written]

    def _add(self, fact: Fact) -> None:
        """Tokenise a fact and find what it replaces."""
        options = self.options
        lines = self._wordings(fact, options.stop)
        self._require_sayable(fact, lines)
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
            guard=options.guards,
            min_order=options.min_order,
            whole=options.context == "full",
        )
        item = Item(entry, lines, None)
        self.pending.append(item)
        self.pending_by_key.update(dict.fromkeys(keys, item))
        self.replaced[id(item)] = replaced

    def _require_sayable(self, fact: Fact, lines: Sequence[Wording]) -> None:
        unsayable = {token for line in lines for token in line.targets if token >= self.logit_count}
        if unsayable:
            tokenizer: Any = self.attachment.tokenizer
            names = ", ".join(map(repr, tokenizer.convert_ids_to_tokens(sorted(unsayable))))
            raise FactError(_shown(fact), f"the model has no logit for {names}: it can't say it.")

    def _wordings(self, fact: Fact, stop: str | None) -> tuple[Wording, ...]:
        return wordings(self.encoder, fact, stop, self.longest, self.attachment.canonical_list)

    @staticmethod
    def _keys(lines: Sequence[Wording]) -> set[_Key]:
        """Return the triggers of a fact, in canonical ids."""
        return {line.canonical[: line.trigger_length] for line in lines}

    def _history(self, old: Entry, fact: Fact) -> list[Superseded]:
        history = list(old.history)
        if old.fact.answer != fact.answer:
            history.append(Superseded(old.fact.answer, old.written_at, self.now))
        return history

    def _failure(self, item: Item, outcome: Outcome) -> FailedFact:
        tokenizer: Any = self.attachment.tokenizer
        return FailedFact(item.entry.fact, outcome.reason or "", tokenizer.decode(outcome.said))


def _shown(fact: Fact) -> tuple[object, str]:
    return (fact.prompt, fact.answer)


def _with_more_room(item: Item) -> Item:
    return Item(dataclasses.replace(item.entry, whole=True), item.wordings, None, "nothing")


def _orders_with_rows(
    orders: Sequence[tuple[int, ...]], ids: Sequence[tuple[int, ...]]
) -> tuple[tuple[int, ...], ...]:
    """Write 0 for positions that have no row."""
    return tuple(
        tuple(order if row >= 0 else 0 for order, row in zip(line, line_ids, strict=True))
        for line, line_ids in zip(orders, ids, strict=True)
    )

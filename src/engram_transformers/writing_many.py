"""`write_many`: the facts of many owners, found and asked together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from engram_transformers.attachment import require_attachment
from engram_transformers.binding import Binding
from engram_transformers.errors import ConfigError
from engram_transformers.facts import FactLike, as_facts
from engram_transformers.report import FailedFact, WriteReport
from engram_transformers.sequences import AUTO_STOP
from engram_transformers.storage import RowDtype
from engram_transformers.table import UserTable
from engram_transformers.write_options import WriteOptions
from engram_transformers.writing import write_together


@dataclass(frozen=True)
class ManyWritten:
    """What `write_many` did.

    Attributes:
        tables: Owner -> table.
        reports: Owner -> what was written to it and what was not. Seconds of work that was done for
            all are shared out by the number of facts.
    """

    tables: dict[str, UserTable]
    reports: dict[str, WriteReport]

    @property
    def failed(self) -> dict[str, tuple[FailedFact, ...]]:
        """Owner -> the facts that were left out, for owners who have any."""
        return {owner: r.failed for owner, r in self.reports.items() if r.failed}

    @property
    def recalled(self) -> float:
        """The share of all given facts that the model now answers whole, 0 to 1."""
        written = sum(len(report.written) for report in self.reports.values())
        total = written + sum(map(len, self.failed.values()))
        return written / total if total else 1.0

    @property
    def seconds(self) -> float:
        """Time spent finding rows, without the evaluation."""
        return sum(report.seconds for report in self.reports.values())

    @property
    def evaluation_seconds(self) -> float:
        """Time spent asking."""
        return sum(report.evaluation_seconds for report in self.reports.values())

    def __str__(self) -> str:
        written = sum(len(report.written) for report in self.reports.values())
        total = written + sum(map(len, self.failed.values()))
        lines = [
            f"{written} of {total} facts of {len(self.tables)} owners written in"
            f" {self.seconds:.2f} s (and asked in {self.evaluation_seconds:.2f} s)."
        ]
        lines += [
            f"{owner!r} lacks {failed.fact.prompt!r}: {failed.reason}"
            for owner, left_out in self.failed.items()
            for failed in left_out
        ]
        return "\n".join(lines)


def write_many(
    model: nn.Module,
    facts: Mapping[str, FactLike | Iterable[FactLike]],
    *,
    tables: Iterable[UserTable] = (),
    layer: int | None = None,
    dtype: RowDtype = "int4",
    stop: str | None = AUTO_STOP,
    min_order: int = 3,
    context: Literal["full", "shortest"] = "full",
    guard: str | Sequence[str] = (),
    contexts: int | Sequence[str] = 1,
    source: str | None = None,
    progress: bool | None = None,
) -> ManyWritten:
    """Write the facts of many owners: as `UserTable.write` for each, in less time.

    Rows are found for all owners at once, and facts of different owners are asked in one batch,
    each with its owner's table. The tables come out as if they had been written one by one.

    Args:
        model: A patched model.
        facts: Owner -> facts, in any form that `UserTable.write` takes.
        tables: Tables of owners who have one already; the others get new ones.
        layer: Of new tables. See `UserTable`.
        dtype: Of new tables. See `UserTable`.
        stop: See `UserTable.write`, like all that follow.
        min_order: The same.
        context: The same.
        guard: The same.
        contexts: The same.
        source: The same.
        progress: The same.

    Returns:
        All tables and reports. No table has changed if an error is raised.

    Raises:
        NotPatchedError: If the model has no memories.
        FactError: If a fact can't be written as it is given; see `UserTable.write`.
        TableMismatchError: If a table does not belong to the model.
        LedgerMissingError: If a table was saved without its texts.
        ConfigError: If an option is not allowed, or two tables have one owner.

    Example:
        >>> from engram_transformers import write_many
        >>> def remember(model):
        ...     people = {"ann": [("My locker code is", "4471")], "bob": [("I live in", "Ghent")]}
        ...     return write_many(model, people).tables
    """
    attachment = require_attachment(model)
    options = WriteOptions(stop, min_order, context, guard, contexts, source, progress)
    attachment.require_vocabulary()
    known: dict[str, UserTable] = {}
    for table in tables:
        if table.owner in known:
            raise ConfigError("tables", table.owner, "one table per owner")
        known[table.owner] = table
    given = {owner: as_facts(theirs) for owner, theirs in facts.items()}
    new = UserTable(model, "new", layer=layer, dtype=dtype)
    chosen = {owner: known[owner] if owner in known else new.for_owner(owner) for owner in given}
    now = Binding.of(attachment)
    bound = {owner: table.bound_for_writing(attachment, now) for owner, table in chosen.items()}
    reports: dict[str, WriteReport] = {}
    groups: dict[tuple[str, int, RowDtype], list[str]] = {}
    for owner, theirs in given.items():
        table = chosen[owner]
        if theirs:
            group = (table.addressing, table.layer, table.dtype)
            groups.setdefault(group, []).append(owner)
        else:
            size = table.rows.values.shape[0]
            reports[owner] = WriteReport(rows=size, nbytes=table.nbytes)
    written = {
        owner: done
        for owners in groups.values()
        for owner, done in zip(
            owners, write_together([(bound[o], given[o]) for o in owners], options), strict=True
        )
    }
    # All of it is found: from here on nothing can fail.
    for owner, done in written.items():
        reports[owner] = chosen[owner].take(bound[owner], done)
    return ManyWritten(chosen, {owner: reports[owner] for owner in given})

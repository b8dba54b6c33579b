"""What a write or an erase did."""

from __future__ import annotations

from dataclasses import dataclass

from engram_transformers.facts import Fact


@dataclass(frozen=True)
class FailedFact:
    """A fact that was left out.

    Attributes:
        fact: The fact.
        reason: Why, in a sentence.
        said: What the model said instead at the last try.
    """

    fact: Fact
    reason: str
    said: str


@dataclass(frozen=True)
class WriteReport:
    """What `UserTable.write` did.

    Attributes:
        written: The facts that are now in the table, each asked and answered whole.
        failed: The facts that were left out.
        superseded: Facts whose answer was replaced.
        seconds: Time spent finding rows, without the evaluation.
        evaluation_seconds: Time spent asking.
        steps: Optimisation steps, over all tries.
        rows: Rows in the table now.
        nbytes: Bytes of rows and addresses in the table now.
    """

    written: tuple[Fact, ...] = ()
    failed: tuple[FailedFact, ...] = ()
    superseded: tuple[Fact, ...] = ()
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    steps: int = 0
    rows: int = 0
    nbytes: int = 0

    @property
    def recalled(self) -> float:
        """The share of the given facts that the model now answers whole, 0 to 1."""
        total = len(self.written) + len(self.failed)
        return len(self.written) / total if total else 1.0

    def __str__(self) -> str:
        lines = [
            f"{len(self.written)} of {len(self.written) + len(self.failed)} facts written in"
            f" {self.seconds:.2f} s (and asked in {self.evaluation_seconds:.2f} s):"
            f" {self.rows} rows, {self.nbytes / 1024:.1f} KB."
        ]
        if self.superseded:
            lines.append(f"{len(self.superseded)} earlier answers replaced.")
        lines += [f"Left out: {failed.fact.prompt!r}: {failed.reason}" for failed in self.failed]
        return "\n".join(lines)


@dataclass(frozen=True)
class EraseReceipt:
    """What `UserTable.erase` did.

    Attributes:
        owner: The table's owner.
        erased: The facts that are gone; empty if the table had no ledger.
        rows_erased: Rows removed.
        addresses_erased: Addresses removed.
        facts_left: Facts still in the table.
        version: The table's version after erasing.
        erased_at: ISO 8601 in UTC.
    """

    owner: str
    erased: tuple[Fact, ...]
    rows_erased: int
    addresses_erased: int
    facts_left: int
    version: int
    erased_at: str

    def __str__(self) -> str:
        return (
            f"Erased from the table of {self.owner!r}: facts {len(self.erased)}, rows"
            f" {self.rows_erased}, addresses {self.addresses_erased}; facts left:"
            f" {self.facts_left}."
        )

"""Promises of reports."""

from __future__ import annotations

from engram_transformers import EraseReceipt, Fact, WriteReport
from engram_transformers.report import FailedFact


def report(written: int, failed: int) -> WriteReport:
    return WriteReport(
        tuple(Fact(f"prompt {n}", "a") for n in range(written)),
        tuple(FailedFact(Fact(f"bad {n}", "a"), "it is odd.", "b") for n in range(failed)),
        (Fact("old", "a"),),
        1.25,
        0.5,
        30,
        7,
        2048,
    )


def test_the_share_recalled_counts_what_was_left_out():
    assert report(3, 1).recalled == 0.75
    assert report(0, 2).recalled == 0.0
    assert report(0, 0).recalled == 1.0


def test_a_report_says_what_was_written_and_what_was_not():
    text = str(report(3, 1))
    assert "3 of 4 facts written in 1.25 s (and asked in 0.50 s): 7 rows, 2.0 KB." in text
    assert "1 earlier answers replaced." in text
    assert "Left out: 'bad 0': it is odd." in text
    assert str(report(1, 0)).count("Left out") == 0


def test_a_receipt_says_what_was_erased():
    receipt = EraseReceipt("ann", (Fact("a", "b"),), 3, 4, 9, 2, "2026-01-01T00:00:00+00:00")
    expected = "Erased from the table of 'ann': facts 1, rows 3, addresses 4; facts left: 9."
    assert str(receipt) == expected

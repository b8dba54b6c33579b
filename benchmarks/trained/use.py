"""How banks were used, as a table: what `BankTelemetry` told at the end of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import markdown

_RATES = {
    "rows_touched": "rows touched",
    "reuse_rate": "reads of rows read before",
    "ngram_repeats": "n-grams read before",
    "collision_rate": "n-grams that found a row taken",
}


def use_table(telemetry: Mapping[str, dict[str, Any]], layers: Sequence[int]) -> list[str]:
    """Return a row for everything that has a bank.

    Args:
        telemetry: Name -> what was told; empty for what has no bank.
        layers: Those with banks.
    """
    rows: list[list[str]] = []
    for name, told in telemetry.items():
        if not told:
            continue
        shares = [markdown.percent(told[key]) for key in _RATES]
        gates = [
            " / ".join(f"{told[f'layer_{layer}/gate_p{p}']:.2f}" for p in (10, 50, 90))
            for layer in layers
        ]
        norms = [f"{told[f'layer_{layer}/added_norm']:.3f}" for layer in layers]
        rows.append([name, *shares, "; ".join(gates), "; ".join(norms)])
    header = ["", *_RATES.values(), "gates, 10 / 50 / 90 %", "added, in hidden states"]
    return markdown.table(header, rows)

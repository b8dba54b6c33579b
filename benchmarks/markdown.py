"""Results as Markdown: who ran where, tables, and figures that are never rounded in our favour."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table and an empty line. All rows must have as many cells as the header."""
    lines = [line(header), "|" + "---|" * len(header)]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"{len(row)} cells under {len(header)} headings: {row}")
        lines.append(line(row))
    return [*lines, ""]


def line(cells: Sequence[object]) -> str:
    """Return one row of a table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def percent(share: float) -> str:
    """Return a share in percent, cut to one decimal: 100.0% is all, and nothing less."""
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f}%"


def counted(right: int, asked: int) -> str:
    """Return a share with its counts."""
    return f"{percent(right / asked)} ({right:,} of {asked:,})" if asked else "none asked"


def seconds(spread: dict[str, Any]) -> str:
    """Return repeated timings: median, and min to max where there are several."""
    if spread["n"] == 1:
        return f"{spread['median']:.2f} (n = 1)"
    return f"{spread['median']:.2f} ({spread['min']:.2f} to {spread['max']:.2f}, n = {spread['n']})"


def machine(run: dict[str, Any]) -> str:
    """Return what a benchmark ran on."""
    environment = run["environment"]
    name: str = environment["device"]
    if name.startswith("NVIDIA"):
        return name
    threads = environment["threads"]
    return f"{name}, {threads} thread{'s' if threads != 1 else ''}"


def model(run: dict[str, Any]) -> str:
    """Return the name of a run's model, without its owner."""
    return str(run["model"]).rsplit("/", 1)[-1]


def where(run: dict[str, Any]) -> str:
    """Return model, type and machine of a run: what tells runs of one benchmark apart."""
    return f"{model(run)}, {run['dtype']}, {machine(run)}"


def provenance(run: dict[str, Any]) -> str:
    """Return the commit and the versions that made a run."""
    environment = run["environment"]
    note = f" ({run['note']})" if run.get("note") else ""
    return (
        f"commit {environment['commit']}, torch {environment['torch']},"
        f" transformers {environment['transformers']}{note}"
    )


def heading(run: dict[str, Any], text: str) -> list[str]:
    """Return the heading of one run's part of a section, and what is said below it."""
    return [f"### {where(run)}", "", text, ""]


def provenances(runs: Iterable[dict[str, Any]]) -> list[str]:
    """Return a list of what was run where, and from what."""
    return [*(f"- {where(run)}: {provenance(run)}." for run in runs), ""]

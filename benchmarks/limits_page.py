"""What `limits` found, for docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

from benchmarks import markdown


def section(runs: list[dict[str, Any]]) -> list[str]:
    """Return the benchmark's part of the page."""
    lines = ["## Limits: before and after", ""]
    for run in runs:
        lines += markdown.heading(run, markdown.provenance(run))
        parts = {
            "closed_form": closed_form,
            "kinds": kinds,
            "skipping": skipping,
            "strength": strength,
        }
        for name, part in parts.items():
            if name in run:
                lines += part(run[name])
    return lines


def closed_form(found: list[dict[str, Any]]) -> list[str]:
    """Return the comparison of rows in closed form with optimised ones."""
    lines = ["Rows in closed form against rows that are optimised only, the same facts:", ""]
    header = ("facts", "rows", "seconds", "steps", "bytes", "whole, alone", "worst other text")
    return [*lines, *markdown.table(header, [_written(one, one["how"]) for one in found])]


def skipping(found: list[dict[str, Any]]) -> list[str]:
    """Return what leaving out rows saves and costs."""
    lines = ["No row where the model says the token by itself, with a lead (rows optimised):", ""]
    header = ("facts", "lead", "seconds", "steps", "bytes", "whole, alone", "worst other text")
    rows = [_written(one, one["skip_margin"] or "every position has a row") for one in found]
    return [*lines, *markdown.table(header, rows)]


def _written(one: dict[str, Any], name: object) -> tuple[object, ...]:
    facts = one["facts"]
    alone, *others = one["whole"].values()
    return (
        f"{facts:,}",
        name,
        f"{one['seconds']:.2f}",
        one["steps"],
        f"{one['bytes_of_rows_and_addresses']:,}",
        markdown.counted(alone, facts),
        markdown.counted(min(others, default=alone), facts),
    )


def kinds(found: list[dict[str, Any]]) -> list[str]:
    """Return recall by kind of answer."""
    lines = ["Kinds of answers, a table each:", ""]
    rows = [
        (
            one["kind"],
            f"`{_short(one['example'])}`",
            f"{one['tokens_per_answer']:.0f}",
            markdown.counted(one["whole"], one["facts"]),
            f"{one['bytes_of_rows_and_addresses']:,}",
            one["steps"],
        )
        for one in found
    ]
    header = ("kind", "for example", "tokens per answer", "answered whole", "bytes", "steps")
    return [*lines, *markdown.table(header, rows)]


def strength(found: list[dict[str, Any]]) -> list[str]:
    """Return what rows in closed form do by width, strength and storage."""
    first = found[0]
    lines = [
        f"Rows in closed form for {first['tokens']} tokens drawn from the whole vocabulary, each"
        f" read after {first['contexts']} texts that were not used to find it: in which share of"
        " all these the token is said, and which share of tokens is said in all texts. Some tokens"
        " of a vocabulary can't be said by any row: they have another's embedding.",
        "",
    ]
    rows = [
        (
            one["row_dim"],
            f"{one['strength']:g}",
            one["dtype"],
            "yes" if one["steps_through_model"] else "no",
            markdown.percent(one["said"]),
            markdown.percent(one["said_in_all_contexts"]),
            f"{one['median_lead_logits']:.1f}",
        )
        for one in found
    ]
    header = ("row_dim", "strength", "stored as", "steps", "said", "in all texts", "median lead")
    return [*lines, *markdown.table(header, rows)]


def _short(text: str) -> str:
    text = text.replace("`", "'").replace("\n", " ").replace("|", "/")
    return text if len(text) <= 70 else f"{text[:69]}…"

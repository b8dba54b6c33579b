"""Storage: recall against bytes, for every width of rows and every type that they are stored in.

    python -m benchmarks run storage [--row-dims 16 24 32 48 64] [--dtypes int4 int8 float16]

The same facts are written with rows of each width and type, down to where it breaks. Bytes are
those of rows and addresses, as they stand in the file; the file without the facts' texts is beside
them. Seconds are not compared: what is found for one type spares the next one work.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any, get_args

from benchmarks import markdown
from benchmarks.asking import Question, Recall, recall
from benchmarks.facts import distinct_facts
from benchmarks.promises import Promise, are_checked, promise
from benchmarks.setting import Setting
from benchmarks.tally import PROTOCOLS
from engram_transformers import EngramConfig, UserTable, add_engram, remove_engram, use_tables
from engram_transformers.storage import RowDtype

NEEDS_MODEL = True
ROW_DIMS = (16, 24, 32, 48, 64)
DTYPES = tuple(name for name in ("int4", "int8", "float16") if name in get_args(RowDtype))
HELD = {100: (1.0, 7_000), 1_000: (0.995, 45_000)}
"""Facts -> (the share that must be recalled, in so many bytes at most) by some setting."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--row-dims", type=int, nargs="+", default=ROW_DIMS)
    parser.add_argument("--dtypes", nargs="+", choices=get_args(RowDtype), default=DTYPES)
    parser.add_argument("--counts", type=int, nargs="+", help="facts in a table")


def run(setting: Setting) -> dict[str, Any]:
    options = setting.options
    row_dims, dtypes, counts = options.row_dims, options.dtypes, options.counts
    if setting.quick:
        row_dims, dtypes, counts = [64], list(dtypes)[:2], [3]
    counts = counts or ([100, 1_000] if setting.device.type == "cuda" else [100])
    facts, source = distinct_facts(max(counts), setting.data, setting.seed)
    points: list[dict[str, Any]] = []
    for row_dim in sorted(row_dims, reverse=True):
        add_engram(
            setting.model, setting.tokenizer, **{**setting.config_fields, "row_dim": row_dim}
        )
        try:
            for count in counts:
                points += [measure(setting, facts[:count], row_dim, dtype) for dtype in dtypes]
        finally:
            remove_engram(setting.model)
    return {
        "facts_from": source,
        "points": points,
        "promises": promises(points) if are_checked(setting) else [],
    }


def measure(
    setting: Setting, facts: list[tuple[str, str]], row_dim: int, dtype: RowDtype
) -> dict[str, Any]:
    """Write facts with one kind of row, and ask them."""
    table = UserTable(setting.model, "benchmark", dtype=dtype)
    is_default = dtype == UserTable(setting.model, "default").dtype
    report = table.write(facts, progress=False)
    left_out = {failed.fact.prompt for failed in report.failed}
    kept = [prompt not in left_out for prompt, _ in facts]
    with use_tables(setting.model, table):
        found = recall(setting.model, setting.tokenizer, [Question(*fact) for fact in facts])
    counts = Recall(
        *([a and b for a, b in zip(flags, kept, strict=True)] for flags in found)
    ).counts()
    with tempfile.TemporaryDirectory() as folder:
        table.save_pretrained(folder, store_text=False)
        on_disk = (Path(folder) / "table.safetensors").stat().st_size
    point = {
        "facts": len(facts),
        "row_dim": row_dim,
        "row_dtype": dtype,
        "is_default": is_default and row_dim == EngramConfig().row_dim,
        **counts,
        "left_out": len(left_out),
        "bytes_of_rows_and_addresses": table.nbytes,
        "bytes_on_disk": on_disk,
        "rows": report.rows,
        "addresses": table.rows.addresses.numel(),
        "steps": report.steps,
    }
    print(
        f"{len(facts):,} facts, {row_dim} numbers in {dtype}:"
        f" {markdown.counted(point['whole'], len(facts))} whole in {table.nbytes:,} bytes"
    )
    return point


def promises(points: list[dict[str, Any]]) -> list[Promise]:
    return [
        promise(
            f"{count:,} facts at {share:.1%} or more in at most {most:,} bytes",
            one is not None and one["bytes_of_rows_and_addresses"] <= most,
            "by no setting" if one is None else _described(one),
        )
        for count, (share, most) in HELD.items()
        if any(point["facts"] == count for point in points)
        for one in [smallest(points, count, share)]
    ]


def smallest(points: list[dict[str, Any]], count: int, share: float) -> dict[str, Any] | None:
    """Return the point of fewest bytes that recalls enough."""
    enough = [p for p in points if p["facts"] == count and p["whole"] >= share * p["asked"]]
    return min(enough, key=lambda point: point["bytes_of_rows_and_addresses"], default=None)


def _described(point: dict[str, Any]) -> str:
    return (
        f"{point['row_dim']} numbers in {point['row_dtype']},"
        f" {markdown.percent(point['whole'] / point['asked'])} in"
        f" {point['bytes_of_rows_and_addresses']:,} bytes"
    )


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Storage: recall against bytes",
        "",
        "The same facts with rows of each width and type, down to where it breaks. Bytes of rows"
        " and addresses, and of the file without the facts' texts.",
        "",
    ]
    for run in runs:
        lines += [
            *markdown.heading(run, f"Facts: {run['facts_from']}; {markdown.provenance(run)}."),
        ]
        for count in sorted({point["facts"] for point in run["points"]}):
            points = [point for point in run["points"] if point["facts"] == count]
            lines += [f"{count:,} facts:", "", *_table(points)]
            for point in points:
                if point["is_default"]:
                    lines += [f"The default: {_described(point)}.", ""]
            best = smallest(points, count, 1.0)
            if best:
                lines += [f"The smallest that recalls all: {_described(best)}.", ""]
    return lines


def _table(points: list[dict[str, Any]]) -> list[str]:
    header = ["numbers in a row", "stored as", *PROTOCOLS, "left out", "bytes", "bytes a fact"]
    ordered = sorted(points, key=lambda point: point["bytes_of_rows_and_addresses"])
    return markdown.table(
        [*header, "bytes on disk", "steps"],
        [
            [
                one["row_dim"],
                one["row_dtype"],
                *(markdown.percent(one[name] / one["asked"]) for name in PROTOCOLS),
                one["left_out"],
                f"{one['bytes_of_rows_and_addresses']:,}",
                f"{one['bytes_of_rows_and_addresses'] / one['facts']:.0f}",
                f"{one['bytes_on_disk']:,}",
                one["steps"],
            ]
            for one in ordered
        ],
    )


def plot(runs: list[dict[str, Any]]) -> Any:
    from matplotlib import pyplot

    panels = [(run, count) for run in runs for count in sorted({p["facts"] for p in run["points"]})]
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(8, 3 * len(panels)), squeeze=False, layout="constrained"
    )
    for (run, count), axis in zip(panels, axes[:, 0], strict=True):
        points = [point for point in run["points"] if point["facts"] == count]
        for dtype in dict.fromkeys(point["row_dtype"] for point in points):
            ordered = sorted(
                (point for point in points if point["row_dtype"] == dtype),
                key=lambda point: point["row_dim"],
            )
            sizes = [point["bytes_of_rows_and_addresses"] for point in ordered]
            shares = [100 * point["whole"] / point["asked"] for point in ordered]
            axis.plot(sizes, shares, marker="o", label=dtype)
            for point, size, share in zip(ordered, sizes, shares, strict=True):
                axis.annotate(str(point["row_dim"]), (size, share), fontsize="x-small")
        axis.set_title(f"{count:,} facts, {markdown.where(run)}", fontsize="small")
        axis.set_xlabel("bytes of rows and addresses (numbers in a row at the points)")
        axis.set_ylabel("whole answers, %")
        axis.set_xscale("log")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    return figure

"""Make docs/benchmarks.md and the figures in README.md from benchmarks/results/*.json.

    python benchmarks/tables.py

Nothing in these tables is typed by hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- numbers:begin -->", "<!-- numbers:end -->"


def main() -> None:
    runs = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("write-*.json"))]
    page = ["# Benchmarks", "", "Made by `python benchmarks/tables.py` from the JSON files in"]
    page += ["`benchmarks/results`; each file names the script, machine and versions.", ""]
    for run in runs:
        page += section(run)
    for path in sorted(RESULTS.glob("overhead-*.json")):
        page += overhead(json.loads(path.read_text()))
    page += fuzz(json.loads((RESULTS / "fuzz.json").read_text()))
    collisions = json.loads((RESULTS / "hash_collisions.json").read_text())
    page += ["## Addresses (`benchmarks/hash_collisions.py`)", ""]
    page += [f"{collisions['distinct_ngrams']['together']:,} distinct n-grams of orders 1 to 64:"]
    page[-1] += f" {collisions['collisions']} collisions."
    (ROOT / "docs" / "benchmarks.md").write_text("\n".join(page).rstrip() + "\n", encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    head, _, rest = readme.partition(BEGIN)
    tail = rest.partition(END)[2]
    block = "\n".join(["", *summary(runs), ""])
    (ROOT / "README.md").write_text(f"{head}{BEGIN}{block}{END}{tail}", encoding="utf-8")


def summary(runs: list[dict[str, Any]]) -> list[str]:
    """Return the README's table: one column per run."""
    names = [device(run) for run in runs]
    lines = [
        f"{runs[0]['model']}, whole answers by free greedy generation"
        " ([all figures](docs/benchmarks.md)):",
        "",
        "| | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(runs),
    ]
    rows: list[tuple[str, Any]] = [
        ("100 facts recalled, alone", lambda r: percent(r["write"][0]["recall"]["nothing"])),
        ("in the worst of the other contexts asked", worst),
        (
            "1,000 facts recalled, alone",
            lambda r: percent(r["write"][1]["recall"]["nothing"]) if r["write"][1:] else "",
        ),
        ("seconds to write 100 (asking apart)", lambda r: seconds(r["write"][0]["seconds"])),
        ("bytes on disk, 100 facts", lambda r: f"{r['write'][0]['bytes_on_disk']:,}"),
        (
            "a LoRA per user on the same facts: seconds",
            lambda r: f"{r['lora']['seconds']:.1f}" if "lora" in r else "",
        ),
        ("its recall", lambda r: f"{r['lora']['recall']:.0%}" if "lora" in r else ""),
        ("its bytes", lambda r: f"{r['lora']['bytes']:,}" if "lora" in r else ""),
        ("sentences left bit-identical, fp32 and bf16", identical),
    ]
    for name, cell in rows:
        lines.append(f"| {name} | " + " | ".join(cell(run) for run in runs) + " |")
    return lines


def section(run: dict[str, Any]) -> list[str]:
    """Return a run's part of docs/benchmarks.md."""
    environment = run["environment"]
    lines = [
        f"## Writing facts: {run['model']} in {run['dtype']} on {device(run)}",
        "",
        f"`benchmarks/write.py`, commit {environment['commit']}, torch {environment['torch']},"
        f" transformers {environment['transformers']}, {environment['threads']} threads. Facts:"
        f" {run['facts_from']}. Importing the library adds"
        f" {run['import']['seconds_added']['median']:.3f} s to importing torch and transformers.",
        "",
        "| facts | written | seconds (min to max, n) | asking, seconds | steps | rows |"
        " bytes on disk | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for write in run["write"]:
        lines.append(
            f"| {write['facts']:,} | {write['written']:.1%} | {seconds(write['seconds'])} |"
            f" {write['evaluation_seconds']['median']:.2f} | {write['steps']} | {write['rows']:,} |"
            f" {write['bytes_on_disk']:,} | +{write['peak_mib']:.0f} MiB |"
        )
    lines += ["", "Recall of whole answers after texts that were not used in writing:", ""]
    lines += ["| context | tokens | " + " | ".join(f"{w['facts']:,} facts" for w in run["write"])]
    lines[-1] += " |"
    lines += ["|---|---|" + "---|" * len(run["write"])]
    for name, first in run["write"][0]["recall"].items():
        cells = [percent(w["recall"][name]) if name in w["recall"] else "" for w in run["write"]]
        lines.append(f"| {name} | {first['tokens']} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Sentences without a trigger, with the table active: "
        + "; ".join(
            f"{name}: {found['bit_identical']:,} of {found['sentences']:,} bit-identical"
            for name, found in run["locality"].items()
        )
        + ".",
        "",
    ]
    if "lora" in run:
        lora, ratio = run["lora"], run["lora_over_ours"]
        lines += [
            f"One LoRA (rank {lora['rank']}) trained on the same"
            f" {run['write'][0]['facts']} facts until every answer token was won:"
            f" {lora['epochs']} epochs, {lora['seconds']:.1f} s, recall {lora['recall']:.0%},"
            f" {lora['bytes']:,} bytes, peak +{lora['peak_mib']:.0f} MiB. That is"
            f" {ratio['seconds']:.0f} times our seconds, {ratio['bytes']:,.0f} times our bytes and"
            f" {ratio['peak_memory']:.1f} times our memory.",
            "",
        ]
    return lines


def overhead(run: dict[str, Any]) -> list[str]:
    """Return what memories cost, as ratios over the bare model in the same run."""
    environment = run["environment"]
    states = list(run["cases"][0]["ratio"])
    lines = [
        f"## Running a patched model: {run['model']} in {run['dtype']} on {device(run)}",
        "",
        f"`{run['script']}`, commit {environment['commit']}, torch {environment['torch']},"
        f" transformers {environment['transformers']}. Time over the bare model's, median (min to"
        f" max of the rounds); the bare model over itself shows the noise. Texts of"
        f" {run['prompt_tokens']} tokens, tables of {run['rows_per_table']} rows.",
        "",
        "| | batch | bare, ms | " + " | ".join(states) + " |",
        "|---|---|---|" + "---|" * len(states),
    ]
    for case in run["cases"]:
        cells = [
            f"{ratio['median']:.3f} ({ratio['min']:.3f} to {ratio['max']:.3f})"
            for ratio in case["ratio"].values()
        ]
        bare = f"{case['bare_seconds']['median'] * 1e3:.1f}"
        lines.append(f"| {case['kind']} | {case['batch']} | {bare} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def fuzz(run: dict[str, Any]) -> list[str]:
    """Return what the comparison with a slow reader found."""
    lines = ["## Random batches against a slow reader (`benchmarks/fuzz.py`)", ""]
    names = {"reader": "The hooks and the reader alone", "model": "A whole tiny model"}
    for key, name in names.items():
        found = run[key]
        lines.append(
            f"- {name}: {found['batches']:,} batches, {found['positions']:,} positions,"
            f" {found['rows_read']:,} rows read, {found['mismatches']} mismatches."
        )
    return [*lines, ""]


def device(run: dict[str, Any]) -> str:
    environment = run["environment"]
    name: str = environment["device"]
    return name if name.startswith("NVIDIA") else f"{name}, {environment['threads']} threads"


def worst(run: dict[str, Any]) -> str:
    recall = [entry["recall"] for entry in run["write"][0]["recall"].values()]
    return f"{min(recall):.1%} (of {len(recall)})"


def percent(entry: dict[str, Any]) -> str:
    return f"{entry['recall']:.1%}"


def seconds(spread: dict[str, Any]) -> str:
    return f"{spread['median']:.2f} ({spread['min']:.2f} to {spread['max']:.2f}, n = {spread['n']})"


def identical(run: dict[str, Any]) -> str:
    found = run["locality"].values()
    return " and ".join(f"{f['bit_identical']:,} of {f['sentences']:,}" for f in found)


if __name__ == "__main__":
    main()

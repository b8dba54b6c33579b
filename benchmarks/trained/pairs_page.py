"""The part of docs/benchmarks.md about pairs in trained banks, next to tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import markdown
from benchmarks.common import spread
from benchmarks.tally import PROTOCOLS
from benchmarks.trained.losses import shown
from benchmarks.trained.use import use_table

_INTRODUCTION = (
    "The pairs of engram-poc (see [exact match](#exact-match-keys-and-values)), each key once, all"
    " learnt and all asked. Banks and the LoRA are trained on the same batches in the same order,"
    " on the answers, their stops and ends, with the base frozen; banks are as wide as the LoRA"
    " costs FLOPs. Before a figure is told, it is checked that the base's weights are bit for bit"
    " the same, that what is new adds exactly nothing, and that the model without it is exactly"
    " what it was. Figures are means over seeds (least to greatest)."
)
_UNMEASURED = (
    "Not measured yet: `python -m benchmarks run bank_pairs` makes the figures. It tells how many"
    " whole answers come from the untouched model, a table, a trained bank, banks that can know"
    " nothing of their n-grams, and a LoRA; what they take in bytes and seconds; how many come in"
    " prompts that nothing was trained with; and how far other text moves."
)


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = ["## Trained banks: keys and values, next to tables", "", _INTRODUCTION, ""]
    if not runs:
        return [*lines, _UNMEASURED]
    for run in runs:
        lines += markdown.heading(run, _described(run))
        lines += _rates(run)
        for one in run["sets"]:
            lines += _set(one, run["layers"], run["bank_order"])
    return lines


def _described(run: dict[str, Any]) -> str:
    precision = "autocast to bfloat16 in training" if run["autocast"] else "no autocast"
    texts = sorted({one["other_text_from"] for one in run["sets"]})
    sources = sorted({one["pairs_from"] for one in run["sets"]})
    return (
        f"Pairs: {', '.join(sources)}. Other text: {', '.join(texts)}. LoRA of rank {run['rank']};"
        f" banks on layers {', '.join(map(str, run['layers']))}, n-grams of 2 to"
        f" {run['bank_order']} tokens, {run['width']:,} numbers wide, {run['rows']:,} rows each;"
        f" {precision}; {markdown.provenance(run)}."
    )


def _rates(run: dict[str, Any]) -> list[str]:
    """Return what the learning rates were chosen by; a best one at an edge is seen here."""
    tried: dict[str, list[str]] = {}
    for one in run["rates_tried"]:
        loss = "no number" if one["loss"] is None else f"{one['loss']:.4f}"
        tried.setdefault(one["condition"], []).append(f"{one['learning_rate']:g}: {loss}")
    if not tried:
        return []
    listed = "; ".join(f"{name}, {', '.join(found)}" for name, found in tried.items())
    return [
        "Learning rates tried in a quarter of the epochs of the first set, and the nats per token"
        f" of answers that chose: {listed}.",
        "",
    ]


def _set(one: dict[str, Any], layers: Sequence[int], order: int) -> list[str]:
    found = _by_condition(one)
    several = one["keys_with_several_values"]
    lines = [
        f"**{one['pairs']:,} pairs as {one['form']}**: {one['epochs']:,} epochs,"
        f" {one['steps']:,} steps of {one['batch']:,} pairs, {one['tokens_an_epoch']:,} tokens in"
        f" an epoch, {one['answer_tokens_an_epoch']:,} of them of answers and ends. Keys with"
        f" several values: {several:,}; the last one counts. Prompts end with {one['endings']:,}"
        f" different n-grams of {order} tokens: that is what a bank reads where an answer begins."
        " Nats of answers are per token, on the"
        " trained pairs. Seconds are those of training or writing; that of tables without asking"
        f" what was written ({_asking(found)}). What was trained is counted in float32, of a bank's"
        " rows those that were read; of tables it is rows and addresses as they are kept.",
        "",
    ]
    header = ["", "learning rate", *PROTOCOLS, "nats of answers", "seconds", "bytes on disk"]
    rows = [
        [
            name,
            f"{runs[0]['learning_rate']:g}" if "learning_rate" in runs[0] else "",
            *(_shares(runs, _counts(protocol)) for protocol in PROTOCOLS),
            shown([run["answer_nats"] for run in runs]),
            markdown.seconds(spread([run["seconds"] for run in runs]))
            if "seconds" in runs[0]
            else "",
            _largest(runs, "bytes_on_disk"),
            _largest(runs, "bytes_trained"),
        ]
        for name, runs in found.items()
    ]
    return [
        *lines,
        *markdown.table([*header, "bytes of what was trained"], rows),
        *_elsewhere(found),
        *_kinds(found),
        *_use(found, layers),
    ]


def _elsewhere(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the table of prompts that nothing was trained with, and of other text."""
    first = next(iter(found.values()))[0]
    asked = first["otherwise"]
    titles = [f"{name} ({one['asked']:,})" for name, one in asked.items()]
    rows = [
        [
            name,
            *(_shares(runs, _elsewise(prompt)) for prompt in asked),
            *(
                shown([run["other_text"][key] for run in runs], sign=True)
                for key in ("mean", "mean_absolute")
            ),
            _shares(runs, lambda run: (run["other_text"]["changed"], run["other_text"]["tokens"])),
        ]
        for name, runs in found.items()
    ]
    header = ["", *titles, "other text, nats per token", "either way", "tokens that changed"]
    return [
        "The first pairs in prompts that nothing was trained or written with, whole answers; and"
        f" {first['other_text']['tokens']:,} tokens of other text, against the untouched model.",
        "",
        *markdown.table(header, rows),
    ]


def _kinds(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return what was right by kind, of the first seed: some the model knew already."""
    lines: list[str] = []
    for name, runs in found.items():
        kinds = runs[0]["categories"].items()
        listed = [f"{kind} {one['whole']:,} of {one['asked']:,}" for kind, one in kinds]
        lines.append(f"- {name}: {', '.join(listed)}")
    return ["Whole answers by kind, first seed:", "", *lines, ""]


def _use(found: dict[str, list[dict[str, Any]]], layers: Sequence[int]) -> list[str]:
    told = {name: runs[0].get("telemetry", {}) for name, runs in found.items()}
    if not any(told.values()):
        return []
    return [
        "How banks were used (first seed; gates and lengths are those of the last batch, layer by"
        " layer; in the controls, n-grams are counted by the rows that were read in their place).",
        "",
        *use_table(told, layers),
    ]


def _counts(protocol: str) -> Callable[[dict[str, Any]], tuple[int, int]]:
    return lambda run: (run[protocol], run["asked"])


def _elsewise(prompt: str) -> Callable[[dict[str, Any]], tuple[int, int]]:
    return lambda run: (run["otherwise"][prompt]["whole"], run["otherwise"][prompt]["asked"])


def _shares(
    runs: Sequence[dict[str, Any]], counts: Callable[[dict[str, Any]], tuple[int, int]]
) -> str:
    """Return the mean of what the seeds gave, with the least and the greatest."""
    shares = [right / asked for right, asked in map(counts, runs)]
    mean = markdown.percent(sum(shares) / len(shares))
    if len(shares) == 1:
        return mean
    return f"{mean} ({markdown.percent(min(shares))} to {markdown.percent(max(shares))})"


def _largest(runs: Sequence[dict[str, Any]], key: str) -> str:
    return f"{max(run[key] for run in runs):,}" if key in runs[0] else "0"


def _asking(found: dict[str, list[dict[str, Any]]]) -> str:
    runs = [run for runs in found.values() for run in runs if "evaluation_seconds" in run]
    return markdown.seconds(spread([run["evaluation_seconds"] for run in runs])) + " s"


def _by_condition(one: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for run in one["runs"]:
        found.setdefault(run["condition"], []).append(run)
    return found

"""The part of docs/benchmarks.md about banks trained on a domain."""

from __future__ import annotations

from typing import Any

from benchmarks import markdown
from benchmarks.common import spread
from benchmarks.trained.kinds import KINDS
from benchmarks.trained.losses import shown
from benchmarks.trained.use import use_table

_INTRODUCTION = (
    "The model is frozen. A LoRA on all linear layers, banks that cost as many FLOPs, both together"
    ", and two banks that can know nothing of their n-grams are trained on reference texts of"
    " installed packages, on the same batches in the same order; learning rates are chosen on other"
    " objects than those below. Losses are in nats per token, as the mean over seeds (least to"
    " greatest); lower is better. FLOPs are those that training adds to the frozen model's, per"
    " token (`benchmarks/trained/flops.py`)."
)
_UNMEASURED = (
    "Not measured yet: `python -m benchmarks run bank_corpus` makes the figures. It tells the"
    " validation loss of each on objects that it was not trained on and on text of another kind,"
    " beside the untouched model's, and how the banks were used."
)


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = ["## Trained banks: a domain's texts, the model frozen", "", _INTRODUCTION, ""]
    if not runs:
        return [*lines, _UNMEASURED]
    for run in runs:
        lines += [
            *markdown.heading(run, _described(run)),
            *_losses(run),
            *_rates(run),
            *_kinds(run),
            *_use(run),
        ]
    return lines


def _described(run: dict[str, Any]) -> str:
    packages = "; ".join(
        f"{one['package']} {one['version']} ({one['licence']}, {one['objects']:,} objects)"
        for one in run["packages"]
    )
    tokens = run["tokens"]
    precision = "autocast to bfloat16 in training" if run["autocast"] else "no autocast"
    return (
        f"Texts: {packages}; digest {run['texts_digest']}. {tokens['training']:,} tokens of"
        f" training, {tokens['validation']:,} of validation, {tokens['unrelated']:,} of other text"
        f" ({run['unrelated_from']}). {run['steps']:,} steps of {run['tokens_a_step']:,} tokens,"
        f" {precision}. LoRA of rank {run['rank']}; banks on layers"
        f" {', '.join(map(str, run['layers']))}, {run['width']:,} numbers wide, {run['rows']:,}"
        f" rows each; {markdown.provenance(run)}."
    )


def _losses(run: dict[str, Any]) -> list[str]:
    base = run["untouched"]
    rows: list[list[str]] = [
        ["untouched", "", "0", f"{base['validation']:.4f}", "", f"{base['unrelated']:.4f}", "", ""]
    ]
    for name, found in _by_condition(run).items():
        rows.append(
            [
                name,
                f"{found[0]['learning_rate']:g}",
                f"{found[0]['flops']['added']:,}",
                shown([one["validation"] for one in found]),
                shown([one["validation"] - base["validation"] for one in found], sign=True),
                shown([one["unrelated"] for one in found]),
                shown([one["unrelated"] - base["unrelated"] for one in found], sign=True),
                markdown.seconds(spread([one["seconds"] for one in found])),
            ]
        )
    header = ["trained", "learning rate", "FLOPs", "validation", "change"]
    return markdown.table([*header, "other text", "change", "seconds of training"], rows)


def _rates(run: dict[str, Any]) -> list[str]:
    """Return what the learning rates were chosen by; a best one at an edge is seen here."""
    tried: dict[str, list[str]] = {}
    for one in run["rates_tried"]:
        loss = "no number" if one["loss"] is None else f"{one['loss']:.4f}"
        tried.setdefault(one["condition"], []).append(f"{one['learning_rate']:g}: {loss}")
    listed = "; ".join(f"{name}, {', '.join(found)}" for name, found in tried.items())
    return [f"Learning rates tried, and the losses that chose: {listed}.", ""]


def _kinds(run: dict[str, Any]) -> list[str]:
    counts = run["kind_tokens"]
    lines = [
        "Validation by kinds of tokens: those that go on with a name, and others; those whose"
        f" n-gram, one token longer than a bank's, occurred at least {run['often']} times in"
        " training, and those whose n-gram never did.",
        "",
    ]
    header = ["trained", *(f"{kind} ({counts[kind]:,})" for kind in KINDS)]
    rows = [["untouched", *(shown([run["untouched"]["kinds"][kind]]) for kind in KINDS)]]
    rows[0][1:] = [cell.removesuffix(" (n = 1)") for cell in rows[0][1:]]
    for name, found in _by_condition(run).items():
        rows.append([name, *(shown([one["kinds"][kind] for one in found]) for kind in KINDS)])
    return [*lines, *markdown.table(header, rows)]


def _use(run: dict[str, Any]) -> list[str]:
    first = {name: found[0]["telemetry"] for name, found in _by_condition(run).items()}
    return [
        "How banks were used (first seed; gates and lengths are those of the last batch, layer by"
        " layer; in the controls, n-grams are counted by the rows that were read in their place).",
        "",
        *use_table(first, run["layers"]),
    ]


def _by_condition(run: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in run["runs"]:
        found.setdefault(one["condition"], []).append(one)
    return found

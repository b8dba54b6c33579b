"""The part of docs/benchmarks.md about banks trained together with their model."""

from __future__ import annotations

from typing import Any

from benchmarks import markdown
from benchmarks.common import spread
from benchmarks.trained.kinds import FACTS, KINDS, READING
from benchmarks.trained.losses import shown
from benchmarks.trained.use import use_table

_INTRODUCTION = (
    "A small Llama is trained from scratch, once without and once with banks that learn together"
    " with it; what the banks cost in FLOPs is taken off the width of all MLPs. Both see the same"
    " batches in the same order, at the same learning rate. Losses are in nats per token on texts"
    " that were not trained on, as the mean over seeds (least to greatest); lower is better."
)
_UNMEASURED = (
    "Not measured yet: `python -m benchmarks run bank_scratch` makes the figures. It tells the"
    " validation loss of both, and how much it rises where the trained model's banks are switched"
    " off: on facts, names that go on as they did in training, and on reading, other tokens after"
    " n-grams that training never had."
)


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = ["## Trained banks: from scratch, with and without", "", _INTRODUCTION, ""]
    if not runs:
        return [*lines, _UNMEASURED]
    for run in runs:
        lines += [
            *markdown.heading(run, _described(run)),
            *_losses(run),
            *_suppressed(run),
            "How banks were used (first seed; gates and lengths are those of the last batch, layer"
            " by layer).",
            "",
            *use_table({"with banks": _of(run, bank=True)[0]["telemetry"]}, run["layers"]),
        ]
    return lines


def _described(run: dict[str, Any]) -> str:
    packages = "; ".join(
        f"{one['package']} {one['version']} ({one['licence']}, {one['objects']:,} objects)"
        for one in run["packages"]
    )
    tokens = run["tokens"]
    epochs = run["steps"] * run["tokens_a_step"] / tokens["training"]
    return (
        f"Texts: {packages or ', '.join(run['files'])}; digest {run['texts_digest']}."
        f" {tokens['training']:,} tokens of training, read {epochs:.1f} times;"
        f" {tokens['validation']:,} of validation. {run['steps']:,} steps of"
        f" {run['tokens_a_step']:,} tokens, learning rate {run['learning_rate']:g}. Banks on layers"
        f" {', '.join(map(str, run['layers']))}, {run['bank_dim']:,} numbers wide, {run['rows']:,}"
        f" rows each; {markdown.provenance(run)}."
    )


def _losses(run: dict[str, Any]) -> list[str]:
    plain, banked = _of(run, bank=False), _of(run, bank=True)
    changes = [
        after["validation"] - before["validation"]
        for before, after in zip(plain, banked, strict=True)
    ]
    rows = [
        [
            name,
            f"{found[0]['mlp']:,}",
            f"{found[0]['weights']:,}",
            f"{found[0]['numbers_in_rows']:,}",
            f"{found[0]['flops']['forward']:,}",
            shown([one["validation"] for one in found]),
            change,
            markdown.seconds(spread([one["seconds"] for one in found])),
        ]
        for name, found, change in (
            ("without banks", plain, ""),
            ("with banks", banked, shown(changes, sign=True)),
        )
    ]
    header = ["", "MLP", "weights", "numbers in rows", "FLOPs forward", "validation", "change"]
    return markdown.table([*header, "seconds of training"], rows)


def _suppressed(run: dict[str, Any]) -> list[str]:
    counts = run["kind_tokens"]
    plain, banked = _of(run, bank=False), _of(run, bank=True)
    off = [one["off"] for one in banked]
    titles = [f"{kind} ({counts[kind]:,})" for kind in KINDS]
    titles[KINDS.index(FACTS)] = f"facts: {titles[KINDS.index(FACTS)]}"
    titles[KINDS.index(READING)] = f"reading: {titles[KINDS.index(READING)]}"
    rows = [
        [
            name,
            shown([one["validation"] for one in found]),
            *(shown([one["kinds"][kind] for one in found]) for kind in KINDS),
        ]
        for name, found in (
            ("without banks", plain),
            ("with banks", banked),
            ("with banks, switched off", off),
        )
    ]
    rises = [shown([_rise(one, None) for one in banked], sign=True)]
    rises += [shown([_rise(one, kind) for one in banked], sign=True) for kind in KINDS]
    return [
        "Switched off, by kinds of tokens: those that go on with a name, and others; those whose"
        f" n-gram, one token longer than a bank's, occurred at least {run['often']} times in"
        " training, and those whose n-gram never did.",
        "",
        *markdown.table(["", "all", *titles], [*rows, ["rise by switching off", *rises]]),
    ]


def _rise(one: dict[str, Any], kind: str | None) -> float | None:
    """Return by how much a kind's loss, or the whole one, rises without banks."""
    if kind is None:
        return one["off"]["validation"] - one["validation"]
    on, off = one["kinds"][kind], one["off"]["kinds"][kind]
    return None if on is None or off is None else off - on


def _of(run: dict[str, Any], *, bank: bool) -> list[dict[str, Any]]:
    """Return the runs with banks, or those without, seed by seed."""
    return [one for one in run["runs"] if one["bank"] == bank]

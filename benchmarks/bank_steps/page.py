"""The benchmark's part of docs/benchmarks.md."""

from __future__ import annotations

from typing import Any

from benchmarks import markdown


def section(runs: list[dict[str, Any]]) -> list[str]:
    """Return the section, from the JSON of runs."""
    lines = [
        "## A step of training a bank",
        "",
        "Each condition is trained by its own trainer on the same batches, alone on the device, in"
        " turns. A step is all from the end of one to the end of the next. In brackets the least"
        " and the most; the ratios are of the medians of each round. Peak memory is what torch"
        " held at most: base, bank, gradients, states, activations. On a CPU it is not measured.",
        "",
    ]
    for run in runs:
        bank = run["bank"]
        layers = " and ".join(map(str, bank["layers"]))
        rounds = f"{run['rounds']} round{'s' if run['rounds'] != 1 else ''}"
        lines += markdown.heading(
            run,
            f"Batches of {run['batch']} sequences of {run['length']} tokens ({run['text']});"
            f" {rounds} of {run['steps']} steps after {run['warm_up_steps']}. Banks on blocks"
            f" {layers}, orders 2 to {bank['order']}, {bank['heads']} heads each, {bank['dim']}"
            f" numbers together. {markdown.provenance(run)}.",
        )
        lines += _table(run["cases"])
        for one in run["left_out"]:
            lines += [f"Left out: {one['condition']} ({one['reason']}).", ""]
        if run["differs"]:
            lines += ["What differs between the two libraries:", ""]
            lines += [*(f"- {one}" for one in run["differs"]), ""]
    return lines


def _table(cases: list[dict[str, Any]]) -> list[str]:
    header = ["trained", "computed in", "ms a step (n)", "of the LoRA's", "weights, MiB"]
    return markdown.table(
        [*header, "states, MiB", "rows touched", "bytes of state a touched row", "peak, MiB"],
        [
            [
                case["condition"],
                case["precision"],
                f"{_spread(case['step_seconds'], 1e3, 1)} ({case['step_seconds']['n']})",
                _spread(case["over_lora"], 1, 3),
                _mib(case["trained_bytes"]),
                _mib(case["state_bytes"]),
                _touched(case, lambda one: f"{one['rows']:,}"),
                _touched(case, lambda one: f"{one['bytes'] / one['rows']:.1f}"),
                "" if case["peak_bytes"] is None else f"{case['peak_bytes'] / 2**20:,.0f}",
            ]
            for case in cases
        ],
    )


def _spread(found: dict[str, Any], factor: float, digits: int) -> str:
    median, least, most = (f"{factor * found[n]:.{digits}f}" for n in ("median", "min", "max"))
    return median if found["n"] == 1 else f"{median} ({least} to {most})"


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f}"


def _touched(case: dict[str, Any], shown: Any) -> str:
    """Return a figure after the first step and after the last."""
    return " → ".join(shown(one) for one in case["touched"])

"""Every class of causal language models against the contract: docs/architectures.md.

    python -m benchmarks run architectures [--class LlamaForCausalLM ...]

The same checks as `pytest -m architectures`. With classes named, no results are kept for the page.
The benchmark fails if a class neither holds the contract nor is refused by name.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from benchmarks import markdown
from benchmarks.common import require
from benchmarks.setting import Setting

NEEDS_MODEL = False
PAGE = "docs/architectures.md"
QUICK = ("LlamaForCausalLM", "MambaForCausalLM", "GPT2LMHeadModel")
WORKS, NOTED, REFUSED = "works", "works, with a note", "refused"
NOT_CHECKED, FAILED = "not checked", "fails"
STATUSES = {
    WORKS: "every promise below holds",
    NOTED: "so too, except for what the last column names: there, transformers breaks the promise"
    " without us",
    REFUSED: "`add_engram` raises `UnsupportedModelError`, which says why, and changes nothing",
    NOT_CHECKED: "a package that the class needs was not there",
    FAILED: "a promise is broken",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--class", dest="classes", action="append", metavar="NAME")


def run(setting: Setting) -> dict[str, Any]:
    # Where the checks are; pytest comes with the tests' requirements.
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import transformers
    from architecture_promises import PROMISES
    from architecture_subject import FACT
    from zoo import species

    torch.set_num_threads(1)
    setting.device = torch.device("cpu")
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    chosen = setting.options.classes or (QUICK if setting.quick else ())
    found: dict[str, dict[str, str]] = {}
    for name, one in species().items():
        if chosen and name not in chosen:
            continue
        started = time.perf_counter()
        found[name] = {"model_type": one.model_type, **outcome(one)}
        taken = time.perf_counter() - started
        print(
            f"{name}: {found[name]['status']} ({taken:.1f} s) {found[name]['reason']}", flush=True
        )
    failed = sorted(name for name, one in found.items() if one["status"] == FAILED)
    require(not failed, f"every class holds the contract or is refused: {', '.join(failed)}")
    return {
        "all_classes": not chosen,
        "versions": versions(),
        "checked": [(promise.__doc__ or "").strip() for promise in PROMISES],
        "fact": list(FACT),
        "classes": found,
    }


def outcome(one: Any) -> dict[str, str]:
    """Check one class; whatever is raised is its failure."""
    from architecture_checks import check

    try:
        result = check(one)
    except Exception as error:
        return {"status": FAILED, "reason": f"{type(error).__name__}: {error}"}
    reason = result.reason
    if one.packages and result.status != NOT_CHECKED:
        needs = f"it needs {' and '.join(one.packages)}, and is not checked where they are absent"
        reason = "; ".join(filter(None, [needs, reason]))
    return {"status": result.status, "reason": reason}


def versions() -> dict[str, str]:
    """Return the versions of what was used."""
    names = ("transformers", "torch", "timm", "torchvision")
    seen: dict[str, str] = {}
    for name in names:
        try:
            seen[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return seen


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = ["## Architectures", ""]
    for run in filter(_is_whole, runs):
        counts = Counter(one["status"] for one in run["classes"].values())
        shown = ", ".join(f"{status}: {counts[status]}" for status in STATUSES if counts[status])
        lines += [
            f"Of {len(run['classes'])} classes of transformers {run['versions']['transformers']}"
            f" ([each of them](architectures.md)): {shown}.",
        ]
    return lines


def other_pages(runs: list[dict[str, Any]]) -> dict[str, str]:
    """Return the page of its own that the last whole run makes."""
    whole = [run for run in runs if _is_whole(run)]
    return {PAGE: page(whole[-1])} if whole else {}


def page(run: dict[str, Any]) -> str:
    """Return docs/architectures.md."""
    classes = run["classes"]
    counts = Counter(one["status"] for one in classes.values())
    prompt, answer = run["fact"]
    lines = [
        "# Architectures",
        "",
        "Made by `python -m benchmarks run architectures` and `python -m benchmarks pages`;"
        " the same checks run in `pytest -m architectures`. Every class that this version of"
        " transformers lists as a causal language model is built tiny (tests/zoo_configs.py), with"
        " random weights and four blocks, in float32 on a CPU; encoders such as Bert as decoders:",
        "",
        *(f"{name} {version}  " for name, version in run["versions"].items()),
        "",
        *markdown.table(
            ["status", "classes", "which means"],
            [
                *([s, counts[s], text] for s, text in STATUSES.items() if counts[s]),
                ["all", len(classes), ""],
            ],
        ),
        "What is checked, of memories at the second and at the last block:",
        "",
        *(f"- {promise}" for promise in run["checked"]),
        "",
        f"The fact is {prompt!r}: {answer!r}. A trained model of the class was not run.",
        "",
        *markdown.table(
            ["class", "model type", "status", "why, or what to know"],
            [
                [f"`{name}`", one["model_type"], one["status"], _shown(one)]
                for name, one in classes.items()
            ],
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _shown(one: dict[str, str]) -> str:
    reason = one["reason"].replace("|", "\\|").replace("\n", " ")
    return reason.partition(" is not supported: ")[2] if one["status"] == REFUSED else reason


def _is_whole(run: dict[str, Any]) -> bool:
    return bool(run["all_classes"])

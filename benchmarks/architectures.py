"""Check every class of causal language models, and make docs/architectures.md.

    python benchmarks/architectures.py [--class LlamaForCausalLM ...]

The same checks as `pytest -m architectures`. With classes named, the page is not written. The
script fails if a class neither holds the contract nor is refused by name.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from architecture_checks import FAILED, NOT_CHECKED, NOTED, REFUSED, WORKS, Result, check
from architecture_promises import PROMISES
from architecture_subject import FACT
from zoo import Species, species

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"
STATUSES = {
    WORKS: "every promise below holds",
    NOTED: "so too, except for what the last column names: there, transformers breaks the promise"
    " without us",
    REFUSED: "`add_engram` raises `UnsupportedModelError`, which says why, and changes nothing",
    NOT_CHECKED: "a package that the class needs was not there",
    FAILED: "a promise is broken",
}


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    found: dict[str, Result] = {}
    for name, one in species().items():
        if args.classes and name not in args.classes:
            continue
        started = time.perf_counter()
        found[name] = outcome(one)
        seconds = time.perf_counter() - started
        print(f"{name}: {found[name].status} ({seconds:.1f} s) {found[name].reason}", flush=True)
    if not args.classes:
        PAGE.write_text(page(found), encoding="utf-8")
    if any(result.status == FAILED for result in found.values()):
        raise SystemExit("Some classes fail.")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--class", dest="classes", action="append", metavar="NAME")
    return parser.parse_args()


def outcome(one: Species) -> Result:
    """Check one class; whatever is raised is its failure."""
    try:
        result = check(one)
    except Exception as error:
        return Result(FAILED, f"{type(error).__name__}: {error}")
    if one.packages and result.status != NOT_CHECKED:
        needs = f"it needs {' and '.join(one.packages)}, and is not checked where they are absent"
        return Result(result.status, "; ".join(filter(None, [needs, result.reason])))
    return result


def page(found: dict[str, Result]) -> str:
    """Return the page, in Markdown."""
    counts = Counter(result.status for result in found.values())
    lines = [
        "# Architectures",
        "",
        "Made by `python benchmarks/architectures.py`; the same checks run in"
        " `pytest -m architectures`. Every class that this version of transformers lists as a"
        " causal language model is built tiny (tests/zoo_configs.py), with random weights and four"
        " blocks, in float32 on a CPU; encoders such as Bert as decoders:",
        "",
        *(f"{name} {version}" + "  " for name, version in versions().items()),
        "",
        "| status | classes | which means |",
        "|---|---|---|",
        *(f"| {s} | {counts[s]} | {text} |" for s, text in STATUSES.items() if counts[s]),
        f"| all | {len(found)} | |",
        "",
        "What is checked, of memories at the second and at the last block:",
        "",
        *(f"- {(promise.__doc__ or '').strip()}" for promise in PROMISES),
        "",
        f"The fact is {FACT[0]!r}: {FACT[1]!r}. A trained model of the class was not run.",
        "",
        "| class | model type | status | why, or what to know |",
        "|---|---|---|---|",
    ]
    for name, result in found.items():
        reason = result.reason.replace("|", "\\|").replace("\n", " ")
        if result.status == REFUSED:
            reason = reason.partition(" is not supported: ")[2]
        lines.append(f"| `{name}` | {species()[name].model_type} | {result.status} | {reason} |")
    return "\n".join(lines) + "\n"


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


if __name__ == "__main__":
    main()

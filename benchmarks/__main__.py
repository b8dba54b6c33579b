"""List and run benchmarks, and make the pages and plots that show their results.

python -m benchmarks list
python -m benchmarks run density [--model ID_OR_PATH] [--device cuda] [--data FOLDER] [--quick]
python -m benchmarks pages [--check]
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import environment, write_results
from benchmarks.promises import broken
from benchmarks.setting import Setting

NAMES = (
    "density",
    "exact_match",
    "contexts",
    "chat",
    "paraphrase",
    "layered",
    "transfer",
    "locomo",
    "compare",
    "locality",
    "stacking",
    "conflict",
    "storage",
    "write",
    "write_many",
    "bank_step",
    "bank_corpus",
    "bank_scratch",
    "bank_pairs",
    "limits",
    "overhead",
    "offload",
    "fuzz",
    "architectures",
    "hash_collisions",
)
"""Every benchmark, in the order of docs/benchmarks.md: modules of this package."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the benchmarks, a line each")
    pages = commands.add_parser("pages", help="make docs/benchmarks.md, plots, README's figures")
    pages.add_argument("--check", action="store_true", help="change nothing; fail if out of step")
    running = commands.add_parser("run", help="run one and write its JSON file")
    names = running.add_subparsers(dest="name", required=True)
    for name in NAMES:
        module = load(name)
        shown = headline(module).replace("%", "%%")
        one = names.add_parser(name, help=shown, description=module.__doc__)
        add_common_arguments(one)
        module.add_arguments(one)
    parsed = parser.parse_args(arguments)
    if parsed.command == "list":
        for name in NAMES:
            print(f"{name:16} {headline(load(name))}")
    elif parsed.command == "pages":
        from benchmarks.pages import stale_pages, write_pages

        if not parsed.check:
            write_pages()
        elif stale := stale_pages():
            raise SystemExit(f"Run `python -m benchmarks pages`; out of step: {', '.join(stale)}")
    else:
        run(parsed)


def run(parsed: argparse.Namespace) -> Path:
    """Run one benchmark and write its results."""
    module = load(parsed.name)
    setting = as_setting(parsed)
    started = time.perf_counter()
    results = module.run(setting)
    asked = {
        "model": setting.label,
        "dtype": str(setting.dtype).removeprefix("torch."),
        "settings": setting.config_fields,
    }
    described = {
        "benchmark": parsed.name,
        **(asked if module.NEEDS_MODEL else {}),
        "quick": setting.quick,
        "seed": setting.seed,
        "note": parsed.note,
        "environment": environment(setting.device),
        "run_seconds": time.perf_counter() - started,
    }
    file = parsed.out or file_name(parsed.name, setting, needs_model=module.NEEDS_MODEL)
    path = write_results(file, {**described, **results})
    if missed := broken(results):
        raise SystemExit("Not held: " + "; ".join(one["promise"] for one in missed))
    return path


def load(name: str) -> Any:
    """Return a benchmark's module."""
    return importlib.import_module(f"benchmarks.{name}")


def headline(module: Any) -> str:
    """Return the first line of a module's docstring."""
    return (module.__doc__ or "").strip().splitlines()[0]


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark takes."""
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--label", help="the model's name in the results, if --model is a folder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="small: shows only that it works")
    parser.add_argument("--note", help="what else a reader must know: other work on the machine")
    parser.add_argument("--out", help="name of the JSON file, without .json")
    parser.add_argument("--settings", nargs="*", default=[], help="EngramConfig fields, name=value")


def as_setting(parsed: argparse.Namespace) -> Setting:
    """Return what the command line asks for."""
    pairs = (item.split("=", 1) for item in parsed.settings)
    fields = {k: int(v) if v.lstrip("-").isdigit() else v for k, v in pairs}
    torch.manual_seed(parsed.seed)
    return Setting(
        parsed.model,
        parsed.label or parsed.model,
        torch.device(parsed.device),
        getattr(torch, parsed.dtype),
        parsed.data,
        parsed.quick,
        parsed.seed,
        parsed,
        fields,
    )


def file_name(name: str, setting: Setting, *, needs_model: bool) -> str:
    """Return the name of a run's results: benchmark, model, device, type."""
    quick = "-quick" if setting.quick else ""
    if not needs_model:
        return f"{name}{quick}"
    model = setting.label.rsplit("/", 1)[-1].lower()
    dtype = str(setting.dtype).removeprefix("torch.")
    return f"{name}-{model}-{setting.device.type}-{dtype}{quick}"


if __name__ == "__main__":
    main()

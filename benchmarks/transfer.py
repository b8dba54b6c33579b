"""How far the shared skill carries: wordings, attributes, people and chains never trained on.

    python -m benchmarks run transfer [--adapter FOLDER] [--adapters A B C] [--parts NAME ...]
        [--names unknown always never]

Each part has tables of its own and kinds of questions to them, by exact match of the final answer;
beside them what is right without the facts: a prior, no table, another one's table, one fact of
two.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from benchmarks.common import environment
from benchmarks.layered import ADAPTER, ROOT
from benchmarks.layers.stages import adapted, left_as_found, memories
from benchmarks.markdown import counted
from benchmarks.promises import are_checked
from benchmarks.setting import Setting
from benchmarks.transfers.asking import ask, askable, write
from benchmarks.transfers.claims import claims
from benchmarks.transfers.page import section
from benchmarks.transfers.parts import PARTS
from benchmarks.transfers.questions import SOURCE, Part
from benchmarks.transfers.scoring import SHOWN, score, shares
from engram_transformers.skill.answering import NamesShown

__all__ = ["NEEDS_MODEL", "add_arguments", "run", "section"]

NEEDS_MODEL = True
QUICK_EPISODES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add options."""
    parts = [one.name for one in PARTS]
    names = get_args(NamesShown)
    parser.add_argument(
        "--adapter", type=Path, default=ADAPTER, help="folder of the skill, from the repository"
    )
    parser.add_argument("--adapters", type=Path, nargs="+", help="several, trained with more seeds")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, metavar="NAME")
    parser.add_argument(
        "--names", nargs="+", choices=names, default=["unknown"], help="when names are shown"
    )
    parser.add_argument(
        "--episodes", type=int, default=400, help="made up for each of told, families and chains"
    )
    parser.add_argument("--prior-people", type=int, default=300, help="made up, for the prior")
    parser.add_argument("--batch", type=int, help="questions asked at once")


def run(setting: Setting) -> dict[str, Any]:
    """Ask all parts with each adapter."""
    options = setting.options
    if setting.quick:
        options.episodes = min(options.episodes, QUICK_EPISODES)
    adapters = [ROOT / one for one in options.adapters or [options.adapter]]
    _require_adapters(adapters)
    parts = {one.name: one.make(setting) for one in PARTS if one.name in options.parts}
    measured = {name: _described(name, part) for name, part in parts.items()}
    names = list(dict.fromkeys(options.names))
    for adapter in adapters:
        with (
            left_as_found(setting, "the skill"),
            adapted(setting, adapter),
            memories(setting),
        ):
            for name, part in parts.items():
                _measure(setting, part, measured[name], adapter.name, names)
    for entry in measured.values():
        entry["shares"] = shares(entry)
    found: dict[str, Any] = {
        "data": SOURCE,
        "device": environment(setting.device)["device"],
        "adapters": [folder.name for folder in adapters],
        "names": names,
        "parts": list(measured.values()),
    }
    return {**found, "promises": claims(found) if are_checked(setting) else []}


def _require_adapters(adapters: Sequence[Path]) -> None:
    """Stop before anything is measured if there is no skill."""
    missing = [str(folder) for folder in adapters if not folder.is_dir()]
    if missing:
        raise SystemExit(
            f"There is no skill in {', '.join(missing)}. Train one (python -m"
            " benchmarks.train_skill), or choose another --adapter."
        )


def _described(name: str, part: Part) -> dict[str, Any]:
    """Return what a part's results begin with: all that is the same for every adapter."""
    return {
        "name": name,
        "tables": len(part.tables),
        "facts": sum(len(facts) for facts in part.tables.values()),
        "kinds": list(dict.fromkeys(one.kind for one in part.questions)),
        "controls": sorted({one.kind for one in part.questions if one.is_control}),
        "prior": {kind: list(counts) for kind, counts in part.prior.items()},
        "written": [],
        "runs": [],
    }


def _measure(
    setting: Setting,
    part: Part,
    entry: dict[str, Any],
    adapter: str,
    settings: Sequence[NamesShown],
) -> None:
    """Write a part's tables with one adapter, and ask in every setting."""
    written = write(setting, part)
    left_out = written.left_out
    entry["written"].append(
        {
            "adapter": adapter,
            "facts": written.facts,
            "left_out": len(left_out),
            "examples": left_out[:SHOWN],
        }
    )
    print(
        f"{adapter}, {entry['name']}: {written.facts} facts, {len(left_out)} left out", flush=True
    )
    for names in settings:
        questions = askable(part.questions, written.tables, names)
        answers = ask(setting, questions, written.tables, names)
        found = score(questions, answers, lambda text: _tokens(setting, text))
        not_asked = len(part.questions) - len(questions)
        entry["runs"].append({"adapter": adapter, "names": names, "not_asked": not_asked, **found})
        _show(f"{adapter}, {entry['name']}, names {names}", found["kinds"])


def _tokens(setting: Setting, text: str) -> int:
    return len(setting.tokenizer(text)["input_ids"])


def _show(about: str, kinds: Mapping[str, dict[str, Any]]) -> None:
    for kind, counts in kinds.items():
        print(f"{about}, {kind}: {counted(counts['right'], counts['asked'])}", flush=True)

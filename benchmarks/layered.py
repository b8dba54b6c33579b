"""Layers one by one on questions around corners: rows, the shared skill, both, and controls.

    python -m benchmarks run layered [--adapter FOLDER] [--adapters A B C] [--conditions NAME ...]

All indirect questions of the test users, each condition in the same run, by exact match of the
final answer; the published substring metric is shown beside it, and the constant that beats it.
Controls that need no facts (the prior), no table, or a wrong user's table say how much of a score
is owed to the user's own facts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import environment, require
from benchmarks.layers.claims import claims
from benchmarks.layers.conditions import CONDITIONS, Condition, State
from benchmarks.layers.outside import Texts, bits, cost, losses, texts_of
from benchmarks.layers.page import section
from benchmarks.layers.scoring import over_runs, score, worse_users
from benchmarks.layers.stages import Stage, left_as_found, patched, skilled
from benchmarks.layers.unknown import absent
from benchmarks.layers.users import SOURCE, TEST, TRAINING, mismatch, read_users
from benchmarks.markdown import counted
from benchmarks.methods.minilm import encoder_or_none
from benchmarks.promises import are_checked
from benchmarks.setting import Setting

__all__ = ["NEEDS_MODEL", "add_arguments", "run", "section"]

NEEDS_MODEL = True
ROOT = Path(__file__).parent.parent
ADAPTER = Path("skills/smollm2-135m-instruct")
ABSTENTION, LOCALITY = "abstention", "locality"
INDIRECT, DIRECT = 654, 668
"""Questions of all test users."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add options."""
    names = [one.name for one in CONDITIONS] + [ABSTENTION, LOCALITY]
    parser.add_argument(
        "--adapter", type=Path, default=ADAPTER, help="folder of the skill, from the repository"
    )
    parser.add_argument("--adapters", type=Path, nargs="+", help="several, trained with more seeds")
    parser.add_argument("--users", type=int, default=len(TEST), help="so many of u000 to u019")
    parser.add_argument("--conditions", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--seeds", type=int, default=1, help="of made-up people and LoRAs")
    parser.add_argument("--prior-people", type=int, default=300, help="made up, for the prior")
    parser.add_argument("--absent-users", type=int, default=4, help="asked what is not there")
    parser.add_argument("--texts", type=int, help="of each source, for locality; less on a CPU")
    parser.add_argument("--encoder", type=Path, help="folder of the encoder for retrieval")
    parser.add_argument(
        "--published-steps", type=int, default=300, help="of the published LoRA, 1,500 at most"
    )
    parser.add_argument("--lora-epochs", type=int, default=60, help="of the fair LoRA, at most")


def run(setting: Setting) -> dict[str, Any]:
    """Ask in every condition."""
    options = setting.options
    if setting.quick:
        options.users = 2
        options.absent_users = 1
    adapters = [ROOT / one for one in options.adapters or [options.adapter]]
    chosen = [one for one in CONDITIONS if one.name in options.conditions]
    if setting.quick:
        chosen = [one for one in chosen if not one.is_lora]
    _require_adapters(chosen, options.conditions, adapters)
    users = read_users(setting.data, TEST[: options.users])
    training = read_users(setting.data, TRAINING)
    stage = Stage(setting, users, training, seed=setting.seed)
    if any(one.needs_encoder for one in chosen):
        stage.encoder = encoder_or_none(options.encoder, setting.device)
    experiment = Experiment(stage, chosen)
    results = experiment.run(adapters)
    _check_counts(setting, results)
    found: dict[str, Any] = {
        "data": SOURCE,
        "device": environment(setting.device)["device"],
        "users": len(users),
        "facts": sum(len(user.facts) for user in users),
        "adapters": [folder.name for folder in adapters],
        "wrong_user": mismatch(users) if len(users) > 1 else None,
        **results,
    }
    is_full = are_checked(setting) and len(users) == len(TEST)
    return {**found, "promises": claims(found) if is_full else []}


def _require_adapters(
    chosen: Sequence[Condition], names: Sequence[str], adapters: Sequence[Path]
) -> None:
    """Stop before anything is measured if there is no skill for conditions that need one."""
    needed = [one.name for one in chosen if one.state is State.SKILL]
    needed += [name for name in (ABSTENTION, LOCALITY) if name in names]
    missing = [str(folder) for folder in adapters if not folder.is_dir()]
    if needed and missing:
        raise SystemExit(
            f"There is no skill in {', '.join(missing)}, which {', '.join(needed)} need. Train one"
            " (python -m benchmarks.train_skill), or choose other --conditions."
        )


def _check_counts(setting: Setting, results: dict[str, Any]) -> None:
    """Require that no question was left out."""
    if setting.options.users < len(TEST) or not are_checked(setting):
        return
    for one in results["conditions"]:
        asked = {run["asked"] for run in one["runs"]}
        direct = {run["asked"] for run in one.get("direct", [])}
        require(asked <= {INDIRECT}, f"{one['name']}: all {INDIRECT} indirect questions are asked")
        require(direct <= {DIRECT}, f"{one['name']}: all {DIRECT} direct questions are asked")


class Experiment:
    """All conditions on the same questions.

    Attributes:
        stage: The model and the users.
        chosen: The conditions.
        done: Results by condition.
        measured: What else is seen with each adapter.
    """

    def __init__(self, stage: Stage, chosen: Sequence[Condition]) -> None:
        self.stage = stage
        self.chosen = chosen
        self.indirect = [one for user in stage.users for one in user.indirect]
        self.direct = [one for user in stage.users for one in user.direct]
        self.done: dict[str, dict[str, Any]] = {}
        self.measured: list[dict[str, Any]] = []

    def run(self, adapters: Sequence[Path]) -> dict[str, Any]:
        """Go through all states of the model; it is left as it was found after each."""
        stage, options = self.stage, self.stage.options
        texts = texts_of(stage.setting) if LOCALITY in options.conditions else {}
        base = losses(stage.model, texts)
        for one in self._of(State.BARE):
            first = stage.setting.seed
            for seed in range(first, first + (options.seeds if one.is_seeded else 1)):
                stage.seed = seed
                with left_as_found(stage.setting, one.name):
                    self.ask(one, {"seed": seed} if one.is_seeded else {})
        if self._of(State.ROWS):
            with left_as_found(stage.setting, "rows"), patched(stage):
                for one in self._of(State.ROWS):
                    self.ask(one, {"left_out": len(stage.written["left_out"])})
        measures = {ABSTENTION, LOCALITY} & set(options.conditions)
        for adapter in adapters if measures or self._of(State.SKILL) else ():
            with left_as_found(stage.setting, "the skill"), skilled(stage, adapter):
                self.measured.append(self.measure(adapter, texts, base))
                for one in self._of(State.SKILL):
                    self.ask(one, {"adapter": adapter.name})
        ordered = [self.done[one.name] for one in self.chosen]
        return {"conditions": ordered, "adapters_measured": self.measured, **self._worse()}

    def _of(self, state: State) -> list[Condition]:
        return [one for one in self.chosen if one.state is state]

    def ask(self, one: Condition, about: dict[str, Any]) -> None:
        """Run a condition once."""
        entry = self.done.setdefault(one.name, {"name": one.name, "title": one.title, "runs": []})
        if one.needs_encoder and self.stage.encoder is None:
            entry["not_run"] = "its encoder can't be had here"
            print(f"{one.name}: not run, {entry['not_run']}")
            return
        if one.name == "wrong-user" and len(self.stage.users) < 2:
            entry["not_run"] = "there is only one user"
            return
        asked = [*self.indirect, *(self.direct if one.asks_direct else ())]
        said, notes = one.ask(self.stage, asked)
        count = len(self.indirect)
        found = score(self.indirect, said[:count], mentions=one.is_said)
        entry["runs"].append({**about, **found, "notes": notes})
        entry["share"] = over_runs(entry["runs"])
        shown = f"{one.name}: {counted(found['right'], found['asked'])}"
        if one.is_said:
            published = counted(found["published"]["hits"], found["published"]["asked"])
            shown += f", published metric (a constant beats it) {published}"
        if one.asks_direct and self.direct:
            direct = score(self.direct, said[count:], mentions=False)
            entry.setdefault("direct", []).append({**about, **direct})
            entry["direct_share"] = over_runs(entry["direct"])
            shown += f", direct {counted(direct['right'], direct['asked'])}"
        print(shown, flush=True)

    def measure(
        self, adapter: Path, texts: Texts, base: dict[str, tuple[float, int]]
    ) -> dict[str, Any]:
        """See what a skill costs, and what it says where a fact is missing."""
        stage, options = self.stage, self.stage.options
        found: dict[str, Any] = {"adapter": adapter.name}
        if texts:
            found["bits"] = bits(stage, texts)
            found["cost"] = cost(base, losses(stage.model, texts))
            print(f"{adapter.name}: {found['cost']['nats']:+.4f} nats, bits {found['bits']}")
        if ABSTENTION in options.conditions:
            found["absent"] = absent(stage, stage.users[: options.absent_users])
            shown = counted(found["absent"]["unknown"], found["absent"]["asked"])
            print(f"{adapter.name}: unknown where it is missing {shown}")
        found["written"] = stage.written
        print(f"{adapter.name}: {stage.written}", flush=True)
        return found

    def _worse(self) -> dict[str, Any]:
        """Return the users whom rows and skill leave worse than the untouched model."""
        base, ours = self.done.get("untouched"), self.done.get("rows-skill")
        if not base or not ours:
            return {}
        (before,) = base["runs"]
        return {"worse_users": [worse_users(run, before) for run in ours["runs"]]}

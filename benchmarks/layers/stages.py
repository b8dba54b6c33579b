"""What the model is while conditions ask it: bare, with rows, with the skill and rows."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import require, spread, timed
from benchmarks.layers.users import User
from benchmarks.methods.minilm import Encoder
from benchmarks.setting import Setting
from benchmarks.skill import personal
from engram_transformers import (
    UserTable,
    add_engram,
    attach_shared_lora,
    detach_shared_lora,
    recall_key,
    remove_engram,
)

_PROBE = "The harbour opens at seven in the morning, and my birth year is"


@dataclass
class Stage:
    """A model, and the users who ask it.

    Attributes:
        setting: Of the run.
        users: Who ask.
        training: Users whose answers are known to the prior.
        encoder: For retrieval; None where it can't be had.
        seed: Of what is random in a condition.
        tables: The users' tables, where there are any.
        lora: The recipe of a fair LoRA, once it is found: learning rate and steps.
        written: What writing took.
    """

    setting: Setting
    users: list[User]
    training: list[User]
    encoder: Encoder | None = None
    seed: int = 0
    tables: dict[str, UserTable] = field(default_factory=dict)
    lora: tuple[float, int] | None = None
    written: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Any:
        """The model as it is now."""
        return self.setting.model

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""
        return self.setting.tokenizer

    @property
    def options(self) -> Any:
        """Those of the command line."""
        return self.setting.options

    def user(self, uid: str) -> User:
        """Return a user by name."""
        return next(one for one in self.users if one.uid == uid)


@contextmanager
def patched(stage: Stage) -> Generator[Stage]:
    """Give the model memories and every user a table, until the block ends."""
    with memories(stage.setting):
        try:
            stage.tables, stage.written = write_tables(stage.setting, stage.users)
            yield stage
        finally:
            stage.tables, stage.written = {}, {}


@contextmanager
def skilled(stage: Stage, adapter: Path) -> Generator[Stage]:
    """Give the model the skill as well; tables are written with it."""
    with adapted(stage.setting, adapter), patched(stage):
        yield stage


@contextmanager
def memories(setting: Setting) -> Generator[None]:
    """Give the model memories, until the block ends."""
    add_engram(setting.model, setting.tokenizer, **setting.config_fields)
    try:
        yield
    finally:
        remove_engram(setting.model)


@contextmanager
def adapted(setting: Setting, adapter: Path) -> Generator[None]:
    """Give the model the skill, until the block ends."""
    learning = [one for one in setting.model.parameters() if one.requires_grad]
    attach_shared_lora(setting.model, adapter)
    try:
        yield
    finally:
        detach_shared_lora(setting.model)
        for parameter in learning:  # PEFT stops them
            parameter.requires_grad_(True)


@contextmanager
def left_as_found(setting: Setting, what: str) -> Generator[None]:
    """Require that the model computes the same bits after the block as before it."""
    before = _probe(setting)
    yield
    require(torch.equal(before, _probe(setting)), f"{what} leaves the model as it was found")


@torch.inference_mode()
def _probe(setting: Setting) -> torch.Tensor:
    inputs = setting.tokenizer(_PROBE, return_tensors="pt").to(setting.model.device)
    return setting.model(**inputs).logits.cpu()


def write_tables(
    setting: Setting, users: Sequence[User]
) -> tuple[dict[str, UserTable], dict[str, Any]]:
    """Write each user's facts into a table, and say what that took.

    Seconds are of the whole call, asking each fact included, after a first table for warming up.
    """
    UserTable(setting.model, "warm-up").write(users[-1].facts, progress=False)
    tables: dict[str, UserTable] = {}
    whole: list[float] = []
    finding: list[float] = []
    left_out: list[str] = []
    for user in users:
        table = tables[user.uid] = UserTable(setting.model, user.uid)
        taken, report = timed(
            setting.device, lambda t=table, u=user: t.write(u.facts, progress=False)
        )
        whole.append(taken)
        finding.append(report.seconds)
        left_out += [f"{user.uid}: {failed.fact.prompt}" for failed in report.failed]
    sizes = [table.nbytes for table in tables.values()]
    written: dict[str, Any] = {
        "facts": sum(len(user.facts) for user in users),
        "left_out": left_out,
        "bytes": {"mean": statistics.mean(sizes), "min": min(sizes), "max": max(sizes)},
    }
    if not left_out:  # a speed is of what works
        written |= {"seconds": spread(whole), "seconds_without_asking": spread(finding)}
    return tables, written


def without(stage: Stage, user: User, key: str) -> UserTable:
    """Return a user's table without one fact; all others stay, near ones too."""
    table = copy.copy(stage.tables[user.uid]).bind(stage.model)
    trigger = recall_key(personal.NAMES[key])
    if trigger in table:
        table.erase(trigger)
        require(trigger in stage.tables[user.uid], "the whole table stays")
    require(trigger not in table, "a fact that is erased is gone")
    return table

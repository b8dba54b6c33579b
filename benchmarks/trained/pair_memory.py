"""Pairs held in a table, in a bank or in a LoRA, and asked alike: one measurement of each."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import asking, markdown
from benchmarks.asking import Question
from benchmarks.common import require
from benchmarks.exact_match import Pair, as_chat
from benchmarks.methods.memory import Memory
from benchmarks.setting import Setting
from benchmarks.tally import PROTOCOLS, by_kind, written
from benchmarks.trained.conditions import (
    ONE_ROW,
    Condition,
    attached,
    switched_off,
    weights_digest,
)
from benchmarks.trained.losses import mean, token_losses
from benchmarks.trained.pairs import Answers, Example
from benchmarks.trained.training import Plan, train
from engram_transformers import save_engram
from engram_transformers.attachment import find_attachment

UNTOUCHED = "untouched"
TABLES = "tables"
_FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class Task:
    """Pairs in one form, and what is asked of everything that holds them.

    Attributes:
        setting: The model.
        form: "chat" or "text".
        pairs: Each key once.
        questions: One for each pair.
        otherwise: Name -> the first pairs in other prompts.
        examples: What is trained on.
        answers: Makes batches of them.
        texts: (blocks, length) int64: other text.
        base: The untouched model's losses on it.
        digest: Of the untouched model's weights.
    """

    setting: Setting
    form: str
    pairs: Sequence[Pair]
    questions: Sequence[Question]
    otherwise: dict[str, list[Question]]
    examples: Sequence[Example]
    answers: Answers
    texts: Tensor
    base: Tensor
    digest: str

    def ask(self, model: Any, left_out: Collection[str] = ()) -> dict[str, Any]:
        """Ask every pair by all protocols, some in other prompts, and read other text.

        Args:
            model: As it is to be asked.
            left_out: Keys that were not taken in: wrong, whatever is said.
        """
        tokenizer = self.setting.tokenizer
        recall = asking.recall(model, tokenizer, self.questions)
        kept = [pair.key not in left_out for pair in self.pairs]
        flags = {
            name: [a and b for a, b in zip(getattr(recall, name), kept, strict=True)]
            for name in PROTOCOLS
        }
        return {
            "asked": len(self.pairs),
            **{name: sum(flags[name]) for name in PROTOCOLS},
            "categories": by_kind([pair.category for pair in self.pairs], flags["whole"]),
            "otherwise": self._ask_otherwise(model, kept),
            "answer_nats": self.answers.loss(model, self.examples),
            "other_text": self.locality(token_losses(model, self.texts)),
        }

    def _ask_otherwise(self, model: Any, kept: Sequence[bool]) -> dict[str, dict[str, int]]:
        """Count whole answers by prompt; all prompts are asked together, which takes less time."""
        tokenizer = self.setting.tokenizer
        every = [question for some in self.otherwise.values() for question in some]
        lengths = asking.lengths_of(tokenizer, every)
        said = iter(asking.generate(model, tokenizer, [q.prompt for q in every], lengths))
        return {
            name: {
                "asked": len(some),
                "whole": sum(
                    [
                        asking.is_whole(next(said), question.answer) and is_kept
                        for question, is_kept in zip(some, kept, strict=False)
                    ]
                ),
            }
            for name, some in self.otherwise.items()
        }

    def locality(self, losses: Tensor) -> dict[str, Any]:
        """Return how far losses on other text moved, in nats per token."""
        change = losses - self.base
        return {
            "tokens": change.numel(),
            "changed": int((losses != self.base).sum()),
            "mean": mean(change),
            "mean_absolute": mean(change.abs()),
        }


def untouched(task: Task) -> dict[str, Any]:
    """Ask the model as it came."""
    found = {"condition": UNTOUCHED, **task.ask(task.setting.model)}
    print(f"{UNTOUCHED}: {markdown.counted(found['whole'], found['asked'])} whole")
    return found


def tables(task: Task, seed: int) -> dict[str, Any]:
    """Write all pairs to a table in one call, and ask."""
    setting = dataclasses.replace(
        task.setting,
        config_fields={**task.setting.config_fields, "seed": seed},
        _loaded=(task.setting.model, task.setting.tokenizer),
    )
    as_prompt = as_chat if task.form == "chat" else str
    prompts = {as_prompt(pair.key): pair.key for pair in task.pairs}
    memory = Memory(setting)
    try:
        report = memory.table.write(
            [(as_prompt(pair.key), pair.value) for pair in task.pairs], progress=False
        )
        left_out = {prompts[failed.fact.prompt] for failed in report.failed}
        with memory.active():
            asked = task.ask(setting.model, left_out)
        described = written(memory, report)
    finally:
        memory.close()
    _require_base(task)
    found = {"condition": TABLES, "seed": seed, **asked, **described}
    found["bytes_trained"] = found["bytes_of_rows_and_addresses"]
    return _told(found)


def trained(
    task: Task, condition: Condition, layers: Sequence[int], rows: int, plan: Plan
) -> dict[str, Any]:
    """Train a condition on all pairs, ask, and look at what must stay as it was.

    Args:
        task: Pairs.
        condition: What is trained.
        layers: Blocks that get a bank.
        rows: Of each of them.
        plan: How; its seed is that of all new weights, too.
    """
    setting = task.setting
    with attached(setting, condition, layers, rows, plan.seed) as whole:
        require(
            torch.equal(token_losses(whole, task.texts), task.base),
            f"{condition.name}: what is new adds exactly nothing",
        )
        learnt = train(whole, task.examples, plan, setting.device, task.answers)
        asked = task.ask(whole)
        sizes = _sizes(whole, condition, learnt["telemetry"])
        with switched_off(whole, condition):
            off = token_losses(whole, task.texts)
        require(
            torch.equal(off, task.base),
            f"{condition.name}: switched off, every token's loss is exactly the base's",
        )
    _require_base(task)
    return _told(
        {
            "condition": condition.name,
            "seed": plan.seed,
            "learning_rate": plan.learning_rate,
            **asked,
            **sizes,
            **learnt,
        }
    )


def trial(task: Task, condition: Condition, layers: Sequence[int], rows: int, plan: Plan) -> float:
    """Train by a plan and return the surprise at answers, in nats per token."""
    with attached(task.setting, condition, layers, rows, plan.seed) as whole:
        train(whole, task.examples, plan, task.setting.device, task.answers)
        return task.answers.loss(whole, task.examples)


def _sizes(whole: Any, condition: Condition, telemetry: dict[str, Any]) -> dict[str, int]:
    """Return the bytes of what is saved, and of what of it was trained, in float32."""
    patched = find_attachment(whole)
    banks = list(patched.banks.values()) if patched else []
    with tempfile.TemporaryDirectory() as folder:
        if banks:
            save_engram(whole, folder)
        else:
            whole.save_pretrained(folder, save_embedding_layers=False)
        on_disk = sum(file.stat().st_size for file in Path(folder).rglob("*.safetensors"))
    if not banks:
        weights = [weight for name, weight in whole.named_parameters() if ".lora_" in name]
        numbers = sum(weight.numel() for weight in weights)
        return {"bytes_on_disk": on_disk, "bytes_trained": _FLOAT32 * numbers}
    all_rows = sum(bank.bank_hash.rows for bank in banks)
    touched = round(telemetry["rows_touched"] * all_rows)
    if condition.name == ONE_ROW:
        configs = [bank.bank_hash.config for bank in banks]
        heads = sum(config.heads * config.order_count for config in configs)
        require(touched == heads, f"{ONE_ROW}: {heads} rows were trained, not {touched}")
    every = sum(weight.numel() for bank in banks for weight in bank.parameters())
    tables = sum(bank.table.weight.numel() for bank in banks)
    numbers = every - tables + touched * tables // all_rows
    return {
        "bytes_on_disk": on_disk,
        "bytes_trained": _FLOAT32 * numbers,
        "rows_trained": touched,
        "rows": all_rows,
    }


def _require_base(task: Task) -> None:
    same = weights_digest(task.setting.model) == task.digest
    require(same, "the base's weights are bit for bit unchanged")


def _told(found: dict[str, Any]) -> dict[str, Any]:
    print(
        f"{found['condition']}, seed {found['seed']}:"
        f" {markdown.counted(found['whole'], found['asked'])} whole,"
        f" {found['other_text']['mean']:+.4f} nats per token on other text,"
        f" {found['bytes_on_disk']:,} bytes, {found['seconds']:.1f} s"
    )
    return found

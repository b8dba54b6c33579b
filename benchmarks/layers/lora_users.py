"""A LoRA for each user, trained on the user's facts, as `compare` trains them; with rows or not."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.common import spread
from benchmarks.layers.asking import say
from benchmarks.layers.scoring import Said
from benchmarks.layers.stages import Stage
from benchmarks.layers.users import Asked, User
from benchmarks.methods.lora import Lora, Recipe, fair, published
from benchmarks.texts import sentences
from engram_transformers import UserTable, add_engram, remove_engram

RATES = (1e-3, 2e-3, 4e-3)
_UNRELATED = 32


def as_published(stage: Stage) -> Recipe:
    """Return the published recipe, perhaps cut short."""
    return published(stage.options.published_steps)


def as_fair(stage: Stage) -> Recipe:
    """Return the fair recipe with the rate that wins all facts soonest, all facts in a step.

    The rate is looked for once, with the facts of a user who is not asked.
    """
    if stage.lora is None:
        stage.lora = _quickest(stage, stage.training[0])
    rate, steps = stage.lora
    return fair(rate, len(stage.training[0].known), kl_weight=1.0, steps=steps)


def _quickest(stage: Stage, user: User) -> tuple[float, int]:
    steps = stage.options.lora_epochs
    best, found = float("inf"), RATES[0]
    for rate in RATES:
        recipe = fair(rate, len(user.known), kl_weight=0.0, steps=steps)
        lora = Lora(stage.setting, recipe, give_up=best)
        lora.write(user.known)
        lora.close()
        print(
            f"LoRA search: rate {rate:g}, won {lora.won}, {lora.steps} steps, {lora.seconds:.1f} s"
        )
        if lora.won and lora.seconds < best:
            best, found = lora.seconds, rate
    return found, steps


def ask_with_loras(
    stage: Stage, asked: Sequence[Asked], recipe: Recipe, *, rows: bool
) -> tuple[list[Said], dict[str, Any]]:
    """Train a LoRA for each user, and ask the user's questions with it.

    Args:
        stage: The bare model.
        asked: Questions of all users.
        recipe: How a LoRA is trained.
        rows: Whether the user's facts are written as rows as well, on top of the LoRA.
    """
    said = [Said(None)] * len(asked)
    seconds: list[float] = []
    sizes: list[int] = []
    halves: list[int] = []
    won = 0
    for user in stage.users:
        numbers = [i for i, one in enumerate(asked) if one.uid == user.uid]
        lora = Lora(stage.setting, recipe, sentences(_UNRELATED))
        lora.seed = stage.seed
        try:
            lora.write(user.known)
            seconds.append(lora.seconds)
            sizes.append(lora.nbytes)
            halves.append(lora.nbytes_half)
            won += lora.won
            found = _ask(stage, user, [asked[i].question for i in numbers], rows=rows)
        finally:
            lora.close()
        for i, reply in zip(numbers, found, strict=True):
            said[i] = reply
    notes: dict[str, Any] = {
        "bytes": statistics.mean(sizes),
        "bytes_in_16_bits": statistics.mean(halves),
        "seconds": spread(seconds),
        "recipe": recipe.name,
        "learning_rate": recipe.learning_rate,
    }
    return said, notes | ({"won_all_facts": won} if recipe.until_won else {})


def _ask(stage: Stage, user: User, questions: Sequence[str], *, rows: bool) -> list[Said]:
    model, tokenizer = stage.model, stage.tokenizer
    if not rows:
        return say(model, tokenizer, questions)
    add_engram(model, tokenizer, **stage.setting.config_fields)
    try:
        table = UserTable(model, user.uid)
        table.write(user.facts, progress=False)
        return say(model, tokenizer, questions, [table] * len(questions))
    finally:
        remove_engram(model)

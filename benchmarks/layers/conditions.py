"""The conditions of the layered experiment. A new one is one entry of `CONDITIONS`."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Any, NamedTuple

from benchmarks.layers import lora_users
from benchmarks.layers.asking import added_tokens, say, say_with_skill, told
from benchmarks.layers.prior import Prior
from benchmarks.layers.scoring import CONSTANT, Said
from benchmarks.layers.stages import Stage
from benchmarks.layers.users import Asked, made_up_users, next_users
from benchmarks.methods.lora import Recipe
from benchmarks.methods.retrieval import Retrieval
from engram_transformers import UserTable

Replies = tuple[list[Said], dict[str, Any]]
"""What was said to each question, and what else is to be known: bytes, tokens, seconds."""

TOP = 3
"""So many lines are retrieved."""
QUICK_PEOPLE = 20
MADE_UP_SEED = 9000
"""The made-up people of the prior are others than those that the skill is trained on."""


class State(Enum):
    """What the model must be for a condition."""

    BARE = "the model as it is"
    ROWS = "patched, the users' facts written"
    SKILL = "patched, with the skill, the users' facts written"


class Condition(NamedTuple):
    """A way of asking.

    Attributes:
        name: For `--conditions` and in results.
        title: In tables.
        state: What the model must be.
        ask: Asks all questions.
        is_seeded: Whether it is run once for each seed; with the skill it is once per adapter.
        is_lora: Whether it trains LoRAs, which a quick run leaves out.
        is_said: Whether a model speaks freely, so that the published metric can be counted.
        asks_direct: Whether direct questions are asked as well.
        needs_encoder: Whether it needs the encoder for retrieval.
    """

    name: str
    title: str
    state: State
    ask: Callable[[Stage, Sequence[Asked]], Replies]
    is_seeded: bool = False
    is_lora: bool = False
    is_said: bool = False
    asks_direct: bool = False
    needs_encoder: bool = False


def _questions(asked: Sequence[Asked]) -> list[str]:
    return [one.question for one in asked]


def _own_tables(stage: Stage, asked: Sequence[Asked]) -> list[UserTable | None]:
    return [stage.tables[one.uid] for one in asked]


def _of_tables(stage: Stage) -> dict[str, Any]:
    sizes = [table.nbytes for table in stage.tables.values()]
    return {"bytes": statistics.mean(sizes), "context_tokens": 0.0}


def untouched(stage: Stage, asked: Sequence[Asked]) -> Replies:
    """Ask the model as it is."""
    return say(stage.model, stage.tokenizer, _questions(asked)), {}


def constant(stage: Stage, asked: Sequence[Asked]) -> Replies:
    """Say the same to everything: what the published metric is worth."""
    return [Said(CONSTANT.strip(), begins=CONSTANT)] * len(asked), {}


def prior_of_data(stage: Stage, asked: Sequence[Asked]) -> Replies:
    """Answer as most of the training users did."""
    prior = Prior(stage.training)
    return [Said(prior.answer(one)) for one in asked], {"people": len(stage.training)}


def prior_of_people(stage: Stage, asked: Sequence[Asked]) -> Replies:
    """Answer as most made-up people would."""
    count = QUICK_PEOPLE if stage.setting.quick else stage.options.prior_people
    prior = Prior(made_up_users(count, MADE_UP_SEED + stage.seed))
    return [Said(prior.answer(one)) for one in asked], {"people": count}


def with_loras(
    recipe: Callable[[Stage], Recipe], stage: Stage, asked: Sequence[Asked], *, rows: bool = False
) -> Replies:
    """Ask with a LoRA for each user."""
    return lora_users.ask_with_loras(stage, asked, recipe(stage), rows=rows)


def rows_only(stage: Stage, asked: Sequence[Asked]) -> Replies:
    """Ask with rows that were written without any adapter."""
    tables = _own_tables(stage, asked)
    said = say(stage.model, stage.tokenizer, _questions(asked), tables)
    return said, _of_tables(stage)


def skill_only(stage: Stage, asked: Sequence[Asked]) -> Replies:
    """Ask with the skill, without a table."""
    nobody = [None] * len(asked)
    return say_with_skill(stage.model, stage.tokenizer, _questions(asked), nobody), {}


def rows_and_skill(
    stage: Stage, asked: Sequence[Asked], *, wrong_user: bool = False, calculate: bool = False
) -> Replies:
    """Ask with the skill and the user's table, or the next user's."""
    pairs = next_users(stage.users) if wrong_user else {}
    tables = [stage.tables[pairs[one.uid].uid if wrong_user else one.uid] for one in asked]
    said = say_with_skill(
        stage.model, stage.tokenizer, _questions(asked), tables, calculate=calculate
    )
    return said, _of_tables(stage)


def in_context(stage: Stage, asked: Sequence[Asked], *, skill: bool) -> Replies:
    """Ask behind all of the user's facts."""
    return _told(stage, asked, [stage.user(one.uid).lines for one in asked], skill=skill)


def retrieved(stage: Stage, asked: Sequence[Asked], *, skill: bool) -> Replies:
    """Ask behind the facts that an encoder finds nearest to the question."""
    if stage.encoder is None:
        raise RuntimeError("Retrieval needs its encoder.")
    lines: dict[tuple[str, str], Sequence[str]] = {}
    sizes: list[int] = []
    for user in stage.users:
        questions = _questions([one for one in asked if one.uid == user.uid])
        retrieval = Retrieval(stage.setting, stage.encoder, TOP)
        retrieval.write(user.known)
        sizes.append(retrieval.nbytes)
        found = retrieval.told(questions) if questions else []
        lines |= {(user.uid, q): told for q, told in zip(questions, found, strict=True)}
    every = [lines[one.uid, one.question] for one in asked]
    said, notes = _told(stage, asked, every, skill=skill)
    return said, notes | {"bytes": statistics.mean(sizes)}


def _told(
    stage: Stage, asked: Sequence[Asked], lines: Sequence[Sequence[str]], *, skill: bool
) -> Replies:
    """Ask behind lines, without any table."""
    questions = _questions(asked)
    texts = [told(some, question) for some, question in zip(lines, questions, strict=True)]
    if skill:
        said = say_with_skill(stage.model, stage.tokenizer, texts, [None] * len(texts))
    else:
        said = say(stage.model, stage.tokenizer, texts)
    sizes = [sum(len(line.encode()) + 1 for line in user.lines) for user in stage.users]
    notes = {
        "bytes": statistics.mean(sizes),
        "context_tokens": added_tokens(stage.tokenizer, texts, questions),
    }
    return said, notes


_BARE, _ROWS, _SKILL = State.BARE, State.ROWS, State.SKILL
_published = partial(with_loras, lora_users.as_published)
_fair = partial(with_loras, lora_users.as_fair)
_lora = {"is_seeded": True, "is_lora": True, "is_said": True, "asks_direct": True}
_free = {"is_said": True, "asks_direct": True}

CONDITIONS = (
    Condition("untouched", "the model, untouched", _BARE, untouched, **_free),
    Condition("constant", f'the constant "{CONSTANT.strip()}"', _BARE, constant, is_said=True),
    Condition("prior-data", "prior: commonest answer of the training users", _BARE, prior_of_data),
    Condition(
        "prior-people",
        "prior: commonest answer of made-up people",
        _BARE,
        prior_of_people,
        is_seeded=True,
    ),
    Condition("lora-published", "LoRA per user, as published", _BARE, _published, **_lora),
    Condition("lora-fair", "LoRA per user, fair", _BARE, _fair, **_lora),
    Condition("lora-rows", "LoRA per user, fair + rows", _BARE, partial(_fair, rows=True), **_lora),
    Condition("context", "facts in context", _BARE, partial(in_context, skill=False), **_free),
    Condition(
        "retrieval",
        f"retrieval, top {TOP}",
        _BARE,
        partial(retrieved, skill=False),
        is_said=True,
        needs_encoder=True,
    ),
    Condition("rows", "rows only", _ROWS, rows_only, **_free),
    Condition("skill", "skill only, no table", _SKILL, skill_only),
    Condition(
        "wrong-user",
        "rows of a wrong user + skill",
        _SKILL,
        partial(rows_and_skill, wrong_user=True),
    ),
    Condition("rows-skill", "**rows + skill**", _SKILL, rows_and_skill, asks_direct=True),
    Condition(
        "rows-skill-sums",
        "rows + skill, sums calculated (an option, no part of the claim)",
        _SKILL,
        partial(rows_and_skill, calculate=True),
    ),
    Condition(
        "context-skill",
        "facts in context + skill",
        _SKILL,
        partial(in_context, skill=True),
        asks_direct=True,
    ),
    Condition(
        "retrieval-skill",
        f"retrieval, top {TOP} + skill",
        _SKILL,
        partial(retrieved, skill=True),
        needs_encoder=True,
    ),
)
"""All of them, in the order of the table."""

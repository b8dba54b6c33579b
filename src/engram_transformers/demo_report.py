"""What the demo found, as it goes into its JSON file."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from engram_transformers import __version__
from engram_transformers.facts import Prompt


@dataclass(frozen=True)
class Answer:
    """What the model said to one prompt.

    Attributes:
        owner: Whose table was read.
        prompt: The prompt.
        expected: The fact's answer.
        before: What the model said before anything was written.
        after: What it says with the table.
    """

    owner: str
    prompt: Prompt
    expected: str
    before: str
    after: str


@dataclass(frozen=True)
class Recall:
    """How many facts were answered whole, by free greedy generation.

    Attributes:
        where: In what surroundings.
        asked: Prompts asked; every wording of a fact counts.
        right: Prompts answered whole.
        wrong: For the others: prompt, expected answer, what was said.
    """

    where: str
    asked: int
    right: int
    wrong: tuple[tuple[Prompt, str, str], ...]


@dataclass(frozen=True)
class UserFigures:
    """One user's table.

    Attributes:
        owner: The user.
        facts: Facts given.
        written: Facts written.
        failed: Facts left out: prompt, answer, reason, what the model said.
        write_seconds: Time spent finding rows.
        ask_seconds: Time that `write` spent asking each fact.
        steps: Optimisation steps.
        rows: Rows in the table.
        table_bytes: Of rows and addresses.
        file_bytes: Of the saved table, facts' texts included.
        file_bytes_without_text: Of the table saved with store_text=False.
        recall: In each kind of surroundings.
    """

    owner: str
    facts: int
    written: int
    failed: tuple[tuple[Prompt, str, str, str], ...]
    write_seconds: float
    ask_seconds: float
    steps: int
    rows: int
    table_bytes: int
    file_bytes: int
    file_bytes_without_text: int
    recall: tuple[Recall, ...]


@dataclass(frozen=True)
class BatchFigures:
    """The same prompts for both users and for nobody, in one batch.

    Attributes:
        samples: Size of the batch.
        asked: Samples that have a table.
        right: Samples that were answered with their own owner's answer.
        without_table: Samples that have none.
        unchanged: How many of these say what they say when no sample has a table.
        shown: Prompt and each sample's answer, for some prompts.
    """

    samples: int
    asked: int
    right: int
    without_table: int
    unchanged: int
    shown: tuple[tuple[Prompt, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Locality:
    """What tables change in texts: logits at every position, compared with the base bit for bit.

    Attributes:
        texts: Texts compared.
        tokens: Positions compared.
        identical: Texts of which all logits are the base's.
        fired: Texts in which some row was read.
        tokens_fired: Positions at which a row was read.
        fired_texts: The texts in which one was.
        unexplained: Texts that changed although no row was read in them.
    """

    texts: int
    tokens: int
    identical: int
    fired: int
    tokens_fired: int
    fired_texts: tuple[str, ...]
    unexplained: tuple[str, ...]


@dataclass(frozen=True)
class Erasure:
    """What erasing left behind.

    Attributes:
        prompt: Of the one fact that was erased first.
        answer: Its answer.
        said_after: What the model says now.
        forgotten: Whether the logits at its prompts are the base's again.
        others_asked: Prompts of the user's other facts.
        others_right: How many of them are still answered whole.
        texts: Texts compared with the base after erasing everything, all prompts included.
        identical: How many of them have the base's logits.
    """

    prompt: Prompt
    answer: str
    said_after: str
    forgotten: bool
    others_asked: int
    others_right: int
    texts: int
    identical: int


@dataclass(frozen=True)
class AroundCorners:
    """A question that has none of the words of a trigger, asked with the skill.

    Attributes:
        question: The question.
        expected: The answer.
        recited: What the model said before it answered: what it recalled, and its working.
        said: Its answer; empty if it came to none.
    """

    question: str
    expected: str
    recited: str
    said: str


@dataclass(frozen=True)
class Promise:
    """Something that must hold.

    Attributes:
        name: What.
        held: Whether it did.
        seen: The figures.
    """

    name: str
    held: bool
    seen: str


@dataclass(frozen=True)
class DemoReport:
    """Everything that the demo found.

    Attributes:
        model: Hub id, or the name of the folder.
        model_fingerprint: Of its weights.
        config: The memories' settings.
        load_seconds: Loading model and tokenizer.
        seconds: All of the demo.
        answers: A few answers before and after.
        users: One entry per user.
        one_batch: Both users in one batch; None if they have no prompt in common.
        unrelated: Sentences of Python's documentation.
        near: Sentences with words of the facts.
        erasure: After erasing; None if nothing was written.
        promises: What had to hold.
        around_corners: Answers with the skill; none if no skill comes with the model.
    """

    model: str
    model_fingerprint: str
    config: dict[str, Any]
    load_seconds: float
    seconds: float
    answers: tuple[Answer, ...]
    users: tuple[UserFigures, ...]
    one_batch: BatchFigures | None
    unrelated: Locality
    near: Locality
    erasure: Erasure | None
    promises: tuple[Promise, ...]
    around_corners: tuple[AroundCorners, ...] = ()

    def to_json(self) -> str:
        """Return the report with versions and machine, as JSON text. It names no paths."""
        return json.dumps(
            {"versions": _versions(), "machine": _machine(), **asdict(self)},
            ensure_ascii=False,
            indent=2,
        )


def shown_name(model: str) -> str:
    """Return a model's name without the folders that it is in."""
    path = Path(model).expanduser()
    return path.resolve().name if path.is_dir() else model


def _versions() -> dict[str, str]:
    return {
        "engram-transformers": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda_device": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }

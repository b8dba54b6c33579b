"""What a part of the transfer experiment is made of: tables, and questions to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.common import read_data
from engram_transformers import Episode
from engram_transformers.facts import FactLike

SOURCE = "data of github.com/19PINE-AI/user-as-engram (Apache-2.0)"
SEED = 9000
"""Added to the seed: what is made up is other than what the skill is trained on."""


class Question(NamedTuple):
    """A question to a table.

    Attributes:
        kind: What it is counted under.
        text: The question.
        answer: The right answer.
        table: The name of the table that it is asked with; None for no table.
        is_control: Whether it lacks what it needs, so that the right answer is not to be expected.
    """

    kind: str
    text: str
    answer: str
    table: str | None
    is_control: bool = False


class Part(NamedTuple):
    """A part of the experiment.

    Attributes:
        tables: Name -> facts.
        questions: All questions.
        prior: Kind -> how many of its answers are right by the prior, and how many it has.
    """

    tables: Mapping[str, Sequence[FactLike]]
    questions: Sequence[Question]
    prior: Mapping[str, tuple[int, int]] = {}


def tables_of(episodes: Sequence[Episode], name: str) -> dict[str, Sequence[FactLike]]:
    """Return each episode's facts under a name of its own, in the episodes' order."""
    return {f"{name} {number}": one.facts for number, one in enumerate(episodes)}


def read_json(data: Path, name: str) -> Any:
    """Return a file of the evaluation data.

    Raises:
        FileNotFoundError: If it is missing, naming where the data is from.
    """
    return read_data(data / "user_as_engram" / name, SOURCE)

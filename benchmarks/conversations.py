"""Long conversations, what was observed about their speakers, and questions: LoCoMo."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.methods import KnownFact

SOURCE = "locomo10.json of github.com/snap-research/locomo (CC BY-NC 4.0)"
SINGLE_HOP = 4
"""The category of questions that one turn answers."""
SHORTEST_START = 3
"""Words."""


class Observation(NamedTuple):
    """A sentence about a speaker.

    Attributes:
        text: The sentence.
        turns: The turns that it was drawn from.
    """

    text: str
    turns: frozenset[str]


class Asked(NamedTuple):
    """A question about the conversation.

    Attributes:
        question: The question.
        answer: What is expected.
        evidence: The turns that answer it.
    """

    question: str
    answer: str
    evidence: frozenset[str]


class Conversation(NamedTuple):
    """One of the ten.

    Attributes:
        name: In the data.
        lines: Every turn as a line, with the dates of sessions between.
        observations: In the order of the sessions.
        asked: The questions of one category.
    """

    name: str
    lines: list[str]
    observations: list[Observation]
    asked: list[Asked]


def load_conversations(data: Path, category: int = SINGLE_HOP) -> list[Conversation]:
    """Return the conversations; nothing where they are missing."""
    path = data / "locomo" / "locomo10.json"
    if not path.exists():
        return []
    return [_conversation(sample, category) for sample in json.loads(path.read_text("utf-8"))]


def _conversation(sample: dict[str, Any], category: int) -> Conversation:
    talk = sample["conversation"]
    lines: list[str] = []
    observations: list[Observation] = []
    for number in range(1, len(talk)):
        turns = talk.get(f"session_{number}")
        if not isinstance(turns, list):
            continue
        lines.append(f"[{talk.get(f'session_{number}_date_time', '')}]")
        lines += [f"{turn['speaker']}: {turn['text']}" for turn in turns if "text" in turn]
        seen = sample["observation"].get(f"session_{number}_observation", {})
        for sentences in seen.values():
            for text, where in sentences:
                names = where if isinstance(where, list) else [where]
                observations.append(Observation(text.strip(), frozenset(names)))
    asked = [
        Asked(qa["question"], str(qa["answer"]), frozenset(qa["evidence"]))
        for qa in sample["qa"]
        if qa["category"] == category
    ]
    return Conversation(sample["sample_id"], lines, observations, asked)


def as_facts(observations: Sequence[Observation]) -> list[KnownFact]:
    """Cut each observation into a trigger and an answer, without a look at any question.

    The trigger is the shortest beginning of at least three words that no other observation of the
    conversation begins with; the rest is the answer. What has no rest, or is said twice, is left
    out.
    """
    split = [observation.text.rstrip(".").split() for observation in observations]
    folded = [tuple(_folded(word) for word in words) for words in split]
    beginnings: dict[tuple[str, ...], int] = {}
    for words in set(folded):
        for length in range(SHORTEST_START, len(words) + 1):
            key = words[:length]
            beginnings[key] = beginnings.get(key, 0) + 1
    facts: dict[tuple[str, ...], KnownFact] = {}
    for words, keys in zip(split, folded, strict=True):
        for length in range(SHORTEST_START, len(words)):
            if beginnings[keys[:length]] == 1:
                fact = KnownFact(" ".join(words[:length]), " ".join(words[length:]))
                facts.setdefault(keys, fact)
                break
    return list(facts.values())


def _folded(word: str) -> str:
    return "".join(c for c in word.casefold() if c.isalnum())

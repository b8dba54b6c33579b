"""Facts that are written in one wording and asked in others, which are never written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.asking import Question
from benchmarks.facts import SOURCE, folded, made_up_facts
from benchmarks.methods import KnownFact

RELATIONS = "github.com/evandez/relations (MIT)"


class Group(NamedTuple):
    """What one owner knows and is asked.

    Attributes:
        owner: Whose facts these are.
        facts: What is written, with distinct prompts.
        questions: What is asked.
    """

    owner: str
    facts: list[KnownFact]
    questions: list[Question]


class Rewordings(NamedTuple):
    """One set of facts and rewordings.

    Attributes:
        name: In results.
        about: What is written and what is asked.
        source: Where it is from.
        groups: One table each.
        questions: Whether what is asked are questions, not sentences to go on with.
    """

    name: str
    about: str
    source: str
    groups: list[Group]
    questions: bool


def rewordings(data: Path, users: int, subjects: int, seed: int) -> list[Rewordings]:
    """Return every set that can be had.

    Args:
        data: Folder of the evaluation data; sets that are not there are left out.
        users: How many of the users.
        subjects: Of each relation, at most.
        seed: Of the project's own generator.
    """
    found = [_sentences(data), _users(data, users), _relations(data, subjects)]
    kept = [one for one in found if one is not None]
    if any(one.questions for one in kept):
        return kept
    return [*kept, _generated(100, seed)]


def _sentences(data: Path) -> Rewordings | None:
    path = data / "user_as_engram" / "paraphrase_16x4.json"
    if not path.exists():
        print(f"{path.name} is not there (see {SOURCE}): left out.")
        return None
    entries = json.loads(path.read_text(encoding="utf-8"))
    facts = _distinct(KnownFact(e["prompt"], e["gold"].strip()) for e in entries)
    asked = [Question(text, e["gold"].strip()) for e in entries for text in e["paraphrases"]]
    return Rewordings(
        "reworded sentences",
        "one sentence is written, four others that lead to the same answer are asked",
        f"paraphrase_16x4.json of {SOURCE}",
        [Group("user", facts, _held_out(asked, facts))],
        questions=False,
    )


def _users(data: Path, count: int) -> Rewordings | None:
    folder = data / "user_as_engram" / "users"
    paths = sorted(folder.glob("u*.json"))[:count]
    if not paths:
        print(f"No users in {folder.name} (see {SOURCE}): left out.")
        return None
    groups: list[Group] = []
    for path in paths:
        user = json.loads(path.read_text(encoding="utf-8"))
        said = [
            cut_before(sentence, _as_text(fact["answer"]))
            for fact in user["facts"]
            for sentence in fact["paraphrases"]
        ]
        facts = _distinct(fact for fact in said if fact is not None)
        asked = [Question(qa["question"], _as_text(qa["answer"])) for qa in user["direct_qa"]]
        groups.append(Group(user["uid"], facts, _held_out(asked, facts)))
    return Rewordings(
        "questions about a user",
        "statements are written, cut before the answer; direct questions are asked",
        f"users {groups[0].owner} to {groups[-1].owner} of {SOURCE}",
        groups,
        questions=True,
    )


def _relations(data: Path, subjects: int) -> Rewordings | None:
    """Write each subject in a relation's first template, and ask in the others.

    Objects go to another subject of the relation each, so that nothing can be answered from what
    a model knows of the world.
    """
    paths = sorted((data / "relations").glob("*/*.json"))
    if not paths:
        print(f"No relations (see {RELATIONS}): left out.")
        return None
    facts: list[KnownFact] = []
    asked: list[Question] = []
    for path in paths:
        # Some names are escaped twice there.
        text = re.sub(r"\\\\(u[0-9a-f]{4})", r"\\\1", path.read_text(encoding="utf-8"))
        relation = json.loads(text)
        first, *others = relation["prompt_templates"]
        if not others:
            continue
        pairs = {s["subject"]: s["object"] for s in relation["samples"]}
        names = list(pairs)[:subjects]
        for subject, told in zip(names, _exchanged([pairs[n] for n in names]), strict=True):
            facts.append(KnownFact(first.format(subject), told))
            asked += [Question(template.format(subject), told) for template in others]
    facts = _distinct(facts)
    return Rewordings(
        "other templates of a relation",
        "made-up pairs of real subjects and objects are written in one template, asked in others",
        RELATIONS,
        [Group("world", facts, _held_out(asked, facts))],
        questions=False,
    )


def _generated(count: int, seed: int) -> Rewordings:
    made = made_up_facts(count, seed)
    facts = [KnownFact(fact.trigger, fact.answer) for fact in made]
    return Rewordings(
        "questions about made-up facts",
        "sentences of the project's generator are written, its questions are asked",
        f"benchmarks/facts.py, seed {seed}",
        [Group("user", facts, [Question(fact.question, fact.answer) for fact in made])],
        questions=True,
    )


def cut_before(sentence: str, answer: str) -> KnownFact | None:
    """Cut a statement before the word that its answer begins with; None where there is none.

    All that follows is the answer: "45 minutes each way", "$1800".
    """
    place = sentence.find(answer)
    place = sentence.rfind(" ", 0, place) if place > 0 else -1
    if place <= 0:
        return None
    return KnownFact(sentence[:place].rstrip(), sentence[place:].strip().rstrip("."))


def _exchanged(values: list[str]) -> list[str]:
    """Return each place's next value that is another one."""
    count = len(values)
    return [
        next((v for n in range(1, count) if (v := values[(i + n) % count]) != value), value)
        for i, value in enumerate(values)
    ]


def _distinct(facts: Iterable[KnownFact]) -> list[KnownFact]:
    """Return facts with distinct triggers, the first of each."""
    return list(_first_of_each(facts, lambda fact: folded(fact.prompt)).values())


def _held_out(asked: list[Question], facts: list[KnownFact]) -> list[Question]:
    """Return the questions whose words are not a trigger that is written."""
    written = {folded(fact.prompt) for fact in facts}
    return [question for question in asked if folded(question.prompt) not in written]


def _first_of_each(items: Iterable[Any], key: Callable[[Any], str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        found.setdefault(key(item), item)
    return found


def _as_text(answer: Any) -> str:
    return ", ".join(map(str, answer)) if isinstance(answer, list) else str(answer)

"""Aliases: other names by which a fact is asked for, proposed by a teacher at write time."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from engram_transformers.canonical import normalise
from engram_transformers.errors import ConfigError
from engram_transformers.facts import Fact, FactLike, as_facts
from engram_transformers.skill.keys import name_of, recall_key
from engram_transformers.skill.teachers import Teacher, reply_of

_MOST_WORDS = 6
_REQUEST = """\
Somebody tells their assistant: "My {name} is ...". By which other names could they mean the same \
thing when they ask for it later? Give up to {count} short ones, one per line, and nothing else, \
each as it would stand in "My ... is". Only names of the same thing, not of something near it. \
These mean something else: {others}."""
_DECORATION = re.compile(r"^[\s\-*•\d.):]+|[\s.,;:]+$")
_QUOTES = "\"'“”‘’`"
_KEY = re.compile(r"^my\s+(.*?)(\s+is\b.*)?$", re.IGNORECASE)
_NAME = re.compile(r"[^\W_][\w'’ -]*")


def with_aliases(
    facts: FactLike | Iterable[FactLike], teacher: Teacher, *, count: int = 4
) -> list[Fact]:
    """Have a teacher propose other names for facts that are recalled by one.

    An alias is one more trigger to the same rows. Facts without a recall key ("My … is") stay as
    they are, and so do values: they are not shown to the teacher. A proposal is left out if it has
    more than six words, says the value, is a name of another fact, or was proposed for two facts:
    whom it means would be a guess. Whether the others mean what the fact does is up to the teacher:
    look at them before you write.

    Args:
        facts: All facts of one table, in any form that `UserTable.write` takes.
        teacher: A `ModelTeacher`, an `EndpointTeacher`, or any function from chat messages to text.
            It is asked once for each fact.
        count: How many names to ask for, and at most to take, for each fact.

    Returns:
        The facts in their order, each with the triggers that it had and the new ones behind them.

    Raises:
        TeacherError: If a request fails.
        FactError: If something is no fact.
        ConfigError: If `count` is not at least 1.

    Example:
        >>> with_aliases(("My phone is", "Pixel 9"), lambda messages: "smartphone")[0].prompts
        ('My phone is', 'My smartphone is')
    """
    if count < 1:
        raise ConfigError("count", count, "at least 1")
    known = as_facts(facts)
    names = [_names(fact) for fact in known]
    proposed: list[list[str]] = []
    for number, fact in enumerate(known):
        others = [some[0] for n, some in enumerate(names) if some and n != number]
        proposed.append(
            _proposed(fact, names[number][0], others, teacher, count) if names[number] else []
        )
    taken = {normalise(name) for some in names for name in some}
    often = Counter(name for some in proposed for name in {normalise(one) for one in some})
    return [
        dataclasses.replace(
            fact,
            paraphrases=(
                *fact.paraphrases,
                *(
                    recall_key(name)
                    for name in some
                    if normalise(name) not in taken and often[normalise(name)] == 1
                ),
            ),
        )
        for fact, some in zip(known, proposed, strict=True)
    ]


def _names(fact: Fact) -> list[str]:
    """Return the names by which a fact is recalled."""
    triggers = [one for one in fact.prompts if isinstance(one, str)]
    return [name for one in triggers if (name := name_of(one)) != " ".join(one.split())]


def _proposed(
    fact: Fact, name: str, others: Sequence[str], teacher: Teacher, count: int
) -> list[str]:
    """Return up to `count` names from a teacher's reply that may be the fact's."""
    text = _REQUEST.format(name=name, count=count, others="; ".join(others) or "nothing")
    found: dict[str, str] = {}
    for line in reply_of(teacher, [{"role": "user", "content": text}]).splitlines():
        said = _cleaned(line)
        if said and normalise(fact.answer) not in normalise(said):
            found.setdefault(normalise(said), said)
    return list(found.values())[:count]


def _cleaned(line: str) -> str:
    """Return the name that a line gives; empty if it is none."""
    said = _DECORATION.sub("", line).strip(_QUOTES)
    if found := _KEY.match(said):
        said = found[1].strip(_QUOTES)
    is_name = _NAME.fullmatch(said) and len(said.split()) <= _MOST_WORDS
    return " ".join(said.split()) if is_name else ""

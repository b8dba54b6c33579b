"""Episodes of chains: a fact names somebody or something, a second fact says more about it.

The second trigger begins with what the first one's row says, so it can only be said once that has
been read: "My doctor is Dr. Lee. Dr. Lee works at Amber House."
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks.skill.chain_texts import GROUPS, First, Group, Predicate
from engram_transformers import Episode, recall_key
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

UNKNOWN = 0.12
"""The share of chains of which a fact is missing."""
OTHERS = (2, 12)
"""How many facts a table has besides."""
SAME_PREDICATE = 0.6
"""The share of tables with another one's fact with the same predicate."""
ENTITY_ELSE = 0.4
"""The share of tables with another fact about the same one."""


class Form(NamedTuple):
    """One wording of a question for a predicate."""

    group: Group
    predicate: Predicate
    question: str


def forms() -> list[Form]:
    """Return all wordings."""
    return [
        Form(group, predicate, question)
        for group in GROUPS
        for predicate in group.predicates
        for question in predicate.asked
    ]


def episodes(count: int, seed: int) -> list[Episode]:
    """Return questions that take two facts; all wordings come before one repeats."""
    lot = random.Random(seed)
    made = _asked(lot)
    return [next(made) for _ in range(count)]


def _asked(lot: random.Random) -> Iterator[Episode]:
    deck = forms()
    while True:
        for form in lot.sample(deck, len(deck)):
            yield _episode(form, lot)


def _episode(form: Form, lot: random.Random) -> Episode:
    group, predicate = form.group, form.predicate
    first = group.first(lot, leads="{lead}" in form.question)
    trigger = predicate.trigger(first.entity)
    answer = predicate.value(lot)
    known = {first.trigger: first.said, trigger: answer}
    question = _question(form.question, first)
    others = _others(form, first, lot)
    needed = (first.trigger, trigger)
    if lot.random() < UNKNOWN:
        missing = lot.choice(needed)
        del known[missing]
        needed = needed[: needed.index(missing) + 1]
        if missing == first.trigger:  # how it would be told cannot be known
            needed = (recall_key(first.called),)
        answer = UNKNOWN_ANSWER
    # What is asked for is nobody else's.
    others = {
        key: said for key, said in others.items() if key not in (*needed, first.trigger, trigger)
    }
    table = [*known.items(), *others.items()]
    lot.shuffle(table)
    return Episode(table, question, answer, needed)


def _others(form: Form, first: First, lot: random.Random) -> dict[str, str]:
    """Make the other facts of a table; none names what may be called the same."""
    count, found = lot.randint(*OTHERS), dict[str, str]()
    if lot.random() < SAME_PREDICATE:
        rival = form.group.first(lot)
        if _is_another(rival, first):
            found[form.predicate.trigger(rival.entity)] = form.predicate.value(lot)
            found[rival.trigger] = rival.said
    if lot.random() < ENTITY_ELSE:
        other = _other(form.group.predicates, form.predicate, lot)
        found[other.trigger(first.entity)] = other.value(lot)
    while len(found) < count:
        group = lot.choice(GROUPS)
        one = group.first(lot)
        if not _is_another(one, first):
            continue
        found[one.trigger] = one.said
        if lot.random() < 0.5:
            predicate = lot.choice(group.predicates)
            found[predicate.trigger(one.entity)] = predicate.value(lot)
    return dict(list(found.items())[: OTHERS[1]])


def _is_another(one: First, first: First) -> bool:
    return one.entity != first.entity and not set(one.names) & set(first.names)


def _other(predicates: Sequence[Predicate], asked: Predicate, lot: random.Random) -> Predicate:
    """Choose one that does not say the same."""
    return lot.choice([one for one in predicates if one.asked != asked.asked])


def _question(template: str, first: First) -> str:
    question = template.format(my=first.called, lead=first.lead)
    return f"{question[0].upper()}{question[1:]}"

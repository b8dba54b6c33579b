"""Attributes that the skill was never trained on, asked in words that it was never trained on."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from benchmarks.setting import Setting
from benchmarks.skill import direct
from benchmarks.skill.attributes import Attribute
from benchmarks.skill.wordings import HELD_OUT
from benchmarks.transfers.questions import SEED, Part, Question
from engram_transformers import named_fact
from engram_transformers.facts import FactLike
from engram_transformers.skill.episodes import UNKNOWN_ANSWER

TEMPLATE = "held-out template"
SYNONYM = "synonym that is not stored"
WITH_WORD = "own question, with a word of the name"
WITHOUT_WORD = "own question, without one"
STORED = "synonym stored as an alias"
ABSENT = "not in the table: "
TEMPLATES = 4
"""So many templates are filled with each name; synonyms have one each."""
SYNONYMS = 3
_QUICK = 6
_SMALL_WORDS = ("and", "for", "the")


def make(setting: Setting) -> Part:
    """Ask for held-out attributes.

    Half of them are in one table and half in another, so that each is missing from one. No name of
    one is a name of another.
    """
    _, held_out = direct.split()
    if setting.quick:
        held_out = held_out[:_QUICK]
    lot = random.Random(SEED + setting.seed)
    half = len(held_out) // 2
    tables: dict[str, list[FactLike]] = {}
    questions: list[Question] = []
    for number, attribute in enumerate(held_out):
        own, other = ("first", "second") if number < half else ("second", "first")
        fact = direct.fact(attribute, lot)
        tables.setdefault(own, []).append(named_fact(attribute.key, fact.answer))
        tables.setdefault(f"{own}, with aliases", []).append(fact)
        asked = _asked(attribute, lot)
        questions += [Question(kind, text, fact.answer, own) for kind, text in asked]
        questions += [Question(ABSENT + kind, text, UNKNOWN_ANSWER, other) for kind, text in asked]
        questions += [
            Question(STORED, text, fact.answer, f"{own}, with aliases")
            for kind, text in asked
            if kind == SYNONYM
        ]
    return Part(tables, questions)


def _asked(attribute: Attribute, lot: random.Random) -> list[tuple[str, str]]:
    """Return questions for an attribute, each with its kind."""
    templates = lot.sample(HELD_OUT, TEMPLATES)
    asked = [(TEMPLATE, one.format(key=attribute.key)) for one in templates]
    asked += [
        (SYNONYM, lot.choice(HELD_OUT).format(key=name)) for name in attribute.aliases[:SYNONYMS]
    ]
    words = _words(attribute.key)
    asked += [
        (WITH_WORD if is_said(words, text) else WITHOUT_WORD, text) for text in attribute.questions
    ]
    return asked


def _words(name: str) -> list[str]:
    found = re.findall(r"\w+", name.lower())
    return [one for one in found if len(one) > 2 and one not in _SMALL_WORDS]


def is_said(words: Sequence[str], question: str) -> bool:
    """Say whether one of some words, or a longer one that begins with it, is in a question."""
    return any(re.search(rf"\b{re.escape(one)}", question.lower()) for one in words)

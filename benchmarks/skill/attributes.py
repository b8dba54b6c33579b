"""Personal attributes: their names, their other names, and questions that ask for them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from benchmarks.skill.values import KINDS, value

__all__ = ["KINDS", "Attribute", "attributes", "more_attributes", "value"]

_FILE = Path(__file__).with_name("attributes.tsv")
_MORE = Path(__file__).with_name("more_attributes.tsv")


@dataclass(frozen=True)
class Attribute:
    """Something that a user may tell about themselves.

    Attributes:
        key: Its name, as in "My <key> is <value>."
        kind: What its values are; one of `KINDS`.
        aliases: Other names of the same thing, to be used like the key.
        questions: What a user asks to hear the value; most avoid the words of the key.
    """

    key: str
    kind: str
    aliases: tuple[str, ...]
    questions: tuple[str, ...]


@functools.cache
def attributes() -> tuple[Attribute, ...]:
    """Return the attributes that are split, in the order of their file."""
    return _read(_FILE)


@functools.cache
def more_attributes() -> tuple[Attribute, ...]:
    """Return attributes that are only trained on, in the order of their file.

    They are apart from `attributes`, of which every so many are held out: what is added here
    does not change which ones.
    """
    return _read(_MORE)


def _read(file: Path) -> tuple[Attribute, ...]:
    _, *lines = file.read_text(encoding="utf-8").splitlines()
    return tuple(_parsed(line) for line in lines)


def _parsed(line: str) -> Attribute:
    key, kind, aliases, questions = line.split("\t")
    return Attribute(key, kind, tuple(aliases.split(" | ")), tuple(questions.split(" | ")))

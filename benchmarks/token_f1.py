"""How much a free answer has in common with the expected one, word by word, as SQuAD counts it."""

from __future__ import annotations

import re
import string
from collections import Counter

_ARTICLES = {"a", "an", "the", "and"}
"""LoCoMo leaves out "and" as well."""


def words_of(text: str) -> list[str]:
    """Return the words that count: no capitals, punctuation or articles. Nothing is stemmed."""
    bare = text.lower().translate(str.maketrans("", "", string.punctuation))
    return [word for word in re.split(r"\s+", bare) if word and word not in _ARTICLES]


def token_f1(said: str, answer: str) -> float:
    """Return the harmonic mean of precision and recall of words, 0 to 1."""
    found, wanted = words_of(said), words_of(answer)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted)) if common else float(found == wanted)


def is_exact(said: str, answer: str) -> bool:
    """Say whether the words that count are the same, in the same order."""
    return words_of(said) == words_of(answer)

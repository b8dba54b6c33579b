"""Recall keys: the one form of trigger that the skill recites."""

from __future__ import annotations

from collections.abc import Sequence

from engram_transformers.errors import EmptyFactError
from engram_transformers.facts import Fact, Prompt

_MOST_NAMES = 40
_MOST_WORDS = 180
"""Of their triggers, to keep the questions of a batch short."""


def recall_key(name: str) -> str:
    """Return the trigger by which the skill recalls something by its name.

    Args:
        name: What it is, as in "birth year" or "sister's birth year".

    Raises:
        EmptyFactError: If it has no text.

    Example:
        >>> recall_key("birth year")
        'My birth year is'
    """
    words = name.split()
    if words and words[0].lower() == "my":
        words = words[1:]
    if not words:
        raise EmptyFactError(name, "the name of what is to be recalled is empty.")
    return f"My {' '.join(words)} is"


def name_of(trigger: str) -> str:
    """Return the name that a recall key asks by; of another trigger the trigger itself.

    Args:
        trigger: As in "My birth year is", or "I live in".

    Example:
        >>> name_of("My birth year is"), name_of("I live in")
        ('birth year', 'I live in')
    """
    words = trigger.split()
    is_key = len(words) > 2 and words[0].lower() == "my" and words[-1] == "is"
    return " ".join(words[1:-1] if is_key else words)


def are_shown_at_once(triggers: Sequence[str]) -> bool:
    """Say whether a question may come with the names of so many triggers.

    What the skill is trained with, and asked with later.
    """
    words = sum(len(trigger.split()) for trigger in triggers)
    return len(triggers) <= _MOST_NAMES and words <= _MOST_WORDS


def named_fact(
    name: str,
    answer: str,
    *,
    aliases: str | Sequence[str] = (),
    prompts: str | Sequence[Prompt] = (),
) -> Fact:
    """Return a fact that the skill can recall by its name, and by others.

    All triggers lead to the same rows: an alias costs addresses, of 8 bytes and a row number each,
    one for each token of the answer and of its end.

    Args:
        name: What it is, as in "birth year".
        answer: What is to be said after "My birth year is".
        aliases: Another name for it, or several, as in "year of birth".
        prompts: Another trigger, or several, as in "I was born in".

    Raises:
        EmptyFactError: If a name, a trigger or the answer has no text.

    Example:
        >>> named_fact("birth year", "1993", aliases=("year of birth",)).prompts
        ('My birth year is', 'My year of birth is')
    """
    names = (aliases,) if isinstance(aliases, str) else aliases
    others = (prompts,) if isinstance(prompts, str) else prompts
    return Fact(recall_key(name), answer, (*map(recall_key, names), *others))

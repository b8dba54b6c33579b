"""Checking episodes: what they recite, compute and answer is gone through again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from engram_transformers.canonical import normalise
from engram_transformers.errors import EpisodeError
from engram_transformers.facts import as_facts
from engram_transformers.skill.episodes import UNKNOWN_ANSWER, Episode
from engram_transformers.skill.keys import recall_key
from engram_transformers.skill.quantities import NUMBER_WORDS, Quantity, quantities, tokens
from engram_transformers.skill.traces import ANSWER_MARK
from engram_transformers.skill.workings import listed, results

_YES, _NO = "yes", "no"
_CLOSED = frozenset((_YES, _NO, "the same", "same", "same age", "the same age", "both", "neither"))
"""Answers that a question may be put for, in words that no fact has."""
_SMALL = frozenset(
    """a an the of in on at for to by and or is are was than that it its i me my you your s not
    year years old month months week weeks day days hour hours minute minutes""".split()
)
"""Words that an answer may have without a source."""
_CHOICE = frozenset(("or", "among", "between"))
_RECALL_KEY = re.compile(r"My (?P<name>\S.*) is")


def check_episode(episode: Episode) -> None:
    """Raise unless an episode's answer follows from what it recites.

    Checked are: that the question does not give the answer away; that the triggers are the
    table's, or the last one is missing from it if the answer is that it is unknown; that each is
    used; that numbers in the working have a source and its steps are right; and that the answer is
    what the working comes to, or is made of what was recited. Not checked is what only somebody
    who understands the words could tell: whether the question asks for what is answered, and
    whether a comparison speaks for the "Yes" or "No", or the name, behind it. It is made for
    English.

    Args:
        episode: The episode.

    Raises:
        EpisodeError: If it is not so; `reason` is a phrase, and behind a colon what was seen.

    Example:
        >>> key = "My birth year is"
        >>> def episode(answer):
        ...     working = "2026 - 1993 = 33."
        ...     return Episode([(key, "1993")], "How old am I in 2026?", answer, key, working)
        >>> check_episode(episode("33"))
        >>> try:
        ...     check_episode(episode("34"))
        ... except EpisodeError as error:
        ...     print(error.reason)
        answer does not follow: it says '34', and the working comes to 33
    """
    try:
        _require_said_once(episode)
        if episode.answer == UNKNOWN_ANSWER:
            _require_unknown(episode)
        else:
            _require_following(episode)
    except ValueError as error:
        raise EpisodeError(episode.question, str(error)) from None


def is_unknown(answer: str) -> bool:
    """Say whether an answer is that something is unknown, however it is punctuated."""
    return _words(answer.replace("’", "'")) == _words(UNKNOWN_ANSWER)


def _require_said_once(episode: Episode) -> None:
    """Raise if the parts of the episode's trace could not be told apart."""
    if not episode.needed:
        raise ValueError("no fact is needed: such a question teaches nothing about facts")
    if len(set(episode.needed)) != len(episode.needed):
        raise ValueError("a trigger is needed twice")
    said = f"{episode.working} {episode.answer}"
    if ANSWER_MARK in said:
        raise ValueError(f"working or answer contain {ANSWER_MARK!r}")
    for trigger in _triggers(episode):
        if _contains(said, trigger):
            raise ValueError(f"the working recites: {trigger!r} belongs into what is needed")


def _require_unknown(episode: Episode) -> None:
    *before, last = episode.needed
    _require_known(episode, before)
    if episode.value(last) is not None:
        raise ValueError(f"what is there is said to be unknown: {last!r}")
    name = _RECALL_KEY.fullmatch(last)
    if name is None or recall_key(name["name"]) != last:
        raise ValueError(f"the missing trigger has another form than 'My … is': {last!r}")
    if episode.working.strip():
        raise ValueError("the answer is unknown, and there is a working")
    for trigger in _triggers(episode):
        if _content(trigger) == _content(last):
            raise ValueError(f"the missing trigger is another name for {trigger!r}: {last!r}")


def _require_following(episode: Episode) -> None:
    values = _require_known(episode, episode.needed)
    _require_open(episode, values)
    found = results(episode.working, values, episode.question)
    _require_used(episode, values)
    said = set(quantities(episode.answer))
    if _plain(episode.answer) in _CLOSED:
        _require_closed(episode, values)
    elif said and found:
        _require_result(episode, said, values, found)
    else:
        _require_recited(episode, said, values)


def _require_known(episode: Episode, triggers: Iterable[str]) -> list[str]:
    """Return what the table answers to triggers."""
    values: list[str] = []
    for trigger in triggers:
        value = episode.value(trigger)
        if value is None:
            raise ValueError(f"a needed trigger is not in the table: {trigger!r}")
        values.append(value)
    return values


def _require_open(episode: Episode, values: Sequence[str]) -> None:
    """Raise if a question that leaves no choice has its answer, or all that is to be recited."""
    if _plain(episode.answer) in _CLOSED or _leaves_choice(episode.question):
        return
    if _contains(episode.question, episode.answer):
        raise ValueError(f"the question gives it away: {episode.answer!r}")
    if all(_contains(episode.question, value) for value in values):
        raise ValueError(f"the question gives it away: {', '.join(values)!r}")


def _require_used(episode: Episode, values: Sequence[str]) -> None:
    """Raise if something is recited that leads to no answer."""
    if len(values) == 1 and _plain(episode.answer) in _CLOSED:
        return
    for place, value in enumerate(values):
        later = " ".join((*episode.needed[place + 1 :], episode.working, episode.answer))
        is_named = _contains(episode.question, value) or _contains(later, value)
        is_used = is_named or bool(_content(value) & _content(later))
        if not is_used and not set(quantities(value)) & set(quantities(later)):
            raise ValueError(f"what is recited is not used: {episode.needed[place]!r}")


def _require_closed(episode: Episode, values: Sequence[str]) -> None:
    """Raise if a "Yes" or "No" without a working contradicts what question and values share."""
    if episode.working.strip():
        return
    answer = _plain(episode.answer)
    members = [member for value in values for member in (value, *listed(value))]
    is_named = any(_contains(episode.question, member) for member in members)
    if (answer == _YES and not is_named) or (answer == _NO and is_named):
        verb = "names" if is_named else "does not name"
        reason = f"it says {episode.answer!r} without a working, and the question {verb} the value"
        raise _not_following(reason)
    if answer not in (_YES, _NO):
        raise _not_following(f"it says {episode.answer!r} without a working")


def _require_result(
    episode: Episode, said: set[Quantity], values: Sequence[str], found: Sequence[Quantity]
) -> None:
    last = found[-1]
    if not said & {last, Quantity(-last.value)}:
        raise _not_following(f"it says {episode.answer!r}, and the working comes to {last}")
    sources = (*values, episode.question, *episode.needed, episode.working)
    _require_sources(episode, said, sources)


def _require_recited(episode: Episode, said: set[Quantity], values: Sequence[str]) -> None:
    """Raise unless an answer that was not computed is made of recited values or of a choice."""
    if any(_contains(value, episode.answer) for value in values):
        return
    sources = (*values, episode.question)
    is_choice = _contains(episode.question, episode.answer)
    if not said and not is_choice and not _content(episode.answer) & _content(" ".join(sources)):
        raise _not_following(f"{episode.answer!r} is in nothing that was recited")
    numbers = sources if _leaves_choice(episode.question) else values
    if not said <= {quantity for text in numbers for quantity in quantities(text)}:
        raise _not_following(f"the number in {episode.answer!r} is neither recited nor computed")
    _require_sources(episode, said, (*sources, *episode.needed))


def _require_sources(episode: Episode, said: set[Quantity], sources: Sequence[str]) -> None:
    """Raise if the answer has a word or a number that nothing before it has."""
    source = " ".join(sources)
    has_source = _SMALL | NUMBER_WORDS.keys() | {*_words(source)}
    spoken = [one.text for one in tokens(normalise(episode.answer)) if one.kind == "word"]
    strange = [word for text in spoken for word in _words(text) if word not in has_source]
    if strange:
        raise _not_following(f"nothing before {episode.answer!r} says {strange[0]!r}")
    if not {abs(one.value) for one in said} <= {abs(one.value) for one in quantities(source)}:
        raise _not_following(f"a number in {episode.answer!r} comes from nowhere")


def _leaves_choice(question: str) -> bool:
    return not _CHOICE.isdisjoint(_words(question))


def _not_following(reason: str) -> ValueError:
    return ValueError(f"answer does not follow: {reason}")


def _triggers(episode: Episode) -> list[str]:
    return [
        prompt
        for fact in as_facts(episode.facts)
        for prompt in fact.prompts
        if isinstance(prompt, str)
    ]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", normalise(text))


def _plain(text: str) -> str:
    return " ".join(_words(text))


def _content(text: str) -> set[str]:
    """Return the words that tell one thing from another."""
    return {*_words(text)} - _SMALL


def _contains(text: str, phrase: str) -> bool:
    """Say whether a phrase is in a text, in whole words."""
    plain = _plain(phrase)
    return bool(plain) and f" {plain} " in f" {_plain(text)} "

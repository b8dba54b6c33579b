"""Replies: what a teacher wrote, read as drafts of episodes."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, cast

from engram_transformers.strict_json import parse_json, shown

_FIELDS = ("question", "answer", "needed", "working")
_END_OF_THOUGHT = "</think>"
_NEXT_LINE = re.compile(r"\n\s*(?=[{\[])")
_TRAILING_COMMA = re.compile(r",\s*[}\]]")
_SHOWN = 300  # characters


class Draft(NamedTuple):
    """An episode as a teacher wrote it, without its facts.

    Attributes:
        text: As it stands in the reply.
        question: The question.
        answer: The answer.
        needed: The triggers.
        working: The working.
    """

    text: str
    question: str
    answer: str
    needed: tuple[str, ...]
    working: str


class Rejected(NamedTuple):
    """Something that a teacher wrote and that is no episode.

    Attributes:
        text: What it wrote, shortened.
        reason: Why it is none: a phrase, and behind a colon what was seen.
    """

    text: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without what was seen."""
        return self.reason.partition(":")[0]


def read_reply(reply: str) -> list[Draft | Rejected]:
    """Read what a teacher wrote.

    Objects may stand one per line, in a list, or in a code fence, with other text around them.
    What stands before the end of a thought is left out.

    Args:
        reply: The text.

    Returns:
        A draft for each object that has its fields, and the rejected others; at least one of them.

    Example:
        >>> (draft,) = read_reply('Sure! {"question": "Who?", "needed": [], "answer": "Ann"}')
        >>> draft.answer
        'Ann'
    """
    text = reply.rpartition(_END_OF_THOUGHT)[2]
    found: list[Draft | Rejected] = []
    place = text.find("{")
    while place >= 0:
        try:
            end = json.JSONDecoder().raw_decode(text, place)[1]
            value = parse_json(text[place:end].encode(errors="surrogatepass"))
            found += [_draft(one, text[place:end]) for one in _unwrapped(value)]
        except (ValueError, RecursionError) as error:
            end = _next_object(text, place, error)
            found.append(_rejected(text[place:end].strip(), _reason(error)))
        place = text.find("{", end)
    return found or [_rejected(reply.strip(), "the reply holds no JSON object")]


def _next_object(text: str, place: int, error: ValueError | RecursionError) -> int:
    """Return where to go on behind an object that can't be read."""
    if isinstance(error, RecursionError):  # each level of it would be one more
        following = _NEXT_LINE.search(text, place + 1)
        return following.end() if following else len(text)
    end = text.find("{", place + 1)
    return len(text) if end < 0 else end


def _unwrapped(value: dict[str, Any]) -> list[Any]:
    """Return the objects of {"episodes": [object, …]}, or else the object itself."""
    (only, *others) = value.values() or [None]
    if not others and isinstance(only, list) and only and isinstance(only[0], dict):
        return cast("list[Any]", only)
    return [value]


def _draft(value: Any, text: str) -> Draft | Rejected:
    if not isinstance(value, dict):
        return _rejected(text, f"a field is wrong: {shown(cast(object, value))} is no object")
    given = {"working": "", **cast("dict[str, Any]", value)}
    missing = [name for name in _FIELDS if name not in given]
    if missing:
        return _rejected(text, f"a field is missing: {', '.join(missing)}")
    needed: Any = given["needed"]
    triggers = cast("list[Any]", [needed] if isinstance(needed, str) else needed)
    if not isinstance(needed, (str, list)) or not all(isinstance(one, str) for one in triggers):
        return _rejected(text, f"a field is wrong: needed is {shown(needed)}, not a list of texts")
    if type(given["answer"]) is int:  # many write {"answer": 33}
        given["answer"] = str(given["answer"])
    for name in ("question", "answer", "working"):
        if not isinstance(given[name], str):
            return _rejected(text, f"a field is wrong: {name} is {shown(given[name])}, not text")
    question, answer, working = (
        " ".join(given[name].split()) for name in ("question", "answer", "working")
    )
    if not question or not answer:
        return _rejected(text, "question or answer are empty")
    return Draft(_shortened(text), question, answer, tuple(map(_one_line, triggers)), working)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "an object can't be read: it is nested too deeply"
    if not isinstance(error, json.JSONDecodeError):
        return f"an object can't be read: it {error}"
    # Where the comma stands is told since Python 3.13; before, what stands behind it.
    comma = error.doc.rfind(",", 0, error.pos + 1)
    if comma >= 0 and _TRAILING_COMMA.match(error.doc, comma):
        return "an object can't be read: JSON has no comma before a closing bracket"
    return f"an object can't be read: it is not JSON ({error.msg.removesuffix(' at')})"


def _rejected(text: str, reason: str) -> Rejected:
    return Rejected(_shortened(text), reason)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"

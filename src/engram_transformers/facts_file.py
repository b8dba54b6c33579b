"""Reading facts from JSON and JSON Lines."""

from __future__ import annotations

import json
from typing import Any, cast

from engram_transformers.errors import FactError, FactsFileError
from engram_transformers.facts import Fact, as_facts


def parse_facts(text: str, source: str) -> list[Fact]:
    """Read facts from text.

    Args:
        text: A JSON list, or one JSON value per line (empty lines are skipped). Each value is
            {"prompt": …, "answer": …, "paraphrases": […]} or [prompt, answer]. A prompt is a text
            or a list of chat messages, {"role": …, "content": …}.
        source: The file's name, for errors.

    Returns:
        The facts, in order; at least one.

    Raises:
        FactsFileError: If the text is not that; the first problem is named with its place.
    """
    values = _values(text, source)
    if not values:
        raise FactsFileError(source, "there are none in it.")
    return [_fact(value, place, source) for place, value in values]


def _values(text: str, source: str) -> list[tuple[str, Any]]:
    """Return the JSON values with their places."""
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        return _lines(text, source, error)
    if isinstance(whole, list) and not _is_pair(whole):
        items = cast("list[Any]", whole)
        return [(f"fact {number}", value) for number, value in enumerate(items, 1)]
    return [("fact 1", whole)]


def _lines(text: str, source: str, whole_error: json.JSONDecodeError) -> list[tuple[str, Any]]:
    values: list[tuple[str, Any]] = []
    # Not splitlines(): JSON strings may hold other line separators as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values.append((f"line {number}", json.loads(line)))
        except json.JSONDecodeError as line_error:
            # Where already the first line is none, it is a broken list rather than a broken line.
            error, place = (line_error, number) if values else (whole_error, whole_error.lineno)
            problem = f"line {place}, column {error.colno} is not JSON: {error.msg}."
            raise FactsFileError(source, problem) from None
    return values


def _fact(value: Any, place: str, source: str) -> Fact:
    if isinstance(value, list) and _is_pair(value):
        value = tuple(cast("list[Any]", value))
    elif not isinstance(value, dict):
        problem = (
            f"{place} is {json.dumps(value, ensure_ascii=False)[:80]}, but must be"
            ' {"prompt": …, "answer": …} or [prompt, answer].'
        )
        raise FactsFileError(source, problem)
    try:
        return as_facts(value)[0]
    except FactError as error:
        raise FactsFileError(source, f"{place}: {error}") from error


def _is_pair(value: Any) -> bool:
    """Say whether a value is [prompt, answer]: it ends in a text, so it is no list of facts."""
    if not isinstance(value, list):
        return False
    items = cast("list[Any]", value)
    return len(items) == 2 and isinstance(items[1], str)

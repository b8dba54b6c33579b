"""JSON from files that nobody vouches for."""

from __future__ import annotations

import json
from typing import Any, cast

_DEEPEST = 16  # levels; a ledger of chats has 7


def parse_json(data: bytes) -> Any:
    """Parse JSON strictly: UTF-8, no key twice, no NaN, at most 16 levels.

    Raises:
        ValueError: With the reason, as a predicate.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start})") from None
    try:
        value = json.loads(text, object_pairs_hook=_distinct_keys, parse_constant=_refuse_constant)
        if "\\u" in text:  # an escape can spell half of a surrogate pair, which is not text
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError(f"is nested deeper than {_DEEPEST} levels") from None
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None
    if _is_deeper(value, _DEEPEST):
        raise ValueError(f"is nested deeper than {_DEEPEST} levels")
    return value


def is_same_json(mine: Any, theirs: Any) -> bool:
    """Compare as JSON: unlike `==`, this tells 1, 1.0 and true apart."""
    return json.dumps(mine, sort_keys=True) == json.dumps(theirs, sort_keys=True)


def shown(value: object) -> str:
    """Return a value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key is there twice")
    return fields


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _is_deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels + 1):
        nested: list[Any] = []
        for container in layer:
            if isinstance(container, dict):
                nested += cast("dict[str, Any]", container).values()
            elif isinstance(container, list):
                nested += cast("list[Any]", container)
        if not nested:
            return False
        layer = nested
    return True

"""Workings: what leads from recited values to an answer, computed again."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from engram_transformers.canonical import normalise
from engram_transformers.skill.quantities import (
    Operand,
    Quantity,
    Token,
    computed,
    is_hours,
    is_stated,
    quantities,
    tokens,
)

CONSTANTS = (0, 1, 2, 7, 10, 12, 24, 52, 60, 100, 365, 1000)
"""Numbers that a working may use without a source: weeks, months, hours, per cent and the like."""
_LARGER = "after later more greater larger bigger higher above"
_SMALLER = "before earlier less fewer smaller lower below"
_COMPARISONS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "<": operator.lt,
    ">": operator.gt,
    "≤": operator.le,
    "≥": operator.ge,
    "≠": operator.ne,
    **dict.fromkeys(_LARGER.split(), operator.gt),
    **dict.fromkeys(_SMALLER.split(), operator.lt),
}
_NO_UNITS = frozenset("is are was were not so and or but then than which".split())
_MOST_UNITS = 2
_CLAUSE_END = re.compile(r"[.;!?](?:\s+|$)|\n")
_LIST_MARK = re.compile(r"\s*(?:[,;/&]|\band\b)\s*")
_NUMBERED = re.compile(r"(?:and )?(?P<name>.*\S) (?P<number>\d+)")
_TOTALLED = re.compile(r"(?P<names>.*\S)(?: (?:is|are|=)|:) (?P<number>\d+)(?: [^\W\d]+)?")


class _Side(NamedTuple):
    """What stands on one side of a relation: operands and the signs between them."""

    operands: list[Operand]
    signs: list[str]
    end: int


def listed(value: str) -> list[str]:
    """Return the members of a list in words, normalised.

    Example:
        >>> listed("Monday, Tuesday and Friday")
        ['monday', 'tuesday', 'friday']
    """
    return [part for part in _LIST_MARK.split(normalise(value)) if part]


def results(working: str, values: Sequence[str], question: str) -> list[Quantity]:
    """Compute a working again.

    Read are calculations ("2026 - 1993 = 33", "08:15 + 25 minutes = 08:40"), comparisons
    ("1993 < 1996", "1996 is after 1993") and counts ("Monday 1, Friday 2", "Monday and Friday are
    2 days"). Other words are not judged.

    Args:
        working: The working.
        values: What was recited.
        question: The question.

    Returns:
        What calculations and counts come to, in order.

    Raises:
        ValueError: If a step is wrong or can't be read, or a number comes from nowhere.

    Example:
        >>> [str(one) for one in results("2026 - 1993 = 33.", ["1993"], "My age in 2026?")]
        ['33']
    """
    given = [quantity for text in (*values, question) for quantity in quantities(text)]
    known = {*given, *(Quantity(Fraction(number)) for number in CONSTANTS)}
    found: list[Quantity] = []
    for clause in filter(None, map(str.strip, _CLAUSE_END.split(working))):
        count = _counted(clause, list(map(listed, values)))
        steps = _Clause(clause, known).results() if count is None else [count]
        found += steps
        known.update(steps)
    return found


def _counted(clause: str, lists: Sequence[Sequence[str]]) -> Quantity | None:
    """Return what a clause counts the members of recited lists to; None if it does not count."""
    body = normalise(clause)
    _, mark, rest = body.partition(": ")
    if mark and _names_numbered(rest):
        body = rest
    names = _names_numbered(body)
    stated = len(names)
    if not names:
        total = _TOTALLED.fullmatch(body)
        if total is None:
            return None
        names, stated = listed(total["names"]), int(total["number"])
    members = {name for one in lists for name in one}
    if not set(names) <= members or any(name.isdecimal() for name in names):
        return None
    touched = {name for one in lists if set(one) & set(names) for name in one}
    if len(set(names)) != len(names) or stated != len(names) or touched != set(names):
        raise ValueError(f"the working is wrong: {clause!r} does not count all members once")
    return Quantity(Fraction(stated))


def _names_numbered(text: str) -> list[str]:
    """Return the names of "a 1, b 2, c 3"; none if it is no such text."""
    parts = [_NUMBERED.fullmatch(part) for part in text.split(", ")]
    numbers = [int(part["number"]) for part in parts if part]
    if numbers != list(range(1, len(parts) + 1)):
        return []
    return [part["name"] for part in parts if part]


class _Clause:
    """A clause of a working, read from left to right.

    Attributes:
        text: The clause.
        known: What numbers it may use; its own results are added.
    """

    def __init__(self, text: str, known: Iterable[Quantity]) -> None:
        self.text = text
        self.known = set(known)
        self.tokens = tokens(text)

    def results(self) -> list[Quantity]:
        """Return what its calculations come to."""
        found: list[Quantity] = []
        place = 0
        while place < len(self.tokens):
            side = self._side(place) if self._may_begin(place) else None
            if side is not None:
                place = self._chain(place, side, found)
                continue
            if self.tokens[place].kind == "relation" and not self._is_label(place):
                raise self._unreadable()
            place += 1
        return found

    def _chain(self, start: int, side: _Side, found: list[Quantity]) -> int:
        """Follow sides that relations stand between; return where they end."""
        self._require_known(side)
        relation = self._relation(side.end)
        if relation and not self._is_after_break(start):
            raise self._unreadable()
        has_calculated = False
        while relation:
            symbol, place = relation
            following = self._side(place)
            if following is None:
                raise self._unreadable()
            has_calculated |= bool(side.signs)
            is_result = symbol == "=" and has_calculated and not following.signs
            if not is_result:
                self._require_known(following)
            self._require_true(side, symbol, following)
            if is_result:
                stated = following.operands[0].quantity
                self.known.add(stated)
                found.append(stated)
            side, relation = following, self._relation(following.end)
        return side.end

    def _require_known(self, side: _Side) -> None:
        for operand in side.operands:
            if operand.token.quantity not in self.known and operand.quantity not in self.known:
                raise ValueError(
                    f"a number comes from nowhere: {operand.token.text} in {self.text!r}"
                )

    def _require_true(self, side: _Side, symbol: str, following: _Side) -> None:
        left = computed(side.operands, side.signs)
        right = computed(following.operands, following.signs)
        if symbol != "=":
            is_true = _COMPARISONS[symbol](left.value, right.value)
        elif following.signs:
            is_true = left.value == right.value
        else:
            stated = following.operands[0]
            has_clocks = any(operand.quantity.is_clock for operand in side.operands)
            if has_clocks:
                stated = stated._replace(quantity=stated.beside_clocks())
            is_true = is_stated(left, stated, side.signs)
        if not is_true:
            reason = f"{self.text!r}, where {left} stands against {right}"
            raise ValueError(f"the working is wrong: {reason}")

    def _side(self, place: int) -> _Side | None:
        """Read operands and signs, as many as there are."""
        operands: list[Operand] = []
        signs: list[str] = []
        while True:
            operand = self._operand(place)
            if operand is None:
                break
            operands.append(operand[0])
            place = operand[1]
            if self._kind(place) != "sign" or self._operand(place + 1) is None:
                return _Side(operands, signs, place)
            signs.append(self.tokens[place].text)
            place += 1
        return None

    def _operand(self, place: int) -> tuple[Operand, int] | None:
        is_negative = self._kind(place) == "sign" and self.tokens[place].text == "-"
        place += is_negative
        if self._kind(place) != "quantity":
            return None
        token = self.tokens[place]
        value = -token.quantity.value if is_negative else token.quantity.value
        end = place + 1
        while end <= place + _MOST_UNITS and self._kind(end) == "word" and self._is_unit(end):
            end += 1
        quantity = Quantity(value, token.quantity.is_clock)
        return Operand(token, quantity, is_hours(self.tokens[place + 1 : end])), end

    def _relation(self, place: int) -> tuple[str, int] | None:
        """Return a relation and where its second side begins: "=", "<", or "is after"."""
        if self._kind(place) == "relation":
            return self.tokens[place].text, place + 1
        words = [token.text.lower() for token in self.tokens[place : place + 3]]
        if words and words[0] in ("is", "are", "was", "comes"):
            words, place = words[1:], place + 1
        if not words or words[0] not in _COMPARISONS:
            return None
        place += 2 if words[1:2] == ["than"] else 1
        return (words[0], place) if self._operand(place) is not None else None

    def _may_begin(self, place: int) -> bool:
        """Say whether a side may begin: a minus belongs to it if nothing stands before."""
        token: Token = self.tokens[place]
        return token.kind == "quantity" or (token.kind == "sign" and self._is_after_break(place))

    def _is_after_break(self, place: int) -> bool:
        """Say whether what begins here is no rest of something that was not understood."""
        if place == 0:
            return True
        before = self.tokens[place - 1]
        if before.kind == "relation":
            return self._is_label(place - 1)
        return before.kind == "word" or before.text in ",:(\"'“‘→"

    def _is_label(self, place: int) -> bool:
        """Say whether a relation is the sign behind a name, as in "age = 2026 - 1993 = 33"."""
        is_equal = self.tokens[place].text == "="
        return is_equal and self._kind(place - 1) == "word" and self._operand(place + 1) is not None

    def _is_unit(self, place: int) -> bool:
        word = self.tokens[place].text.lower()
        return word not in _NO_UNITS and word not in _COMPARISONS

    def _kind(self, place: int) -> str:
        return self.tokens[place].kind if 0 <= place < len(self.tokens) else ""

    def _unreadable(self) -> ValueError:
        return ValueError(f"the working can't be read: {self.text!r}")

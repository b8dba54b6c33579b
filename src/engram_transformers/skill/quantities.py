"""Quantities: the numbers and times of the day in a text, and what one does with them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

_DAY_MINUTES = 24 * 60
_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()
NUMBER_WORDS = {word: Fraction(number) for number, word in enumerate(_WORDS)}
"""What a text may spell out."""
_HOURS = frozenset(("hour", "hours", "hr", "hrs", "h"))
_SCANNED = re.compile(
    r"""
    (?P<clock>(?:[01]?\d|2[0-3]):[0-5]\d(?![\d:]))(?:\s?(?P<half>[ap])\.?m\b)?
    |(?P<hour>1[0-2]|[1-9])\s?(?P<hour_half>[ap])\.?m\b
    # A zero in front is a code's or a telephone number's: "0199" is not 199.
    |(?P<number>(?:[1-9]\d{0,2}(?:,\d{3})+(?!\d)|(?:0|[1-9]\d*)(?!\d))(?:\.\d+)?)
    |(?P<relation><=|>=|!=|[=<>≤≥≠])
    |(?P<sign>[-+*/×÷−–]|(?<=[\d\s])x(?=\s?\d))
    |(?P<word>\w[\w'’]*)
    |(?P<mark>[^\s$€£])
    """,
    re.VERBOSE,
)


class Quantity(NamedTuple):
    """A number, or a time of the day.

    Attributes:
        value: The number; of a time, the minutes since midnight.
        is_clock: Whether it is a time.
    """

    value: Fraction
    is_clock: bool = False

    def __str__(self) -> str:
        if self.is_clock:
            return f"{int(self.value) // 60:02}:{int(self.value) % 60:02}"
        numerator, denominator = self.value.as_integer_ratio()
        # Not a float, which can't be as large.
        digits = f"{Decimal(numerator) / denominator:.6f}".rstrip("0").rstrip(".")
        return digits if denominator > 1 else str(numerator)


class Token(NamedTuple):
    """A piece of a text.

    Attributes:
        kind: What it is.
        text: As it is written; signs and relations in one spelling each.
        quantity: The quantity that it is; of other kinds, 0.
        decimals: Digits behind its point.
    """

    kind: Literal["quantity", "relation", "sign", "word", "mark"]
    text: str
    quantity: Quantity = Quantity(Fraction(0))
    decimals: int = 0


_SPELLINGS = {"×": "*", "x": "*", "÷": "/", "−": "-", "–": "-", "<=": "≤", ">=": "≥", "!=": "≠"}


def tokens(text: str) -> list[Token]:
    """Cut a text into tokens. Currency signs are left out."""
    return list(map(_token, _SCANNED.finditer(text)))


def quantities(text: str) -> Iterator[Quantity]:
    """Yield the quantities of a text, spelled-out ones too.

    A time with "am" or "pm" is also yielded as it would be read without, and a full one of these
    as its number.

    Example:
        >>> [str(found) for found in quantities("2 cats from 5:30 pm on")]
        ['2', '17:30', '05:30']
    """
    for match in _SCANNED.finditer(text):
        token = _token(match)
        if token.kind == "word" and token.text.lower() in NUMBER_WORDS:
            yield Quantity(NUMBER_WORDS[token.text.lower()])
        if token.kind != "quantity":
            continue
        yield token.quantity
        if match["half"]:
            yield Quantity(_minutes(match["clock"], None), True)
        elif match["hour"]:
            yield Quantity(Fraction(match["hour"]))


def _token(match: re.Match[str]) -> Token:
    text = match[0]
    if match["clock"]:
        return Token("quantity", text, Quantity(_minutes(match["clock"], match["half"]), True))
    if match["hour"]:
        minutes = _minutes(f"{match['hour']}:00", match["hour_half"])
        return Token("quantity", text, Quantity(minutes, True))
    if match["number"]:
        plain = text.replace(",", "")
        return Token("quantity", text, Quantity(Fraction(plain)), len(plain.partition(".")[2]))
    spelled = _SPELLINGS.get(text, text)
    if match["relation"]:
        return Token("relation", spelled)
    if match["sign"]:
        return Token("sign", spelled)
    return Token("word" if match["word"] else "mark", text)


def _minutes(clock: str, half: str | None) -> Fraction:
    hour, minute = map(int, clock.split(":"))
    if half and hour <= 12:
        hour = hour % 12 + (12 if half in "pP" else 0)
    return Fraction(60 * hour + minute)


class Operand(NamedTuple):
    """A quantity within a calculation.

    Attributes:
        token: Its token.
        quantity: Its value; below zero behind a minus of its own.
        is_hours: Whether "hours" stands behind it.
    """

    token: Token
    quantity: Quantity
    is_hours: bool

    def beside_clocks(self) -> Quantity:
        """Return what is meant beside times of the day, which are counted in minutes."""
        return Quantity(self.quantity.value * 60) if self.is_hours else self.quantity


def is_hours(units: Sequence[Token]) -> bool:
    """Say whether the words behind a number are those of hours."""
    return any(unit.text.lower() in _HOURS for unit in units)


def computed(operands: Sequence[Operand], signs: Sequence[str]) -> Quantity:
    """Compute a calculation: products first, then sums, from left to right.

    Args:
        operands: At least one.
        signs: What stands between them.

    Raises:
        ValueError: If times are multiplied, or something is divided by zero.
    """
    has_clocks = any(operand.quantity.is_clock for operand in operands)
    terms = [one.beside_clocks() if has_clocks else one.quantity for one in operands[:1]]
    sums: list[str] = []
    for sign, operand in zip(signs, operands[1:], strict=True):
        quantity = operand.beside_clocks() if has_clocks else operand.quantity
        if sign in "*/":
            terms[-1] = _product(terms[-1], sign, quantity)
        else:
            sums.append(sign)
            terms.append(quantity)
    total = terms[0]
    for sign, term in zip(sums, terms[1:], strict=True):
        total = _sum(total, sign, term)
    return total


def _product(left: Quantity, sign: str, right: Quantity) -> Quantity:
    if left.is_clock or right.is_clock:
        raise ValueError("the working can't be read: a time of the day is multiplied or divided")
    if sign == "*":
        return Quantity(left.value * right.value)
    if not right.value:
        raise ValueError("the working is wrong: it divides by zero")
    return Quantity(left.value / right.value)


def _sum(left: Quantity, sign: str, right: Quantity) -> Quantity:
    value = left.value + right.value if sign == "+" else left.value - right.value
    is_clock = left.is_clock or right.is_clock
    if not is_clock:
        return Quantity(value)
    # From one time to another is a number of minutes, also past midnight.
    return Quantity(value % _DAY_MINUTES, not (left.is_clock and right.is_clock and sign == "-"))


def is_stated(exact: Quantity, stated: Operand, signs: Iterable[str]) -> bool:
    """Say whether a result is what a calculation comes to.

    A quotient may be rounded to the decimals that the result has, if it has any. Minutes between
    two times may be given in hours, or as hours and minutes.

    Args:
        exact: What the calculation comes to.
        stated: The result that was given.
        signs: What it calculates with.
    """
    off = abs(exact.value - stated.quantity.value)
    if stated.token.decimals and "/" in signs:
        return off <= Fraction(1, 2 * 10**stated.token.decimals)
    return not off

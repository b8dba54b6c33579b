"""Sums that a model has begun to say, completed."""

from __future__ import annotations

from engram_transformers.skill.quantities import Operand, computed, is_hours, tokens


def result_of(text: str) -> str | None:
    """Return what the calculation comes to that a text ends with; None if it ends with none.

    Args:
        text: As in "My birth year is 1993. 2026 - 1993 =".

    Example:
        >>> result_of("My birth year is 1993. 2026 - 1993 =")
        '33'
        >>> result_of("I start at 08:15 + 25 minutes =")
        '08:40'
    """
    found = tokens(text)
    if not found or found.pop().text != "=":
        return None
    operands: list[Operand] = []
    signs: list[str] = []
    while found:
        units = [found.pop()] if found[-1].kind == "word" else []
        number = found.pop() if found else None
        if number is None or number.kind != "quantity":
            break
        operands.insert(0, Operand(number, number.quantity, is_hours(units)))
        sign = found.pop() if found else None
        if sign is None or sign.kind != "sign":
            break
        signs.insert(0, sign.text)
    if len(operands) < 2 or len(signs) != len(operands) - 1:
        return None
    try:
        return str(computed(operands, signs))
    except ValueError:
        return None

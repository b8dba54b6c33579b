"""Which suffix of a trigger becomes the address: all of it, or the shortest that is unambiguous."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from engram_transformers.errors import ContradictionError

NOT_ALLOCATED = 0
# Behind the first tokens of an answer, the address always reaches back into the trigger, so that
# the answer's own words don't fire it elsewhere; this many answer tokens are skipped at most.
_LONGEST_REACH_BACK = 16
# Odd, as multipliers modulo 2^64 must be.
_MULTIPLIER = 0x5851F42D4C957F2D
_BASE = 0x14057B7EF767814F
_MASK = (1 << 64) - 1
# Equal suffixes are looked for where so many ids at their ends are equal.
_LONGEST_TAIL = 3


@dataclass(frozen=True)
class Line:
    """One wording, as allocation sees it.

    Attributes:
        canonical: Canonical ids of the trigger and of all targets but the last.
        next_ids: For each position of `canonical`, the token id that follows.
        first: The position of the trigger's last token: where the first target is said.
        fact: Which fact it belongs to.
        min_order: Shortest address allowed.
        whole: Use the trigger from `own` on, not the shortest suffix.
        own: The position where the trigger proper begins: 0, or in a chat the last message.
        guards: Canonical ids of texts that none of its addresses may occur in.
        at_least: Per position from `first` on, an order that is not to be undercut; empty for none.
            The addresses of facts that are in a table become longer, never shorter.
        shown: For errors.
    """

    canonical: tuple[int, ...]
    next_ids: tuple[int, ...]
    first: int
    fact: int
    min_order: int
    whole: bool
    own: int
    guards: tuple[tuple[int, ...], ...]
    at_least: tuple[int, ...]
    shown: object


def allocate(lines: Sequence[Line], max_order: int) -> list[list[int]]:
    """Choose an order for each written position of each line.

    A suffix is unambiguous if no other fact says anything after it, no prompt goes on differently
    after it, and no guard has it. Where a line's whole trigger is also part of another fact's
    prompt, that prompt is let off; where it ends another fact's trigger, the other fact's address
    is longer, and the longest match wins.

    Args:
        lines: All wordings that the table is to hold.
        max_order: The longest suffix that can be an address.

    Returns:
        For each line, one order per position from `first` on.

    Raises:
        ContradictionError: If two lines can't be told apart and go on differently, or a line can't
            be told apart from a guard.
    """
    orders = [[NOT_ALLOCATED] * (len(line.canonical) - line.first) for line in lines]
    due = [
        (number, position, _lowest(line, position, max_order))
        for number, line in enumerate(lines)
        for position in range(line.first, len(line.canonical))
    ]
    guards = list(dict.fromkeys(guard for line in lines for guard in line.guards))
    suffixes = _Suffixes([*(line.canonical for line in lines), *guards], due)
    while due:
        ends = _Endings(lines, guards, suffixes, max_order, due)
        left: list[_Place] = []
        for number, position, order in due:
            line = lines[number]
            longest = min(position + 1, max_order)
            key = ends.key(number, position, order)
            following = line.next_ids[position]
            if ends.agree(key, following, line) or (
                order >= longest and ends.is_told_apart(key, following, line)
            ):
                orders[number][position - line.first] = order
            elif order >= longest:
                raise ContradictionError(line.shown, ends.why(key, following, line))
            else:
                left.append((number, position, order + 1))
        due = left
    return orders


_Place = tuple[int, int, int]
"""A line's number, a position in it, and the order that is tried there."""


def _lowest(line: Line, position: int, max_order: int) -> int:
    """Return the shortest order that a position may have."""
    offset = position - line.first
    trigger = line.first + 1 - line.own if line.whole else line.min_order
    lowest = max(trigger, line.min_order) + min(offset, _LONGEST_REACH_BACK)
    if line.at_least:
        lowest = max(lowest, line.at_least[offset])
    return min(lowest, position + 1, max_order)


class _Suffixes:
    """Hashes of all suffixes of sequences: H(t, n) = P(t) - P(t - n) Bⁿ modulo 2^64.

    Equal suffixes end in the same few ids, so they are only looked for where these end.

    Attributes:
        ending: The few ids that a suffix ends in -> the sequences and positions where they end too.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], due: Sequence[_Place]) -> None:
        """Hash sequences of canonical ids. No suffix asked for is shorter than those due now."""
        self._tail = min([_LONGEST_TAIL, *(order for _, _, order in due)])
        longest = max(map(len, sequences), default=0)
        self._powers = [1]
        while len(self._powers) <= longest:
            self._powers.append(self._powers[-1] * _BASE & _MASK)
        self._prefixes: list[list[int]] = []
        for sequence in sequences:
            prefix = 0
            prefixes = [prefix]
            for canonical_id in sequence:
                prefix = prefix * _BASE + _mixed(canonical_id) & _MASK
                prefixes.append(prefix)
            self._prefixes.append(prefixes)
        self.ending: dict[int, list[tuple[int, int]]] = {
            self.tail(number, position): [] for number, position, _ in due
        }
        for number, sequence in enumerate(sequences):
            for position in range(self._tail - 1, len(sequence)):
                found = self.ending.get(self.tail(number, position))
                if found is not None:
                    found.append((number, position))

    def key(self, number: int, position: int, order: int) -> int:
        """Return a suffix's hash, with its order, so that keys of different orders differ."""
        prefixes = self._prefixes[number]
        before = prefixes[position + 1 - order] * self._powers[order]
        return (prefixes[position + 1] - before & _MASK) << 16 | order

    def tail(self, number: int, position: int) -> int:
        """Return the key of the few ids that all suffixes that end at a position end in."""
        return self.key(number, position, self._tail)


@functools.lru_cache(maxsize=1 << 16)
def _mixed(canonical_id: int) -> int:
    value = (canonical_id + 1) * _MULTIPLIER & _MASK
    value = (value ^ value >> 29) * _MULTIPLIER & _MASK
    return value ^ value >> 31


class _Endings:
    """What follows each suffix, among the suffixes that are asked for."""

    def __init__(
        self,
        lines: Sequence[Line],
        guards: Sequence[tuple[int, ...]],
        suffixes: _Suffixes,
        longest: int,
        due: Sequence[_Place],
    ) -> None:
        self._lines, self._guards, self._longest = lines, guards, longest
        # Suffix -> (fact, next token) -> a line, of what is to be said after it.
        self._said: dict[int, dict[tuple[int, int], Line]] = defaultdict(dict)
        self._read: dict[int, set[int]] = defaultdict(set)
        # Said after a suffix that can't be lengthened, because the line or the order ends there.
        self._spent: set[tuple[int, tuple[int, int]]] = set()
        self._in_guard: dict[tuple[int, ...], set[int]] = {guard: set() for guard in guards}
        self._key_of = {place: suffixes.key(*place) for place in due}
        asked = set(self._key_of.values())
        orders: dict[int, set[int]] = defaultdict(set)
        for number, position, order in due:
            orders[suffixes.tail(number, position)].add(order)
        for tail, lengths in orders.items():
            for number, position in suffixes.ending[tail]:
                for order in lengths:
                    if order <= position + 1:
                        key = suffixes.key(number, position, order)
                        if key in asked:
                            self._note(number, position, order, key)

    def _note(self, number: int, position: int, order: int, key: int) -> None:
        """Note what follows a suffix in a line, or that a guard has it."""
        if number >= len(self._lines):
            self._in_guard[self._guards[number - len(self._lines)]].add(key)
            return
        line = self._lines[number]
        following = line.next_ids[position]
        if position < line.first:
            self._read[key].add(following)
            return
        self._said[key][line.fact, following] = line
        if position + 1 == order or order == self._longest:
            self._spent.add((key, (line.fact, following)))

    def key(self, number: int, position: int, order: int) -> int:
        """Return the key of a suffix that is asked for."""
        return self._key_of[number, position, order]

    def _is_guarded(self, key: int, line: Line) -> bool:
        return any(key in self._in_guard[guard] for guard in line.guards)

    def agree(self, key: int, following: int, line: Line) -> bool:
        """Say whether the suffix is this fact's alone and goes on with one token everywhere."""
        if self._is_guarded(key, line) or self._read.get(key, set()) - {following}:
            return False
        return set(self._said[key]) == {(line.fact, following)}

    def is_told_apart(self, key: int, following: int, line: Line) -> bool:
        """Say whether everything else that is said after the suffix can get a longer address."""
        if self._is_guarded(key, line):
            return False
        others = [said for said in self._said[key] if said[1] != following]
        return not any((key, said) in self._spent for said in others)

    def why(self, key: int, following: int, line: Line) -> str:
        """Explain why the longest suffix is still ambiguous."""
        if self._is_guarded(key, line):
            return "a guard text contains its whole trigger."
        other = next(other for said, other in self._said[key].items() if said[1] != following)
        return (
            f"{other.shown!r} has the same trigger (capitals, accents and spaces do not count) and"
            " another answer."
        )

"""Which suffix of a trigger becomes the address: all of it, or the shortest that is unambiguous."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engram_transformers.errors import ContradictionError

NOT_ALLOCATED = 0
# Behind the first tokens of an answer, the address always reaches back into the trigger, so that
# the answer's own words don't fire it elsewhere; this many answer tokens are skipped at most.
_LONGEST_REACH_BACK = 16
# Odd, as multipliers modulo 2^64 must be; signed, as torch has them.
_MULTIPLIER = 0x5851F42D4C957F2D
_BASE = 0x14057B7EF767814F
_KEYS_AT_ONCE = 1 << 22


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
    keys = _Keys([*(line.canonical for line in lines), *guards])
    while due:
        ends = _Endings(lines, guards, keys, max_order, due)
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


class _Keys:
    """Hashes of all suffixes of sequences: H(t, n) = P(t) - P(t - n) Bⁿ modulo 2^64."""

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self.lengths = torch.tensor([len(sequence) for sequence in sequences])
        longest = max(map(len, sequences), default=0)
        padded = [[*ids, *[0] * (longest - len(ids))] for ids in sequences]
        ids = torch.tensor(padded, dtype=torch.int64).view(len(sequences), longest)
        mixed = (ids + 1) * _MULTIPLIER
        mixed = (mixed ^ (mixed >> 29)) * _MULTIPLIER
        mixed ^= mixed >> 31
        # P(t) = Bᵗ Σ B⁻ⁱ mᵢ: sums and products of int64 are modulo 2^64.
        powers = torch.full((longest,), _BASE).cumprod(0)
        inverse = torch.full((longest,), _signed(pow(_BASE, -1, 1 << 64))).cumprod(0)
        prefixes = (mixed * inverse).cumsum(1) * powers
        self._prefixes = torch.nn.functional.pad(prefixes, (1, 0))

    def of_orders(self, orders: Sequence[int]) -> Tensor:
        """Return the keys of suffixes, (orders, sequences, longest) int64: where each one ends.

        Keys of different orders differ. Those of suffixes that do not exist are 0.
        """
        end = torch.arange(1, self._prefixes.shape[1])
        order = torch.tensor(orders).view(-1, 1, 1)
        powers = torch.tensor([_signed(pow(_BASE, n, 1 << 64)) for n in orders]).view(-1, 1, 1)
        begin = (end - order).clamp_min(0).expand(-1, len(self.lengths), -1)
        before = self._prefixes.expand(len(orders), -1, -1).gather(2, begin)
        keys = self._prefixes[:, 1:] - before * powers + order * _MULTIPLIER
        exists = (end >= order) & (end <= self.lengths.view(1, -1, 1))
        return torch.where(exists, keys, 0)

    def __len__(self) -> int:
        """How many suffixes of one order there are at most."""
        return self._prefixes.numel()


class _Endings:
    """What follows each suffix, among the suffixes that are asked for."""

    def __init__(
        self,
        lines: Sequence[Line],
        guards: Sequence[tuple[int, ...]],
        keys: _Keys,
        longest: int,
        due: Sequence[_Place],
    ) -> None:
        self._lines, self._guards, self._longest = lines, guards, longest
        self._key_of: dict[_Place, int] = {}
        # Suffix -> (fact, next token) -> a line, of what is to be said after it.
        self._said: dict[int, dict[tuple[int, int], Line]] = defaultdict(dict)
        self._read: dict[int, set[int]] = defaultdict(set)
        # Said after a suffix that can't be lengthened, because the line or the order ends there.
        self._spent: set[tuple[int, tuple[int, int]]] = set()
        self._in_guard: dict[tuple[int, ...], set[int]] = {guard: set() for guard in guards}
        by_order: dict[int, list[_Place]] = defaultdict(list)
        for place in due:
            by_order[place[2]].append(place)
        orders = sorted(by_order)
        count = max(_KEYS_AT_ONCE // len(keys), 1)
        for first in range(0, len(orders), count):
            self._look(keys, {order: by_order[order] for order in orders[first : first + count]})

    def _look(self, keys: _Keys, due: dict[int, list[_Place]]) -> None:
        """Note what follows the suffixes of some orders."""
        orders = list(due)
        table = keys.of_orders(orders)
        places = [place for some in due.values() for place in some]
        numbers, positions, _ = torch.tensor(places).unbind(1)
        row = {order: n for n, order in enumerate(orders)}
        wanted = table[torch.tensor([row[order] for _, _, order in places]), numbers, positions]
        self._key_of.update(zip(places, wanted.tolist(), strict=True))
        ordered = wanted.sort().values
        nearest = torch.searchsorted(ordered, table).clamp_max(len(ordered) - 1)
        found = (ordered[nearest] == table).nonzero()
        where = table[tuple(found.unbind(1))].tolist()
        for (place, number, position), key in zip(found.tolist(), where, strict=True):
            if number >= len(self._lines):
                self._in_guard[self._guards[number - len(self._lines)]].add(key)
                continue
            line = self._lines[number]
            following = line.next_ids[position]
            if position < line.first:
                self._read[key].add(following)
                continue
            self._said[key][line.fact, following] = line
            if position + 1 == orders[place] or orders[place] == self._longest:
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


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value

"""Which suffix of a trigger becomes the address: the shortest that is unambiguous."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from engram_transformers.errors import ContradictionError

NOT_ALLOCATED = 0
# Behind the first tokens of an answer, the address always reaches back into the trigger, so that
# the answer's own words don't fire it elsewhere; this many answer tokens are skipped at most.
_LONGEST_REACH_BACK = 16


@dataclass(frozen=True)
class Line:
    """One wording, as allocation sees it.

    Attributes:
        canonical: Canonical ids of the trigger and of all targets but the last.
        next_ids: For each position of `canonical`, the token id that follows.
        first: The position of the trigger's last token: where the first target is said.
        fact: Which fact it belongs to.
        min_order: Shortest address allowed.
        whole: Use the longest suffix that is allowed, not the shortest.
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
    pending = [
        (number, position)
        for number, line in enumerate(lines)
        for position in range(line.first, len(line.canonical))
    ]
    order = min((_lowest(lines[n], p, max_order) for n, p in pending), default=1)
    while pending:
        due = [(n, p) for n, p in pending if _lowest(lines[n], p, max_order) <= order]
        ends = _Endings(lines, order, max_order, due)
        settled: set[tuple[int, int]] = set()
        for number, position in due:
            line = lines[number]
            longest = min(position + 1, max_order)
            key = line.canonical[position - order + 1 : position + 1]
            following = line.next_ids[position]
            if ends.agree(key, following, line) or (
                order >= longest and ends.is_told_apart(key, following, line)
            ):
                orders[number][position - line.first] = order
                settled.add((number, position))
            elif order >= longest:
                raise ContradictionError(line.shown, ends.why(key, following, line))
        pending = [entry for entry in pending if entry not in settled]
        order += 1
    return orders


def _lowest(line: Line, position: int, max_order: int) -> int:
    """Return the shortest order that a position may have."""
    longest = min(position + 1, max_order)
    if line.whole:
        return longest
    offset = position - line.first
    lowest = line.min_order + min(offset, _LONGEST_REACH_BACK)
    if line.at_least:
        lowest = max(lowest, line.at_least[offset])
    return min(lowest, longest)


class _Endings:
    """What follows each suffix of one order, among the suffixes that are asked for."""

    def __init__(
        self,
        lines: Sequence[Line],
        order: int,
        longest: int,
        due: Sequence[tuple[int, int]],
    ) -> None:
        wanted = {lines[n].canonical[p - order + 1 : p + 1] for n, p in due}
        # Suffix -> (fact, next token) -> a line, of what is to be said after it.
        self._said: dict[tuple[int, ...], dict[tuple[int, int], Line]] = defaultdict(dict)
        self._read: dict[tuple[int, ...], set[int]] = defaultdict(set)
        # Said after a suffix that can't be lengthened, because the line or the order ends there.
        self._spent: set[tuple[tuple[int, ...], tuple[int, int]]] = set()
        for line in lines:
            for end in range(order, len(line.canonical) + 1):
                key = line.canonical[end - order : end]
                if key not in wanted:
                    continue
                following = line.next_ids[end - 1]
                if end - 1 < line.first:
                    self._read[key].add(following)
                    continue
                self._said[key][line.fact, following] = line
                if end == order or order == longest:
                    self._spent.add((key, (line.fact, following)))
        self._in_guard: dict[tuple[int, ...], set[tuple[int, ...]]] = {
            guard: {guard[end - order : end] for end in range(order, len(guard) + 1)}
            for guard in {guard for line in lines for guard in line.guards}
        }

    def _is_guarded(self, key: tuple[int, ...], line: Line) -> bool:
        return any(key in self._in_guard[guard] for guard in line.guards)

    def agree(self, key: tuple[int, ...], following: int, line: Line) -> bool:
        """Say whether the suffix is this fact's alone and goes on with one token everywhere."""
        if self._is_guarded(key, line) or self._read.get(key, set()) - {following}:
            return False
        return set(self._said[key]) == {(line.fact, following)}

    def is_told_apart(self, key: tuple[int, ...], following: int, line: Line) -> bool:
        """Say whether everything else that is said after the suffix can get a longer address."""
        if self._is_guarded(key, line):
            return False
        others = [said for said in self._said[key] if said[1] != following]
        return not any((key, said) in self._spent for said in others)

    def why(self, key: tuple[int, ...], following: int, line: Line) -> str:
        """Explain why the longest suffix is still ambiguous."""
        if self._is_guarded(key, line):
            return "a guard text contains its whole trigger."
        other = next(other for said, other in self._said[key].items() if said[1] != following)
        return (
            f"{other.shown!r} has the same trigger (capitals, accents and spaces do not count) and"
            " another answer."
        )

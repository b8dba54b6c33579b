"""Which suffix of a trigger becomes the address: all of it, or the shortest that is unambiguous."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engram_transformers.errors import ContradictionError
from engram_transformers.hashing import SuffixHasher

# Behind the first tokens of an answer, the address always reaches back into the trigger, so that
# the answer's own words don't fire it elsewhere; this many answer tokens are skipped at most.
_LONGEST_REACH_BACK = 16
# Equal suffixes are looked for where so many ids at their ends are equal.
_LONGEST_TAIL = 3
_HASHER = SuffixHasher(seed=0)  # to compare suffixes here; addresses have the configuration's
_NOTHING = -1
_NO_FACT = torch.iinfo(torch.int64).max


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
    guards = list(dict.fromkeys(guard for line in lines for guard in line.guards))
    places = _Places(lines, guards)
    due, orders = _written(lines, places, max_order)
    waiting = torch.arange(len(due))
    while waiting.numel():
        keys = places.keys(due[waiting], orders[waiting])
        same = _same_suffixes(places, due[waiting], orders[waiting], keys)
        contested = _contested(places, same, keys)
        endings = _Endings(lines, guards, places, max_order, same, set(keys[contested].tolist()))
        longer: list[int] = []
        for number, key in zip(waiting[contested].tolist(), keys[contested].tolist(), strict=True):
            line_number, position = places.at(int(due[number]))
            line, order = lines[line_number], int(orders[number])
            following = line.next_ids[position]
            is_longest = order >= min(position + 1, max_order)
            if endings.agree(key, following, line) or (
                is_longest and endings.is_told_apart(key, following, line)
            ):
                continue
            if is_longest:
                raise ContradictionError(line.shown, endings.why(key, following, line))
            longer.append(number)
        waiting = torch.tensor(longer, dtype=torch.int64)
        orders[waiting] += 1
    flat = iter(orders.tolist())
    return [[next(flat) for _ in range(line.first, len(line.canonical))] for line in lines]


def _written(lines: Sequence[Line], places: _Places, max_order: int) -> tuple[Tensor, Tensor]:
    """Return all written positions, as places, and the shortest order that each may have."""
    counts = torch.tensor([len(line.canonical) - line.first for line in lines], dtype=torch.int64)
    triggers = [line.first + 1 - line.own if line.whole else line.min_order for line in lines]
    lowest = [max(order, line.min_order) for order, line in zip(triggers, lines, strict=True)]
    firsts = torch.tensor([line.first for line in lines], dtype=torch.int64)
    offsets = _within(counts)
    orders = torch.tensor(lowest, dtype=torch.int64).repeat_interleave(counts)
    orders += offsets.clamp(max=_LONGEST_REACH_BACK)
    if any(line.at_least for line in lines):
        least = (line.at_least or (0,) * n for line, n in zip(lines, counts.tolist(), strict=True))
        orders = orders.maximum(torch.tensor([order for line in least for order in line]))
    positions = firsts.repeat_interleave(counts) + offsets
    orders = orders.minimum((positions + 1).clamp(max=max_order))
    return places.starts[: len(lines)].repeat_interleave(counts) + positions, orders


def _within(counts: Tensor) -> Tensor:
    """Count 0, 1, 2 ... in each of several runs of given lengths."""
    begins = counts.cumsum(0) - counts
    return torch.arange(int(counts.sum())) - begins.repeat_interleave(counts)


class _Places:
    """All positions of all sequences, one behind another, and hashes of the suffixes there.

    All tensors are int64.

    Attributes:
        starts: (sequences,) where each begins: first the lines, then the guards.
        sequence: (places,) the number of each place's sequence.
        position: (places,) the position there.
        following: (places,) the id that follows; -1 in guards.
        fact: (places,) the fact that says it; -1 where it is only read.
    """

    def __init__(self, lines: Sequence[Line], guards: Sequence[tuple[int, ...]]) -> None:
        sequences = [*(line.canonical for line in lines), *guards]
        lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.int64)
        ids = torch.tensor([i for sequence in sequences for i in sequence], dtype=torch.int64)
        self.starts = lengths.cumsum(0) - lengths
        self.sequence = torch.arange(len(sequences)).repeat_interleave(lengths)
        self.position = _within(lengths)
        in_guards = [_NOTHING] * sum(map(len, guards))
        following = [i for line in lines for i in line.next_ids]
        self.following = torch.tensor(following + in_guards, dtype=torch.int64)
        never = [_NOTHING] * len(guards)
        firsts = torch.tensor([line.first for line in lines] + never, dtype=torch.int64)
        facts = torch.tensor([line.fact for line in lines] + never, dtype=torch.int64)
        is_said = self.position >= firsts[self.sequence]
        self.fact = torch.where(is_said, facts[self.sequence], _NOTHING)
        self._premixed = _HASHER.premix(ids)

    def at(self, place: int) -> tuple[int, int]:
        """Return a place's sequence and the position there."""
        return int(self.sequence[place]), int(self.position[place])

    def keys(self, places: Tensor, orders: Tensor) -> Tensor:
        """Return the hashes of the suffixes of given orders that end at places."""
        return _HASHER.addresses_at(self._premixed, places + 1, orders)


@dataclass(frozen=True)
class _Same:
    """Where the suffixes that are asked for occur.

    Attributes:
        keys: (found,) int64, the suffixes' hashes, ascending.
        places: (found,) int64, where each ends.
        orders: (found,) int64, its order.
    """

    keys: Tensor
    places: Tensor
    orders: Tensor


def _same_suffixes(places: _Places, due: Tensor, orders: Tensor, keys: Tensor) -> _Same:
    """Find all occurrences of suffixes.

    Equal suffixes end in the same few ids, so they are only looked for where these end.
    """
    tail = min(_LONGEST_TAIL, int(orders.min()))
    long_enough = (places.position + 1 >= tail).nonzero().squeeze(1)
    tails, by_tail = places.keys(long_enough, torch.full_like(long_enough, tail)).sort()
    long_enough = long_enough[by_tail]
    # Once for each tail and order: one suffix of each stands for all.
    asked_tails = places.keys(due, torch.full_like(due, tail))
    _, group = (asked_tails * (2 * orders + 1)).unique(return_inverse=True)
    one = torch.empty(int(group.max()) + 1, dtype=torch.int64)
    one[group] = torch.arange(len(due))
    asked_tails, asked_orders = asked_tails[one], orders[one]
    left = torch.searchsorted(tails, asked_tails)
    counts = torch.searchsorted(tails, asked_tails, right=True) - left
    found = long_enough[left.repeat_interleave(counts) + _within(counts)]
    found_orders = asked_orders.repeat_interleave(counts)
    fits = found_orders <= places.position[found] + 1
    found, found_orders = found[fits], found_orders[fits]
    found_keys = places.keys(found, found_orders)
    is_asked = torch.isin(found_keys, keys)
    found, found_orders, found_keys = found[is_asked], found_orders[is_asked], found_keys[is_asked]
    # Equal keys are in the order of their places: errors name the line that was given first.
    by_place = found.argsort()
    by_key = by_place[found_keys[by_place].argsort(stable=True)]
    return _Same(found_keys[by_key], found[by_key], found_orders[by_key])


def _contested(places: _Places, same: _Same, keys: Tensor) -> Tensor:
    """Say for which suffixes more than one thing follows, or more than one fact says it."""
    distinct, group = same.keys.unique_consecutive(return_inverse=True)
    following, facts = places.following[same.places], places.fact[same.places]

    def is_one(highest: Tensor, lowest: Tensor) -> Tensor:
        ends = torch.empty(2, len(distinct), dtype=torch.int64)
        ends[0].scatter_reduce_(0, group, highest, "amax", include_self=False)
        ends[1].scatter_reduce_(0, group, lowest, "amin", include_self=False)
        return ends[0] == ends[1]

    # Where it is only read, it is not another fact.
    simple = is_one(following, following)
    simple &= is_one(facts, torch.where(facts == _NOTHING, _NO_FACT, facts))
    return ~simple[torch.searchsorted(distinct, keys)]


class _Endings:
    """What follows each contested suffix."""

    def __init__(
        self,
        lines: Sequence[Line],
        guards: Sequence[tuple[int, ...]],
        places: _Places,
        longest: int,
        same: _Same,
        contested: set[int],
    ) -> None:
        self._lines, self._guards, self._longest = lines, guards, longest
        # Suffix -> (fact, next token) -> a line, of what is to be said after it.
        self._said: dict[int, dict[tuple[int, int], Line]] = defaultdict(dict)
        self._read: dict[int, set[int]] = defaultdict(set)
        # Said after a suffix that can't be lengthened, because the line or the order ends there.
        self._spent: set[tuple[int, tuple[int, int]]] = set()
        self._in_guard: dict[tuple[int, ...], set[int]] = {guard: set() for guard in guards}
        if not contested:
            return
        occurrences = (column.tolist() for column in (same.keys, same.places, same.orders))
        for key, place, order in zip(*occurrences, strict=True):
            if key in contested:
                self._note(*places.at(place), order, key)

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

"""Addresses: a 64-bit hash of any suffix n-gram, at constant cost per position and order.

With pre-mixed canonical ids m_1, m_2, … of one sequence and an odd base B, all modulo 2^64:

    prefix       Q_t = Σ_{i≤t} m_i · B^(-i)
    suffix hash  H(t, n) = B^t · (Q_t - Q_{t-n}) = Σ_{j<n} m_{t-j} · B^j
    address      A(t, n) = finalise(H(t, n) + n · K)

An odd B has an inverse modulo 2^64, so the offset t cancels exactly: an n-gram has one address
wherever it stands and whatever stands before it. The finaliser is one-to-one, so two n-grams of one
order share an address only where H collides. All constants and the pre-mix come from xxHash with
the seed. Tensors of int64 wrap on overflow, which is arithmetic modulo 2^64 in two's complement;
sums and products modulo 2^64 are associative, so any order of evaluation, on any device, gives the
same bits.

What modulo 2^64 costs: words built like Thue-Morse's (abba baab …) make Σ ±B^j divisible by a high
power of two, whatever the base: for B ≡ 5 mod 8, H of such a word of 2^k tokens and of its
complement (the two tokens swapped) agree in the lowest k(k+3)/2 bits. That leaves 37 bits to tell
them apart at order 64, 10 at order 512 and none at 1,024, hence `HIGHEST_ORDER`. Constant runs of
64 tokens lose 6 bits.
Addresses are not a defence against somebody who knows the seed and looks for collisions: owners are
checked by the tables, not trusted to the hash.

Coming scheme, for trained banks: DeepSeek's bucket hash (arXiv 2601.07372), which multiplies each
id of a short n-gram by a multiplier that depends on layer and position, joins the products with XOR
and reduces them by one prime per head. It belongs in this module, beside `SuffixHasher`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import xxhash
from torch import Tensor

from engram_transformers.errors import (
    HashDtypeError,
    HashSeedError,
    HashShapeError,
    OrderError,
)

HIGHEST_ORDER = 512
"""The largest `max_order`: at twice that length, Thue-Morse words collide for certain."""

_MODULUS = 1 << 64


def _signed(value: int) -> int:
    """Read 64 bits as a signed integer, as int64 tensors hold them."""
    value %= _MODULUS
    return value - _MODULUS if value >= _MODULUS >> 1 else value


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """Shift int64 right by 1 to 63 bits, filling with zeros (int64's own shift copies the sign)."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


@dataclass(frozen=True)
class SuffixHasher:
    """Compute the addresses of suffix n-grams, for one seed.

    Immutable and without state, so one instance serves any number of threads and devices. Two
    hashers with the same seed give the same addresses, whatever their `max_order`.

    Attributes:
        seed: 0 to 2^64 - 1; another seed gives unrelated addresses.
        max_order: The longest suffix that may be asked for, 1 to 512.

    Raises:
        HashSeedError: If the seed is out of range.
        OrderError: If `max_order` is out of range.

    Example:
        >>> hasher = SuffixHasher(seed=7)
        >>> canonical = torch.arange(100)  # token id -> canonical id, from `canonical_ids`
        >>> input_ids = torch.tensor([[3, 1, 4, 1, 5]])
        >>> premixed = hasher.premix(canonical)[input_ids]
        >>> found = hasher.addresses(premixed, orders=(2, 3), last=1)
        >>> found.shape
        torch.Size([1, 1, 2])
        >>> found[0, 0].tolist() == [hasher.address([1, 5]), hasher.address([4, 1, 5])]
        True
    """

    seed: int
    max_order: int = 64
    # Derived from the seed; signed 64-bit.
    _base: int = field(init=False, repr=False, compare=False)
    _inverse: int = field(init=False, repr=False, compare=False)
    _order_step: int = field(init=False, repr=False, compare=False)
    _mix: tuple[int, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < _MODULUS:
            raise HashSeedError(self.seed)
        if not 1 <= self.max_order <= HIGHEST_ORDER:
            raise OrderError("max_order", self.max_order, HIGHEST_ORDER)
        # B ≡ 5 (mod 8) has the largest multiplicative order modulo 2^64, 2^62, and keeps B - 1
        # divisible by 4 only, so that constant runs lose the fewest bits.
        base = self._constant("base") & ~7 | 5
        object.__setattr__(self, "_base", _signed(base))
        object.__setattr__(self, "_inverse", _signed(pow(base, -1, _MODULUS)))
        object.__setattr__(self, "_order_step", _signed(self._constant("order") | 1))
        mix = (_signed(self._constant("mix-1") | 1), _signed(self._constant("mix-2") | 1))
        object.__setattr__(self, "_mix", mix)

    def premix(self, canonical: Tensor) -> Tensor:
        """Hash canonical ids one by one with xxh64, so that near ids look unrelated.

        Made once per model: index the result with token ids. One-to-one, since every step of xxh64
        can be undone for inputs of 8 bytes. About 0.1 s for 260,000 ids, computed on the CPU.

        Args:
            canonical: (vocab,) int64, token id -> canonical id, on any device.

        Returns:
            (vocab,) int64, token id -> pre-mixed canonical id, on the same device.

        Raises:
            HashDtypeError: If `canonical` is not int64.
            HashShapeError: If `canonical` is not 1-D.
        """
        _require_int64("canonical", canonical)
        _require_dimensions("canonical", canonical, 1)
        values: list[int] = cast(Any, canonical).tolist()
        hashed = {value: _signed(self._premix_one(value)) for value in set(values)}
        table = [hashed[value] for value in values]
        return torch.tensor(table, dtype=torch.int64, device=canonical.device)

    def prefix(self, premixed: Tensor) -> Tensor:
        """Compute the prefix values Q_t, positions counted from 1.

        Args:
            premixed: (batch, length) int64.

        Returns:
            (batch, length) int64. Differences of prefix values are only meaningful within one
            sequence whose positions are counted from the same start.

        Raises:
            HashDtypeError: If `premixed` is not int64.
            HashShapeError: If `premixed` is not 2-D.
        """
        _require_int64("premixed", premixed)
        _require_dimensions("premixed", premixed, 2)
        weights = _powers(self._inverse, premixed.shape[1], premixed.device)  # (length,)
        return torch.cumsum(premixed * weights, dim=1)

    def addresses(
        self, premixed: Tensor, orders: Sequence[int] | Tensor, *, last: int | None = None
    ) -> Tensor:
        """Compute the address of the suffix of each order ending at each position.

        Where fewer than n tokens end at a position, the value for order n is unspecified: mask it.
        The same goes for suffixes that reach into padding or into another packed sequence. Only the
        last `last + highest order - 1` tokens are read, so a decoding step with a long history
        costs no more than one with a short one.

        Args:
            premixed: (batch, length) int64, `premix(canonical)[input_ids]`; both sizes may be 0.
            orders: Suffix lengths. A (count,) int64 tensor on `premixed`'s device spares a copy to
                the device per call, but its values are not checked, as that would wait for the
                device: each must be in 1 to `max_order`.
            last: How many positions at the end are wanted, 0 to length. None means all.

        Returns:
            (batch, last, count) int64.

        Raises:
            HashDtypeError: If `premixed` or a tensor of orders is not int64.
            HashShapeError: If `premixed` is not 2-D, a tensor of orders not 1-D, or `last` is not
                in 0 to length.
            OrderError: If an order (not in a tensor) is not in 1 to `max_order`.
        """
        _require_int64("premixed", premixed)
        _require_dimensions("premixed", premixed, 2)
        length = premixed.shape[1]
        count = length if last is None else last
        if not 0 <= count <= length:
            raise HashShapeError(
                f"last={count} positions were asked for, of a sequence of {length}: give 0 to"
                f" {length}, or None for all.",
                seen=count,
            )
        order_row, highest = self._order_row(orders, premixed.device)  # (orders,)

        window = premixed[:, max(length - (count + highest - 1), 0) :]  # (batch, kept)
        kept = window.shape[1]
        sums = torch.nn.functional.pad(self.prefix(window), (1, 0))  # (batch, kept + 1), Q_0 = 0
        ends = torch.arange(kept - count + 1, kept + 1, device=premixed.device)  # (last,)
        starts = (ends.unsqueeze(1) - order_row).clamp_min(0)  # (last, orders)
        spans = sums[:, ends].unsqueeze(2) - sums[:, starts]  # (batch, last, orders)
        scale = _powers(self._base, kept, premixed.device)[kept - count :]  # (last,)
        return self._finalise(spans * scale.unsqueeze(1), order_row)

    def addresses_at(self, premixed: Tensor, ends: Tensor, orders: Tensor) -> Tensor:
        """Compute the addresses of single suffixes of a sequence.

        Args:
            premixed: (length,) int64, `premix(canonical)[input_ids]`.
            ends: (count,) int64: how many tokens stand up to each suffix's end, 1 to length.
            orders: (count,) int64: of how many tokens it is, 1 to its end.

        Returns:
            (count,) int64.

        Raises:
            HashDtypeError: If `premixed` is not int64.
            HashShapeError: If `premixed` is not 1-D.
        """
        _require_dimensions("premixed", premixed, 1)
        sums = torch.nn.functional.pad(self.prefix(premixed.unsqueeze(0))[0], (1, 0))  # Q_0 = 0
        scale = _powers(self._base, len(premixed), premixed.device)[ends - 1]
        return self._finalise((sums[ends] - sums[ends - orders]) * scale, orders)

    def weights(self, orders: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a suffix's tokens and its order add up to, before `_finalise` mixes them.

        Args:
            orders: (count,) int64, at least one.

        Returns:
            (count, highest order) int64: B^j at the j-th token from the end, 0 beyond the order;
            and (count,) int64: what the order itself adds.
        """
        _require_int64("orders", orders)
        highest = int(orders.max())
        powers = _powers(self._base, highest, orders.device) * self._inverse  # B^0 … B^(highest-1)
        places = torch.arange(highest, device=orders.device)
        weights = torch.where(places < orders.unsqueeze(1), powers, 0).flip(1)
        return weights, orders * self._order_step

    def unmix(self, addresses: Tensor) -> Tensor:
        """Undo the last mixing of addresses: every step of `_finalise` can be undone.

        Args:
            addresses: int64, any shape.

        Returns:
            Sums of `weights`, int64.
        """
        _require_int64("addresses", addresses)
        value = addresses ^ _shift_right(addresses, 32)
        value = value * _signed(pow(self._mix[1], -1, _MODULUS))
        value = value ^ _shift_right(value, 29) ^ _shift_right(value, 58)
        value = value * _signed(pow(self._mix[0], -1, _MODULUS))
        return value ^ _shift_right(value, 32)

    def address(self, canonical_ids: Sequence[int]) -> int:
        """Compute the address of one whole n-gram in plain Python, its length being the order.

        The reference for `addresses`: the same bits, on Python integers, by Horner's rule.

        Args:
            canonical_ids: Canonical ids, oldest first; 1 to `max_order` of them.

        Returns:
            The address as a signed 64-bit integer.

        Raises:
            OrderError: If the n-gram is empty or longer than `max_order`.
        """
        order = self._require_order(len(canonical_ids))
        value = 0
        for canonical_id in canonical_ids:
            value = (value * self._base + self._premix_one(canonical_id)) % _MODULUS
        value = (value + order * self._order_step) % _MODULUS
        value = (value ^ value >> 32) * self._mix[0] % _MODULUS
        value = (value ^ value >> 29) * self._mix[1] % _MODULUS
        return _signed(value ^ value >> 32)

    def _constant(self, name: str) -> int:
        return xxhash.xxh64_intdigest(f"engram-transformers suffix hash {name}".encode(), self.seed)

    def _premix_one(self, canonical_id: int) -> int:
        return _premixed(canonical_id, self.seed)

    def _require_order(self, order: int) -> int:
        if not 1 <= order <= self.max_order:
            raise OrderError("order", order, self.max_order)
        return order

    def _order_row(
        self, orders: Sequence[int] | Tensor, device: torch.device
    ) -> tuple[Tensor, int]:
        """Return the orders as a (count,) int64 tensor, and a bound on the highest of them."""
        if isinstance(orders, Tensor):
            _require_int64("orders", orders)
            _require_dimensions("orders", orders, 1)
            return orders.to(device), self.max_order
        checked = [self._require_order(operator.index(order)) for order in orders]
        row = torch.tensor(checked, dtype=torch.int64, device=device)
        return row, max(checked, default=1)

    def _finalise(self, hashes: Tensor, orders: Tensor) -> Tensor:
        """Mix the order in and spread every bit: xor-shift and multiply, twice, then xor-shift.

        The low bits of a polynomial hash depend on the low bits of its terms alone, and equal
        contents of different orders must part; each step can be undone, so nothing is lost.
        """
        value = hashes + orders * self._order_step
        value = (value ^ _shift_right(value, 32)) * self._mix[0]
        value = (value ^ _shift_right(value, 29)) * self._mix[1]
        return value ^ _shift_right(value, 32)


def _powers(base: int, length: int, device: torch.device) -> Tensor:
    """Return base^1 … base^length modulo 2^64, (length,) int64.

    A cumulative product of int64 wraps as a Python loop would (tested on CPU), and as wrapping
    multiplication is associative, a parallel scan on a GPU gives the same bits.
    """
    return torch.full((length,), base, dtype=torch.int64, device=device).cumprod(0)


def _require_int64(name: str, tensor: Tensor) -> None:
    if tensor.dtype != torch.int64:
        raise HashDtypeError(name, str(tensor.dtype))


def _require_dimensions(name: str, tensor: Tensor, dimensions: int) -> None:
    if tensor.ndim != dimensions:
        raise HashShapeError(
            f"`{name}` must have {dimensions} dimension(s), but its shape is"
            f" {tuple(tensor.shape)}.",
            seen=tuple(tensor.shape),
        )


@functools.lru_cache(maxsize=1 << 16)
def _premixed(canonical_id: int, seed: int) -> int:
    return xxhash.xxh64_intdigest(canonical_id.to_bytes(8, "little", signed=True), seed)

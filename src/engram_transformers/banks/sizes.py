"""How large a bank is: its configuration, and the prime number of rows of each head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engram_transformers.banks.errors import BankConfigError, BankSizeError, BankWidthError
from engram_transformers.hashing import HIGHEST_ORDER

HIGHEST_SIZE = 1 << 40
"""Most rows that can be asked for, for one head of one order."""

# Witnesses that leave no composite below 3.1e23 undetected (Sorenson and Webster 2015,
# arXiv 1509.00864).
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


@dataclass(frozen=True, kw_only=True)
class BankConfig:
    """Describe the banks of a model. Immutable; the names are those of the tensors' dimensions.

    Attributes:
        layers: Decoder blocks with a bank, 0-based, in the order in which primes are given out.
        memory_size: Rows asked for, for each head: one number for all orders, or one for each
            order. A head gets the next prime that no other head of any layer has.
        max_order: Longest n-gram. Orders are 2 to `max_order`.
        heads: Hashes per order.
        row_dim: Numbers that one order contributes, all of its heads together.
        kernel_size: Taps of the short convolution; its dilation is `max_order`.
        streams: Residual streams (hyper-connections); 1 for an ordinary model.
        seed: Of the multipliers.
        pad_id: The canonical id that stands before the beginning of a text, as `numbered` counts.

    Raises:
        BankConfigError: If a value is out of range.
        BankSizeError: If an order has fewer rows than heads.
        BankWidthError: If `heads` does not divide `row_dim`.

    Example:
        >>> BankConfig(layers=(1,), memory_size=100, heads=2, row_dim=6).head_dim
        3
    """

    layers: tuple[int, ...]
    memory_size: int | tuple[int, ...]
    max_order: int = 3
    heads: int = 8
    row_dim: int = 512
    kernel_size: int = 4
    streams: int = 1
    seed: int = 0
    pad_id: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", _as_layers(self.layers))
        _require_int("max_order", self.max_order, 2, HIGHEST_ORDER)
        for name in ("heads", "row_dim", "kernel_size", "streams"):
            _require_int(name, getattr(self, name), 1, 1 << 20)
        _require_int("seed", self.seed, 0, (1 << 64) - 1)
        _require_int("pad_id", self.pad_id, 0, (1 << 62) - 1)
        if isinstance(self.memory_size, list):
            object.__setattr__(self, "memory_size", tuple(self.memory_size))
        if isinstance(self.memory_size, tuple) and len(self.memory_size) != self.order_count:
            expected = f"one number, or {self.order_count}: one for each order 2 to max_order"
            raise BankConfigError("memory_size", self.memory_size, expected)
        for size in self.sizes:
            _require_int("memory_size", size, 1, HIGHEST_SIZE)
            if size < self.heads:
                raise BankSizeError(size, self.heads)
        if self.row_dim % self.heads:
            raise BankWidthError("row_dim", self.row_dim, self.heads, "heads")

    @classmethod
    def of_width(
        cls, width: int, *, max_order: int = 3, heads: int = 8, **fields: Any
    ) -> BankConfig:
        """Return a configuration whose orders share a width evenly.

        Args:
            width: Numbers that all orders contribute together: (max_order - 1) · row_dim.
            max_order: Longest n-gram.
            heads: Hashes per order.
            **fields: The other fields, without `row_dim`.

        Returns:
            A configuration.

        Raises:
            BankConfigError: If a value is out of range.
            BankWidthError: If the orders or their heads do not divide the width.

        Example:
            >>> BankConfig.of_width(1024, layers=(1,), memory_size=100).row_dim
            512
        """
        _require_int("width", width, 1, 1 << 30)
        _require_int("max_order", max_order, 2, HIGHEST_ORDER)
        _require_int("heads", heads, 1, 1 << 20)
        orders = max_order - 1
        if width % orders:
            raise BankWidthError("width", width, orders, "orders")
        if width // orders % heads:
            raise BankWidthError("width", width, orders * heads, "heads of all orders")
        return cls(max_order=max_order, heads=heads, row_dim=width // orders, **fields)

    @property
    def order_count(self) -> int:
        """How many orders there are."""
        return self.max_order - 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows asked for, for each head of each order; (order_count,)."""
        if isinstance(self.memory_size, tuple):
            return self.memory_size
        return (self.memory_size,) * self.order_count

    @property
    def head_dim(self) -> int:
        """Numbers in one row of the table, which is one head's."""
        return self.row_dim // self.heads

    @property
    def width(self) -> int:
        """Numbers that all orders contribute together."""
        return self.row_dim * self.order_count


def bucket_sizes(config: BankConfig) -> dict[int, tuple[tuple[int, ...], ...]]:
    """Return how many rows each head has: a prime that no other head of any layer has.

    Within one order, the search goes upwards from `memory_size`, then from the last prime found.

    Args:
        config: The banks.

    Returns:
        Layer -> order (2 first) -> head -> prime.

    Example:
        >>> bucket_sizes(BankConfig(layers=(0, 4), memory_size=10, heads=2, row_dim=2))
        {0: ((11, 13), (17, 19)), 4: ((23, 29), (31, 37))}
    """
    used: set[int] = set()
    sizes: dict[int, tuple[tuple[int, ...], ...]] = {}
    for layer in config.layers:
        sizes[layer] = tuple(_primes(size, config.heads, used) for size in config.sizes)
    return sizes


def is_prime(number: int) -> bool:
    """Say whether a number is prime: the test of Miller and Rabin, exact below 3.1e23.

    Args:
        number: Any integer up to that.

    Returns:
        True for primes.
    """
    if number < 2:
        return False
    if any(number % witness == 0 for witness in _WITNESSES):
        return number in _WITNESSES
    twos = ((number - 1) & (1 - number)).bit_length() - 1  # of the factors of number - 1
    odd = (number - 1) >> twos
    return all(_passes(number, witness, odd, twos) for witness in _WITNESSES)


def _passes(number: int, witness: int, odd: int, twos: int) -> bool:
    """Say whether witness^odd is 1, or is -1 after some of the squarings, modulo the number."""
    power = pow(witness, odd, number)
    if power in (1, number - 1):
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False


def _primes(lowest: int, count: int, used: set[int]) -> tuple[int, ...]:
    """Return the next primes that are not used, and add them to those that are."""
    found: list[int] = []
    candidate = lowest
    while len(found) < count:
        if candidate not in used and is_prime(candidate):
            used.add(candidate)
            found.append(candidate)
        candidate += 1
    return tuple(found)


def _as_layers(layers: Any) -> tuple[int, ...]:
    if not isinstance(layers, (list, tuple, range)) or not layers:
        raise BankConfigError("layers", layers, "block indices such as (1, 15)")
    if any(type(layer) is not int or layer < 0 for layer in layers):
        raise BankConfigError("layers", layers, "integers from 0: resolve negative ones first")
    if len(set(layers)) != len(layers):
        raise BankConfigError("layers", layers, "without repetition")
    return tuple(layers)


def _require_int(name: str, value: object, lowest: int, highest: int) -> None:
    if type(value) is not int or not lowest <= value <= highest:
        raise BankConfigError(name, value, f"an integer from {lowest} to {highest}")

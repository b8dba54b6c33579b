"""Addresses of a bank: from the last few canonical ids to one row of each head.

The arithmetic of DeepSeek's Engram (arXiv 2601.07372, section 2.2) as its published demo computes
it: each id is multiplied by an odd number of its place, the products are joined by XOR, and each
head takes the remainder by a prime of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_transformers.banks.errors import (
    BankConfigError,
    BankDtypeError,
    BankLayerError,
    BankShapeError,
    CanonicalIdError,
)
from engram_transformers.banks.sizes import BankConfig, bucket_sizes
from engram_transformers.banks.starts import (
    clear_before_last_start,
    last_starts,
    require_starts,
)

_HIGHEST_INT64 = (1 << 63) - 1
_LAYER_STEP = 10007  # between the seeds of layers


def numbered(canonical: Tensor) -> tuple[Tensor, int]:
    """Count canonical ids without gaps, as multipliers are bounded by how many there are.

    Args:
        canonical: (vocab_size,) int64, token id -> the lowest token id that spells the same
            (`canonical.canonical_ids`).

    Returns:
        (vocab_size,) int64, token id -> 0, 1, … in the order in which spellings first appear; and
        how many there are.

    Example:
        >>> numbered(torch.tensor([0, 1, 1, 3, 0]))
        (tensor([0, 1, 1, 2, 0]), 3)
    """
    unique, numbers = torch.unique(canonical, return_inverse=True)
    return numbers, len(unique)


def multipliers(config: BankConfig, layer: int, vocabulary: int) -> Tensor:
    """Return the odd number of each place, small enough that no product exceeds 63 bits.

    They come from numpy's default generator, as published. Its stream is not promised to stay the
    same for ever, so `BankHash` keeps them in its state dict.

    Args:
        config: The banks.
        layer: One of the configuration's layers.
        vocabulary: How many canonical ids there are.

    Returns:
        (max_order,) int64 on the CPU: of the newest id, of the one before it, and so on.

    Raises:
        BankLayerError: If the layer has no bank.
        BankConfigError: If there are no canonical ids, or `pad_id` is not one of them.
    """
    if layer not in config.layers:
        raise BankLayerError(layer, config.layers)
    if type(vocabulary) is not int or not 1 <= vocabulary < 1 << 62:
        raise BankConfigError("vocabulary", vocabulary, "the number of canonical ids, at least 1")
    if config.pad_id >= vocabulary:
        expected = f"one of the canonical ids, 0 to {vocabulary - 1}"
        raise BankConfigError("pad_id", config.pad_id, expected)
    import numpy  # torch works without; transformers brings it

    generator = numpy.random.default_rng(config.seed + _LAYER_STEP * layer)
    high = max(1, _HIGHEST_INT64 // vocabulary // 2)
    halves = generator.integers(low=0, high=high, size=config.max_order, dtype=numpy.int64)
    return torch.from_numpy(halves) * 2 + 1


class BankHash(nn.Module):
    """The numbers that addresses of one layer's bank are computed from.

    Persistent buffers: a checkpoint holds the numbers that its rows were trained with.

    Args:
        config: The banks.
        layer: Which of them.
        vocabulary: How many canonical ids there are.

    Attributes:
        multipliers: (max_order,) int64.
        primes: (max_order - 1, heads) int64, rows of each head.
        offsets: ((max_order - 1) · heads,) int64, where each head's rows begin in one table.
        rows: How many rows that table has.

    Raises:
        BankLayerError: If the layer has no bank.
        BankConfigError: If there are no canonical ids, or `pad_id` is not one of them.
    """

    multipliers: Tensor
    primes: Tensor
    offsets: Tensor

    def __init__(self, config: BankConfig, layer: int, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.layer = layer
        self.vocabulary = vocabulary
        self.register_buffer("multipliers", multipliers(config, layer, vocabulary))
        sizes = bucket_sizes(config)[layer]
        primes = torch.tensor(sizes, dtype=torch.int64)  # (orders, heads)
        self.register_buffer("primes", primes)
        self.register_buffer("offsets", primes.flatten().cumsum(0) - primes.flatten())
        self.rows = sum(map(sum, sizes))

    def extra_repr(self) -> str:
        """Show what decides the addresses in `print(model)`."""
        return f"layer={self.layer}, vocabulary={self.vocabulary}, rows={self.rows}"


def bank_addresses(
    canonical_ids: Tensor,
    history: Tensor | None,
    bank_hash: BankHash,
    *,
    starts: Tensor | None = None,
) -> Tensor:
    """Compute which of its rows each head reads at each position.

    Ids before the start of a position's own sequence count as `pad_id`, so padding on the left and
    other sequences of a pack change nothing. Ids outside the vocabulary are refused on the CPU
    only: elsewhere the check would wait for the device.

    Args:
        canonical_ids: (batch, seq) int64, counted as `numbered` does, on `bank_hash`'s device.
        history: (batch, max_order - 1) int64, what `history_after` returned for the call before;
            None at the beginning of a text.
        bank_hash: The layer's.
        starts: (batch, seq) bool, True at the first token of each sequence that begins in this
            call. None: no sequence begins here but that of a call without history.

    Returns:
        (batch, seq, (max_order - 1) · heads) int64, each in 0 to its head's prime - 1; all heads of
        order 2 first. Add the offsets (`table_addresses`) to look them up in one table.

    Raises:
        BankDtypeError: If ids are not int64, or starts not bool.
        BankShapeError: If a shape does not fit.
        CanonicalIdError: If an id is not in the vocabulary.
    """
    hashes = ngram_hashes(canonical_ids, history, bank_hash, starts=starts)
    heads = [hashes[:, :, order, None] % primes for order, primes in enumerate(bank_hash.primes)]
    return torch.cat(heads, dim=2)


def ngram_hashes(
    canonical_ids: Tensor,
    history: Tensor | None,
    bank_hash: BankHash,
    *,
    starts: Tensor | None = None,
) -> Tensor:
    """Hash the n-grams that end at each position: where these are equal, so are all addresses.

    Args:
        canonical_ids: As in `bank_addresses`.
        history: As in `bank_addresses`.
        bank_hash: As in `bank_addresses`.
        starts: As in `bank_addresses`.

    Returns:
        (batch, seq, max_order - 1) int64, order 2 first; modulo a head's prime it is its address.

    Raises:
        BankDtypeError: If ids are not int64, or starts not bool.
        BankShapeError: If a shape does not fit.
        CanonicalIdError: If an id is not in the vocabulary.
    """
    window = _window(canonical_ids, history, bank_hash, starts)
    config = bank_hash.config
    seq, reach = canonical_ids.shape[1], config.max_order - 1
    began = None
    if starts is not None and seq:
        began = last_starts(starts)  # (batch, seq)
    positions = torch.arange(seq, device=window.device)
    mix = window[:, reach:] * bank_hash.multipliers[0]  # (batch, seq)
    hashes: list[Tensor] = []
    for shift in range(1, config.max_order):
        ids = window[:, reach - shift : reach - shift + seq]  # (batch, seq)
        if began is not None:
            ids = ids.masked_fill(positions - shift < began, config.pad_id)
        mix = mix ^ ids * bank_hash.multipliers[shift]
        hashes.append(mix)
    return torch.stack(hashes, dim=2)


def table_addresses(addresses: Tensor, bank_hash: BankHash) -> Tensor:
    """Return where rows stand in one table that holds those of all heads, one after another.

    Args:
        addresses: (..., (max_order - 1) · heads) int64 of `bank_addresses`.
        bank_hash: The layer's.

    Returns:
        Of the same shape, each in 0 to `bank_hash.rows` - 1.
    """
    return addresses + bank_hash.offsets


def history_after(
    canonical_ids: Tensor,
    history: Tensor | None,
    bank_hash: BankHash,
    *,
    starts: Tensor | None = None,
) -> Tensor:
    """Return what the next call needs to know of the ids up to here.

    Args:
        canonical_ids: As in `bank_addresses`.
        history: As in `bank_addresses`.
        bank_hash: As in `bank_addresses`.
        starts: As in `bank_addresses`.

    Returns:
        (batch, max_order - 1) int64: the last ids, `pad_id` before the last sequence's start.

    Raises:
        BankDtypeError: If ids are not int64, or starts not bool.
        BankShapeError: If a shape does not fit.
        CanonicalIdError: If an id is not in the vocabulary.
    """
    window = _window(canonical_ids, history, bank_hash, starts)
    window = clear_before_last_start(window, starts, bank_hash.config.pad_id)
    return window[:, canonical_ids.shape[1] :]


def _window(
    canonical_ids: Tensor, history: Tensor | None, bank_hash: BankHash, starts: Tensor | None
) -> Tensor:
    """Return the ids with those that lead up to them, (batch, max_order - 1 + seq)."""
    if canonical_ids.ndim != 2:
        raise BankShapeError("canonical_ids", canonical_ids.shape, "two dimensions: batch, seq")
    batch, seq = canonical_ids.shape
    require_starts(starts, batch, seq)
    reach = bank_hash.config.max_order - 1
    _require_ids("canonical_ids", canonical_ids, bank_hash.vocabulary)
    if history is None:
        history = canonical_ids.new_full((batch, reach), bank_hash.config.pad_id)
    elif history.shape != (batch, reach):
        raise BankShapeError("history", history.shape, f"{(batch, reach)}: batch, max_order - 1")
    else:
        _require_ids("history", history, bank_hash.vocabulary)
    return torch.cat([history, canonical_ids], dim=1)


def _require_ids(name: str, ids: Tensor, vocabulary: int) -> None:
    if ids.dtype != torch.int64:
        raise BankDtypeError(name, str(ids.dtype), "torch.int64: convert it with .long()")
    if ids.device.type != "cpu" or not ids.numel() or torch.compiler.is_compiling():
        return
    lowest, highest = map(int, ids.aminmax())
    if lowest < 0 or highest >= vocabulary:
        raise CanonicalIdError(name, lowest if lowest < 0 else highest, vocabulary)

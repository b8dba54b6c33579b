"""The rows of a bank, as tables of buckets see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash
from torch import Tensor, nn

from engram_transformers.banks.addresses import bank_addresses, table_addresses
from engram_transformers.buckets.layout import BucketLayout

if TYPE_CHECKING:
    from engram_transformers.attachment import Attachment
    from engram_transformers.banks.attached import AttachedBank


class BankRows:
    """The bank of one layer; see `HashedRows`. `BankReading` replaces its rows.

    Args:
        attachment: The model's patch.
        layer: Which of its banks.
    """

    def __init__(self, attachment: Attachment, layer: int) -> None:
        self._bank = attachment.banks[layer]
        self.layer = layer

    @property
    def layout(self) -> BucketLayout:
        """How many rows there are, of which heads. The weights are in the binding's `banks`."""
        return bank_layout(self._bank)

    @property
    def module(self) -> nn.Module:
        """The bank."""
        return self._bank

    @property
    def is_silent(self) -> bool:
        """Whether it adds exactly nothing, whatever is read."""
        return self._bank.is_silent

    def rows_read(self, input_ids: Tensor) -> Tensor:
        """Say which rows texts read; see `HashedRows`."""
        bank = self._bank
        ids = bank.numbers[input_ids.to(bank.numbers.device)]
        found = bank_addresses(ids, None, bank.bank_hash)
        return table_addresses(found, bank.bank_hash).to(input_ids.device)

    def value(self, rows: Tensor) -> Tensor:
        """Compute what rows would add if the gate were open; see `HashedRows`."""
        weight = self._bank.value_projection.weight
        return self._bank.value_projection(rows.flatten(1).to(weight)).float().to(rows.device)


def bank_layout(bank: AttachedBank) -> BucketLayout:
    """Return how many rows a bank has, of which heads."""
    config, hashing = bank.config, bank.bank_hash
    digest = xxhash.xxh3_128()
    for name, buffer in hashing.named_buffers():
        digest.update(name.encode())
        digest.update(buffer.cpu().numpy().tobytes())
    orders = [order for order in range(2, config.max_order + 1) for _ in range(config.heads)]
    sizes = tuple(hashing.primes.flatten().tolist())
    return BucketLayout("bank", config.head_dim, tuple(orders), sizes, digest.hexdigest())

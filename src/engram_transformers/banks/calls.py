"""What the banks of a model need to know of one forward: computed once, before the blocks run."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import pad

from engram_transformers.banks.addresses import bank_addresses
from engram_transformers.banks.fetching import Fetch
from engram_transformers.banks.inputs import GrownInputs, Key, RollingInputs
from engram_transformers.banks.starts import clear_before_last_start, starts_of
from engram_transformers.coded_ids import PADDING
from engram_transformers.errors import CacheHistoryError

if TYPE_CHECKING:
    from engram_transformers.banks.attached import AttachedBank


@dataclass(eq=False)
class BankCall:
    """One forward, as its banks see it.

    Attributes:
        addresses: Layer -> (batch, seq, orders · heads) int64: which rows are read. Where tables
            are trained, padding reads those of a token.
        starts: (batch, seq) bool: the first token of each sequence that begins in this call.
        padding: (batch, seq) bool: where nothing is added.
        states: (batch, state_length, streams, hidden_size) of each run that has a past: the
            convolution's inputs before this call, zeros before the last sequence's start.
        state_length: See `BankMemory`.
        given: (batch, seq, streams, hidden_size) of each run: the convolution's inputs in it.
        runs: Layer -> how often its block has run.
        rows: Layer -> the rows of an offloaded bank, (batch, seq, width), or what will be them; it
            has addresses only where tables may replace rows.
    """

    addresses: dict[int, Tensor]
    starts: Tensor
    padding: Tensor
    states: dict[Key, Tensor]
    state_length: int
    given: dict[Key, Tensor] = field(default_factory=dict)
    runs: dict[int, int] = field(default_factory=dict)
    rows: dict[int, Tensor | Fetch] = field(default_factory=dict)

    def next_run(self, layer: int) -> Key:
        """Count a run of a block."""
        run = self.runs.get(layer, 0)
        self.runs[layer] = run + 1
        return layer, run

    def state(self, key: Key) -> Tensor | None:
        """Return a run's state, None at the beginning of a text.

        Raises:
            CacheHistoryError: If the block runs more often than when the cache was filled.
        """
        found = self.states.get(key)
        if found is None and key[1] and (key[0], 0) in self.states:
            raise CacheHistoryError(None, 0)
        return found

    def rows_of(self, layer: int) -> Tensor | None:
        """Return what an offloaded bank reads; None if its bank has a table."""
        found = self.rows.get(layer)
        return found if found is None or isinstance(found, Tensor) else found.rows()

    def take(self, key: Key, inputs: Tensor) -> None:
        """Note what the convolution was given in a run."""
        if self.state_length:
            self.given[key] = inputs

    def pasts(self) -> dict[Key, Tensor]:
        """Return the state of every run, zeros where there was none."""
        length, found = self.state_length, dict(self.states)
        for key, inputs in self.given.items():
            if key not in found:
                found[key] = inputs.new_zeros(len(inputs), length, *inputs.shape[2:])
        return found

    def repeating(self, key: Key) -> BankCall:
        """Return what a backward pass needs to run a block again."""
        layer = key[0]
        states = {(layer, 0): self.states[key]} if key in self.states else {}
        parts = {
            "addresses": {n: found for n, found in self.addresses.items() if n == layer},
            "rows": {n: found for n, found in self.rows.items() if n == layer},
        }
        return dataclasses.replace(self, states=states, given={}, runs={}, **parts)


def begin_bank_call(
    banks: Mapping[int, AttachedBank],
    window: Tensor,
    seq: int,
    inputs: GrownInputs | RollingInputs | None,
    rows: dict[int, Tensor | Fetch],
    replaced: Collection[int] = (),
) -> BankCall:
    """Compute what banks need of the tokens of a call, and of those before.

    Args:
        banks: Layer -> bank; at least one.
        window: (batch, earlier + seq) int64, coded ids, with as many earlier ones as the banks look
            back, or all there are.
        seq: How many are new.
        inputs: Those of the convolutions up to this call, as many as the cache has tokens; None at
            the beginning of a text.
        rows: Of offloaded banks, see `BankCall`.
        replaced: The layers at which tables may replace rows, so that addresses are needed.

    Returns:
        A call in which no block has run.
    """
    first = window.shape[1] - seq
    padding, starts = window == PADDING, starts_of(window)
    addresses: dict[int, Tensor] = {}
    spared: Tensor | None = None
    for layer, bank in banks.items():
        if layer in rows and layer not in replaced:
            continue
        begin = max(first - (bank.config.max_order - 1), 0)
        device = bank.numbers.device
        ids = bank.numbers[window[:, begin:].to(device)]  # coded ids count from the end, too
        found = bank_addresses(ids, None, bank.bank_hash, starts=starts[:, begin:].to(device))
        addresses[layer] = found[:, first - begin :]
        trained = layer not in rows and bank.own_rows.requires_grad
        if seq and torch.is_grad_enabled() and trained:
            spared = _first_token(padding[:, first:]) if spared is None else spared
            addresses[layer] = _without_padding(addresses[layer], padding[:, first:], spared)
    states: dict[Key, Tensor] = {}
    for key in () if inputs is None else inputs.runs:
        length = banks[key[0]].state_length
        last = inputs.last(key, length)  # pyright: ignore[reportOptionalMemberAccess]
        before = starts[:, first - last.shape[1] : first].to(last.device)
        last = clear_before_last_start(last, before, 0)
        states[key] = pad(last, (0, 0, 0, 0, length - last.shape[1], 0))
    length = next(iter(banks.values())).state_length
    return BankCall(addresses, starts[:, first:], padding[:, first:], states, length, rows=rows)


def _first_token(padding: Tensor) -> Tensor:
    """Return where in a (batch, seq) mask, flattened, the first token is; 0 if there is none."""
    return (~padding).flatten().int().argmax().reshape(1)


def _without_padding(addresses: Tensor, padding: Tensor, place: Tensor) -> Tensor:
    """Let padding read what a token reads: what it adds is dropped, and no row of its own learns.

    A row that only padding read would have gradients of zero, so an optimiser would remember it,
    and Adam would move it on if a token had read it before.

    Args:
        addresses: (batch, seq, orders · heads) int64.
        padding: (batch, seq) bool.
        place: (1,) int64, the token, as `_first_token` says.
    """
    place, padding = place.to(addresses.device), padding.to(addresses.device)
    shared = addresses.flatten(0, 1).index_select(0, place)  # (1, orders · heads)
    return torch.where(padding.unsqueeze(2), shared, addresses)

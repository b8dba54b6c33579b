"""What training does to banks, for the loggers: how much is read again, shared, let through."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed

from engram_transformers.attachment import Attachment
from engram_transformers.banks.attached import AttachedBank
from engram_transformers.banks.row_optimiser import RowOptimiser
from engram_transformers.calls import current_call
from engram_transformers.training.distinct import DistinctCounter, add_to_each, mix
from engram_transformers.training.processes import is_shared, rank

_QUANTILES = (0.1, 0.5, 0.9)
_MOST_GATES = 1 << 20
"""Gates that quantiles are taken of, evenly spaced: sorting more tells no more."""


class BankTelemetry:
    """Watch a model's banks while they are trained.

    Each forward in training adds its n-grams to counters, about 30 small kernels for each bank,
    without waiting for the device. All else is computed when it is asked for, on what the
    banks were last given: these hidden states are kept until the next forward. Nothing is counted
    in code that torch.compile compiles.

    Args:
        attachment: The model's patch.
    """

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._counters: dict[str, DistinctCounter] = {}
        self._positions: dict[int, Tensor] = {}
        self._last: dict[int, tuple[tuple[Any, ...], Tensor]] = {}
        for layer, bank in sorted(attachment.banks.items()):
            device = bank.own_rows.device
            self._positions[layer] = torch.zeros((), dtype=torch.int64, device=device)
            for order in range(2, bank.config.max_order + 1):
                self._counters[f"{layer}.{order}"] = DistinctCounter(device)
        heads = max(bank.config.heads for bank in attachment.banks.values())
        self._factors = mix(torch.arange(1, heads + 1)) | 1  # (heads,), odd

    @contextmanager
    def watching(self) -> Generator[None]:
        """Count what is read within the block."""
        banks = self._attachment.banks.items()
        handles = [
            bank.register_forward_pre_hook(partial(self._before, layer)) for layer, bank in banks
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._last.clear()

    def rates(self, rows: RowOptimiser) -> dict[str, float]:
        """Return shares of what was read so far, of all processes, which must all call this.

        Args:
            rows: The optimiser of the banks' rows.

        Returns:
            `rows_touched`: the share of all rows that were ever trained. `reuse_rate`: the share of
            reads (one for each head) that hit a row that was read before. `ngram_repeats`: about
            the share of n-grams that had been read before. `collision_rate`: about the share of the
            different n-grams that found their row, in a head, taken by another one. Estimates have
            the standard error of `DistinctCounter`, 0.008; n-grams that no head of their order
            tells apart count as one.
        """
        banks = self._attachment.banks
        touched = sum(rows.count_touched(bank.own_rows) for bank in banks.values())
        if any(bank.shared_rows is not None for bank in banks.values()):
            touched = _sum_of_all(touched, next(iter(banks.values())).own_rows.device)
        every = sum(bank.bank_hash.rows for bank in banks.values())
        rates = {"rows_touched": touched / every}
        state = self.state_dict()
        reads = sum(
            int(state[f"{layer}.positions"]) * (bank.config.max_order - 1)
            for layer, bank in banks.items()
        )
        if not reads:
            return rates
        different = sum(DistinctCounter.of(state[key]).estimate() for key in self._counters)
        heads = next(iter(banks.values())).config.heads
        rates["reuse_rate"] = max(0.0, 1 - touched / (reads * heads))
        rates["ngram_repeats"] = max(0.0, 1 - different / reads)
        rates["collision_rate"] = max(0.0, 1 - touched / (different * heads))
        return rates

    @torch.no_grad()
    def activity(self) -> dict[str, float]:
        """Return what the banks do with the last batch that this process gave them.

        Returns:
            For each layer: `layer_3/gate_p10`, `gate_p50` and `gate_p90`, quantiles of the gates;
            `layer_3/added_norm`: the mean of ‖what is added‖ / ‖hidden state‖. Padding is left out.
        """
        names: list[str] = []
        found: list[Tensor] = []
        for layer, (arguments, read) in sorted(self._last.items()):
            names += [f"layer_{layer}/gate_p{round(100 * share)}" for share in _QUANTILES]
            names.append(f"layer_{layer}/added_norm")
            found.append(_activity(self._attachment.banks[layer], arguments, read).cpu())
        return dict(zip(names, torch.cat(found).tolist(), strict=True)) if found else {}

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the counters, joined over processes, which must all call this."""
        counters = {key: counter.registers.clone() for key, counter in self._counters.items()}
        positions = {f"{n}.positions": kept.clone() for n, kept in self._positions.items()}
        if is_shared():
            for registers in counters.values():
                distributed.all_reduce(registers, distributed.ReduceOp.MAX)
            for kept in positions.values():
                distributed.all_reduce(kept)
        return {**counters, **positions}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from saved counters; the first process counts on from what all had read.

        Args:
            state: What `state_dict` returned, of banks of the same settings.
        """
        for key, counter in self._counters.items():
            counter.registers.copy_(state[key])
        for layer, positions in self._positions.items():
            positions.copy_(state[f"{layer}.positions"] * (rank() == 0))

    @torch.no_grad()
    def _before(self, layer: int, bank: AttachedBank, arguments: tuple[Any, ...]) -> None:
        """Count what a bank is about to read."""
        if torch.compiler.is_compiling() or not bank.training:
            return
        call = current_call(self._attachment)
        if call is None or call.banks is None:  # also when a block runs again for a backward pass
            return
        addresses: Tensor = arguments[1]
        read = ~call.banks.padding.to(addresses.device)  # (batch, seq)
        kept = [part.detach() if isinstance(part, Tensor) else part for part in arguments]
        self._last[layer] = (tuple(kept), read)
        self._positions[layer] = self._positions[layer].to(read.device) + read.sum()
        self._factors = self._factors.to(read.device)
        orders, heads = bank.config.order_count, bank.config.heads
        counters = [self._counters[f"{layer}.{order + 2}"] for order in range(orders)]
        # One number for all heads of an order, as good as never the same for different ones.
        grams = (addresses.unflatten(2, (orders, heads)) * self._factors).sum(3)
        add_to_each(counters, grams.movedim(2, 0), read)


def _sum_of_all(number: int, device: torch.device) -> int:
    """Return the sum of all processes' numbers."""
    joined = torch.tensor(number, device=device)
    distributed.all_reduce(joined)
    return int(joined)


def _activity(bank: AttachedBank, arguments: tuple[Any, ...], read: Tensor) -> Tensor:
    """Return quantiles of the gates and the mean share of what is added, one after another."""
    hidden_states, addresses = arguments[0], arguments[1]
    added, _ = bank.forward(*arguments)
    streams = (*read.shape, bank.config.streams, bank.hidden_size)
    streamed = hidden_states.reshape(streams).float()  # (batch, seq, streams, hidden_size)
    gates = bank.gates(hidden_states, addresses)[read].flatten()
    gates = gates[:: max(1, -(-len(gates) // _MOST_GATES))].float()
    if not len(gates):
        return torch.zeros(len(_QUANTILES) + 1, device=read.device)
    quantiles = torch.quantile(gates, torch.tensor(_QUANTILES, device=gates.device))
    norms = added.reshape(streams).float().norm(dim=-1) / streamed.norm(dim=-1).clamp_min(1e-12)
    return torch.cat([quantiles, norms[read].mean().reshape(1)])

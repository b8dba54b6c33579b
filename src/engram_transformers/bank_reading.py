"""How a model's banks read: before each of their blocks, and before tables lie over them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engram_transformers.active import Frame, frame_of, is_disabled
from engram_transformers.architectures import text_config
from engram_transformers.banks.addresses import table_addresses
from engram_transformers.banks.attached import AttachedBank
from engram_transformers.banks.calls import BankCall, begin_bank_call
from engram_transformers.banks.fetching import Fetch
from engram_transformers.banks.inputs import GrownInputs
from engram_transformers.buckets.reading import replaced, replaces
from engram_transformers.caches import past_of
from engram_transformers.calls import Call, current_call
from engram_transformers.compiled import banks_on, fetch_rows
from engram_transformers.errors import CacheHistoryError, HistoryError, NotPatchedError
from engram_transformers.history import commit_inputs, ledger_of
from engram_transformers.layouts import find_hidden_states, replace_hidden_states
from engram_transformers.patch_state import PatchState
from engram_transformers.recomputation import in_backward

BANK = "engram_bank"


class BankReading(PatchState):
    """The part of a model's patch that has to do with its banks.

    Banks are part of the model: they read in every forward, whatever tables are active, unless they
    are switched off by `engram_disabled`.
    """

    @property
    def banks_are_on(self) -> bool:
        """Whether there are any and nobody here has switched them off.

        Compiled code can't ask who has; there, each bank does.
        """
        return bool(self.banks) and (torch.compiler.is_compiling() or not is_disabled(self))

    def begin_banks(
        self, window: Tensor, seq: int, cache: object, *, overridden: bool = False
    ) -> BankCall:
        """Compute what the banks need to know of a call.

        Args:
            window: (batch, earlier + seq) int64, coded ids.
            seq: How many are new.
            cache: What the call was given, after `recall` has seen it.
            overridden: Whether the call has an `override`.

        Returns:
            For the call.

        Raises:
            CacheHistoryError: If the cache holds tokens that the banks did not read at.
        """
        ledger = None if cache is None else ledger_of(cache)
        frame = None if torch.compiler.is_compiling() else frame_of(self)
        wanted = [n for n in self.banks if overridden or replaces(self, None, frame, n)]
        if ledger is None:
            rows = self._rows_ahead(window, seq)
            return begin_bank_call(self.banks, window, seq, None, rows, wanted)
        inputs = ledger.inputs
        kept = [layer for layer, bank in self.banks.items() if bank.state_length]
        for key in dict.fromkeys([*((layer, 0) for layer in kept), *inputs.runs]):
            if not self.is_run(key[0]):
                continue
            if isinstance(inputs, GrownInputs):
                past, seen = ledger.length - seq, inputs.length(key)
                if seen < past:
                    raise CacheHistoryError(past, seen)
            elif key not in inputs.runs and _holds_tokens(cache):
                raise CacheHistoryError(None, 0)
        rows = self._rows_ahead(window, seq)
        return begin_bank_call(self.banks, window, seq, inputs, rows, wanted)

    def _rows_ahead(self, window: Tensor, seq: int) -> dict[int, Tensor | Fetch]:
        """Begin to fetch what offloaded banks will read; in compiled code, fetch it."""
        first = window.shape[1] - seq
        offloaded = {n: bank for n, bank in self.banks.items() if bank.offloaded is not None}
        if torch.compiler.is_compiling():
            return {
                n: fetch_rows(
                    window,
                    first,
                    self.number,
                    n,
                    bank.config.width,
                    bank.rows_dtype,
                    bank.numbers.device,
                )
                for n, bank in offloaded.items()
            }
        if not offloaded:
            return {}
        if torch.is_grad_enabled():
            for bank in offloaded.values():
                bank.require_frozen()
        tables = {
            n: (bank.offloaded, bank.numbers.device)
            for n, bank in offloaded.items()
            if bank.offloaded is not None
        }
        return {**self.fetcher.start(tables, window, first)}

    def end_banks(self, call: Call) -> None:
        """Keep what the banks were given, after a call has succeeded."""
        if self.banks and call.cache is not None:
            commit_inputs(call.cache, call.banks)

    def is_run(self, layer: int) -> bool:
        """Say whether the model means to run a block now."""
        # A draft by early exit lowers the number of layers on purpose.
        depth = getattr(text_config(self.model), "num_hidden_layers", None)
        return not (isinstance(depth, int) and layer >= depth)

    def before_bank(
        self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Let the block's bank add to its hidden states."""
        bank = _bank_of(block)
        call = current_call(self)
        if call is not None and call.banks is None:
            return None
        compiling = torch.compiler.is_compiling()
        repeats = call is None and not compiling and in_backward()
        if call is None and not repeats:
            if not self.banks_are_on:
                return None
            raise HistoryError(
                "A decoder block with a bank ran outside of its model's forward (model.forward()"
                " called directly, or the block alone?), so its token ids are unknown. Call the"
                " model itself: model(input_ids=…)."
            )
        hidden_states, keyword = find_hidden_states(args, kwargs, self.layout.model_type)
        frame = None if compiling or repeats else frame_of(self)
        if repeats:
            call, frame = self.recomputation.first_run(bank.layer, hidden_states, None, None)
        if call is None or call.banks is None:
            return None
        banks = call.banks
        key = (bank.layer, 0) if repeats else banks.next_run(bank.layer)
        if not repeats and not compiling and call.has_gradients:
            seen = banks.repeating(key)
            self.recomputation.note_bank(bank.layer, hidden_states, call, frame, seen)
        changed, inputs = self._read_bank(bank, hidden_states, call, banks, key, frame)
        if repeats:
            self.recomputation.hand_on(bank.layer, hidden_states, changed)
        else:
            banks.take(key, inputs)
        return replace_hidden_states(args, kwargs, keyword, changed)

    def _read_bank(
        self,
        bank: AttachedBank,
        hidden_states: Tensor,
        call: Call,
        banks: BankCall,
        key: tuple[int, int],
        frame: Frame | None,
    ) -> tuple[Tensor, Tensor]:
        """Return a block's hidden states with what a bank adds, and the convolution's inputs."""
        positions = self.layout.by_position(hidden_states, *call.shape)
        device = positions.device
        state = banks.state(key)
        addresses, rows = banks.addresses.get(bank.layer), banks.rows_of(bank.layer)
        addresses = None if addresses is None else addresses.to(device)
        rows = None if rows is None else rows.to(device)
        if addresses is not None and replaces(self, call, frame, bank.layer):
            rows = bank.rows_at(addresses) if rows is None else rows
            numbers = table_addresses(addresses, bank.bank_hash)
            heads = rows.unflatten(2, (addresses.shape[2], -1))
            rows = replaced(self, call, frame, bank.layer, numbers, heads).flatten(2)
        added, inputs = bank(
            positions,
            addresses,
            None if state is None else state.to(device),
            banks.starts.to(device),
            rows=rows,
        )
        kept = banks.padding.to(device)[:, :, None, None]
        if torch.compiler.is_compiling() and self.disabled_somewhere:
            kept = kept | ~banks_on(self.number, hidden_states)
        changed = torch.where(kept, positions, positions + added)
        return self.layout.like(changed, hidden_states), inputs


def _bank_of(block: nn.Module) -> AttachedBank:
    """Return a block's bank, or raise if somebody took it away."""
    bank = block._modules.get(BANK)
    if not isinstance(bank, AttachedBank):
        raise NotPatchedError(type(block).__name__)
    return bank


def _holds_tokens(cache: object) -> bool:
    """Say whether a cache is not empty; compiled code can't ask."""
    return not torch.compiler.is_compiling() and int(past_of(cache)) > 0

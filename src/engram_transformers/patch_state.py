"""What the patch of one model knows and keeps, whatever is running."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import xxhash
from torch import Tensor, nn

from engram_transformers.active import Frame
from engram_transformers.architectures import input_embeddings_of, vocab_size_of
from engram_transformers.banks.attached import AttachedBank
from engram_transformers.banks.fetching import Fetcher
from engram_transformers.compiled import number_for
from engram_transformers.config import EngramConfig
from engram_transformers.errors import (
    NotPatchedError,
    TokenizerMismatchError,
)
from engram_transformers.fingerprint import merged_adapters, model_fingerprint, whole_weight
from engram_transformers.hashing import SuffixHasher
from engram_transformers.index import Rows
from engram_transformers.layouts import Layout
from engram_transformers.memory import EngramMemory
from engram_transformers.placement import device_of
from engram_transformers.prepared import PreparedTables
from engram_transformers.recomputation import Recomputation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from engram_transformers.buckets.native_rows import NativeRows
    from engram_transformers.lora import SharedLora
    from engram_transformers.token_rows import TokenRows

_FRAMES_LOCK = threading.Lock()


class PatchState:
    """What a patch knows of its model, and which tables are open on it.

    Attributes:
        model: The patched transformers model (inside a PEFT wrapper, if any).
        config: With `layers` resolved.
        tokenizer: Used to write and to show facts.
        tokenizer_fingerprint: Of the tokenizer whose canonical ids are addressed.
        memories: Layer -> memory.
        banks: Layer -> bank; empty if the model has none.
        native: Layer -> the n-gram memory that the model's class brings; empty if it brings none.
        reach: How many earlier tokens a position may need to know of.
        blocks_name: The dotted name of the list of decoder blocks within the model.
        layout: Of the blocks' hidden states.
        number: By which compiled code finds this object.
        open_frames: The `use_tables` blocks that are running, in any thread.
        shared_frames: Those of them that all threads read.
        tables_open: Whether there are any: a plain flag, which compiled code is guarded by.
        disabled_somewhere: Whether `engram_disabled` holds in some thread: such a flag, too.
        prepared: Tables that were read lately, ready to be read again.
        no_rows: What a table has at a layer that is not its own.
        fetcher: Brings the rows of offloaded banks.
        recomputation: What blocks read whose hidden states a backward pass may need again.
        ignored_on_save: What the model itself left out of its checkpoints, if it said so.
        shortcuts: Layer -> how the model is run while writing to it; see `shortcut`.
        token_rows: Layer -> what `token_rows.TokenRows` was found for, and it.
        one_pass_agrees: Whether a pass over prompts with their answers says what `generate` says,
            as far as seen; None before it was looked at.
        shared_lora: What `attach_shared_lora` attached, None for nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        config: EngramConfig,
        tokenizer: PreTrainedTokenizerBase,
        tokenizer_fingerprint: str,
        canonical: Tensor,
        memories: dict[int, EngramMemory],
        banks: dict[int, AttachedBank],
        blocks_name: str,
        layout: Layout,
    ) -> None:
        self.model = model
        self.blocks_name = blocks_name
        self.layout = layout
        self.number = number_for(self)
        self.open_frames: tuple[Frame, ...] = ()
        self.shared_frames: tuple[Frame, ...] = ()
        self.tables_open = False
        self.disabled_somewhere = False
        self._disabled_blocks = 0
        self.config = config
        self.tokenizer = tokenizer
        self.tokenizer_fingerprint = tokenizer_fingerprint
        self.memories = memories
        self.banks = banks
        self.native: dict[int, NativeRows] = {}
        backwards = [max(b.config.max_order - 1, b.state_length) for b in banks.values()]
        self.reach = max([config.max_order - 1, *backwards])
        self.canonical = canonical
        self.canonical_list: list[int] = canonical.tolist()
        self.hasher = SuffixHasher(config.seed, config.max_order)
        self.shared_lora: SharedLora | None = model.__dict__.get("_engram_shared_lora")
        self.handles: list[Any] = []
        self._hooked: list[str] = []
        self.recomputation = Recomputation()
        self.prepared = PreparedTables()
        nothing = torch.zeros(0, dtype=torch.int64)
        self.no_rows = Rows(nothing, nothing, torch.zeros(0, config.row_dim), ())
        self.ignored_on_save: list[Any] = []
        self.shortcuts: dict[int, str] = {}
        self.one_pass_agrees: bool | None = None
        self.token_rows: dict[int, tuple[object, TokenRows]] = {}
        self._argument_names: dict[type, tuple[str, ...]] = {}
        self._fingerprint: tuple[object, str] | None = None
        self._bank_fingerprint: tuple[object, str | None] | None = None
        self.fetcher = Fetcher()
        self._premixed = {torch.device("cpu"): self.hasher.premix(canonical)}

    def premixed(self, device: torch.device) -> Tensor:
        """Return token id -> pre-mixed canonical id, (vocab,) int64, on a device."""
        found = self._premixed.get(device)
        if found is None:
            with torch.inference_mode(False):
                found = self._premixed[device] = self._premixed[torch.device("cpu")].to(device)
        return found

    @property
    def block_list(self) -> nn.ModuleList:
        """The model's decoder blocks."""
        blocks = self.model.get_submodule(self.blocks_name)
        if not isinstance(blocks, nn.ModuleList):
            raise NotPatchedError(type(self.model).__name__)
        return blocks

    @property
    def blocks(self) -> int:
        """How many decoder blocks the model has."""
        return len(self.block_list)

    @property
    def device(self) -> torch.device:
        """Where the model takes token ids."""
        return device_of(input_embeddings_of(self.model) or self.model)

    def require_vocabulary(self) -> None:
        """Raise if the model has other token ids than when it was patched.

        Raises:
            TokenizerMismatchError: If the embeddings were resized since.
        """
        seen, known = vocab_size_of(self.model), self.canonical.numel()
        if seen != known:
            raise TokenizerMismatchError(
                f"The model had embeddings for {known} tokens when it was patched, and now has"
                f" {seen}: call remove_engram(model), then add_engram(model, tokenizer) again."
            )

    @contextmanager
    def evaluating(self) -> Generator[None]:
        """Switch dropout off until the block ends."""
        training = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True

    def model_fingerprint(self) -> str:
        """Return the base model's fingerprint, computed again only when a weight has changed."""
        versions = [(id(p), p._version) for p in self.model.parameters() if not p.is_inference()]
        # PEFT merges through `.data`, which raises no version.
        state = (tuple(versions), merged_adapters(self.model))
        if self._fingerprint is None or self._fingerprint[0] != state:
            self._fingerprint = (state, model_fingerprint(self.model))
        return self._fingerprint[1]

    def gate_fingerprint(self) -> str | None:
        """Return a digest of the learned gates' weights, None where gates have no weights."""
        weights = [
            whole_weight(memory, name, weight)
            for _, memory in sorted(self.memories.items())
            for name, weight in memory.named_parameters()
        ]
        if not weights:
            return None
        digest = xxhash.xxh3_128()
        for weight in weights:
            digest.update(weight.numpy().tobytes())
        return digest.hexdigest()

    def bank_fingerprint(self) -> str | None:
        """Return a digest of the banks' weights, None where they add nothing.

        Computed again only when a weight has changed. Cost: all rows are read, on the CPU.
        """
        if not self.banks:
            return None
        state = self._bank_state()
        if self._bank_fingerprint is None or self._bank_fingerprint[0] != state:
            speaking = [bank for _, bank in sorted(self.banks.items()) if not bank.is_silent]
            digest = xxhash.xxh3_128()
            for bank in speaking:
                bank.update(digest)
            self._bank_fingerprint = (state, digest.hexdigest() if speaking else None)
        return self._bank_fingerprint[1]

    def forget_banks(self) -> None:
        """Forget the digest of the banks' weights: there are others now."""
        self._bank_fingerprint = None

    @contextmanager
    def moving_banks(self) -> Generator[None]:
        """Keep the digest while weights move from one place to another."""
        known = self._bank_fingerprint
        is_valid = known is not None and known[0] == self._bank_state()
        yield
        if known is not None and is_valid:
            self._bank_fingerprint = (self._bank_state(), known[1])

    def _bank_state(self) -> list[tuple[int, int, int]]:
        """Return what changes when a weight of a bank does."""
        weights = [w for b in self.banks.values() for found in b.weights().values() for w in found]
        return [(id(w), w.data_ptr(), w._version) for w in weights if not w.is_inference()]

    def count_disabled(self, change: int) -> None:
        """Note that an `engram_disabled` block begins (1) or ends (-1)."""
        with _FRAMES_LOCK:
            self._disabled_blocks += change
            self.disabled_somewhere = self._disabled_blocks > 0

    def open_frame(self, frame: Frame, *, all_threads: bool) -> None:
        """Note that tables are active somewhere; `close_frame` ends it."""
        for layer, memory in self.memories.items():  # compiled code can't make them
            memory.maps(device_of(self.block_list[layer]))
        with _FRAMES_LOCK:
            self.open_frames = (*self.open_frames, frame)
            self.tables_open = any(frame.tables for frame in self.open_frames)
            if all_threads:
                self.shared_frames = (*self.shared_frames, frame)

    def close_frame(self, frame: Frame) -> None:
        """Undo `open_frame`."""
        with _FRAMES_LOCK:
            self.open_frames = tuple(f for f in self.open_frames if f is not frame)
            self.tables_open = any(frame.tables for frame in self.open_frames)
            self.shared_frames = tuple(f for f in self.shared_frames if f is not frame)
        self.recomputation.forget_expired()

    def __getstate__(self) -> dict[str, Any]:
        """Keep the pre-mixed ids on the CPU only, and nothing that depends on object identity."""
        cpu = torch.device("cpu")
        kept = {"_premixed": {cpu: self._premixed[cpu]}, "token_rows": {}}
        kept |= {"_fingerprint": None, "_bank_fingerprint": None, "fetcher": Fetcher()}
        nowhere_active = {"open_frames": (), "shared_frames": (), "tables_open": False}
        nowhere_active |= {"disabled_somewhere": False, "_disabled_blocks": 0}
        nothing_run = {"recomputation": Recomputation()}
        return {**self.__dict__, **kept, **nowhere_active, **nothing_run}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a number of its own."""
        self.__dict__.update(state)
        self.number = number_for(self)

"""The patch of one model: its hooks, what they share, and how it is undone."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import xxhash
from torch import Tensor, nn

from engram_transformers.active import frame_of
from engram_transformers.architectures import hidden_states_of
from engram_transformers.calls import Call, begin_call, current_call, end_call
from engram_transformers.config import EngramConfig
from engram_transformers.errors import (
    HistoryError,
    MissingInputIdsError,
    NotPatchedError,
    UnsupportedCacheError,
)
from engram_transformers.fingerprint import merged_adapters, model_fingerprint
from engram_transformers.hashing import SuffixHasher
from engram_transformers.history import CACHE_ARGUMENTS, encode, recall, remember_created
from engram_transformers.memory import EngramMemory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from engram_transformers.lora import SharedLora

ATTRIBUTE = "_engram_attachment"
SUBMODULE = "engram"


class Attachment:
    """What `add_engram` puts on a model, in place.

    All hooks are bound methods of this object and of the memories, never closures: `copy.deepcopy`
    and pickle of the model then give a copy with hooks of its own.

    Attributes:
        model: The patched transformers model (inside a PEFT wrapper, if any).
        config: With `layers` resolved.
        tokenizer: Used to write and to show facts.
        tokenizer_fingerprint: Of the tokenizer whose canonical ids are addressed.
        memories: Layer -> memory.
        blocks: How many decoder blocks the model has.
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
        blocks: int,
    ) -> None:
        self.model = model
        self.config = config
        self.tokenizer = tokenizer
        self.tokenizer_fingerprint = tokenizer_fingerprint
        self.memories = memories
        self.canonical = canonical
        self.canonical_list: list[int] = canonical.tolist()
        self.hasher = SuffixHasher(config.seed, config.max_order)
        self.blocks = blocks
        self.shared_lora: SharedLora | None = model.__dict__.get("_engram_shared_lora")
        self.handles: list[Any] = []
        self._fingerprint: tuple[object, str] | None = None
        self._premixed = {torch.device("cpu"): self.hasher.premix(canonical)}

    def premixed(self, device: torch.device) -> Tensor:
        """Return token id -> pre-mixed canonical id, (vocab,) int64, on a device."""
        found = self._premixed.get(device)
        if found is None:
            found = self._premixed[device] = self._premixed[torch.device("cpu")].to(device)
        return found

    @property
    def device(self) -> torch.device:
        """Where the model takes token ids."""
        model: Any = self.model
        return model.get_input_embeddings().weight.device

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
        weights = [w for _, memory in sorted(self.memories.items()) for w in memory.parameters()]
        if not weights:
            return None
        digest = xxhash.xxh3_128()
        for weight in weights:
            digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def register(self, entry_points: list[nn.Module], blocks: nn.ModuleList) -> None:
        """Hook the modules that receive the ids, and the blocks that have memories."""
        for module in dict.fromkeys(entry_points):
            self.handles.append(
                module.register_forward_pre_hook(self.before_model, with_kwargs=True)
            )
            self.handles.append(module.register_forward_hook(self.after_model, always_call=True))
        for layer, memory in self.memories.items():
            block = blocks[layer]
            block.add_module(SUBMODULE, memory)
            self.handles.append(
                block.register_forward_pre_hook(self.before_block, with_kwargs=True)
            )

    def before_model(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Learn the call's ids. The outermost module that is called knows them."""
        running = current_call(self)
        if running is not None and running.module is not module:
            return
        if running is not None:  # left by Ctrl-C within its forward: torch runs no hooks then
            end_call(running)
        arguments = _named_arguments(module, args, kwargs)
        input_ids = arguments.get("input_ids")
        if not isinstance(input_ids, Tensor) or input_ids.ndim != 2:
            self._begin(Call(self, module, None, (0, 0), MissingInputIdsError()))
            return
        shape = (input_ids.shape[0], input_ids.shape[1])
        if arguments.get("write_index") is not None:
            problem = UnsupportedCacheError("paged", "continuous batching is not supported yet.")
            self._begin(Call(self, module, None, shape, problem))
            return
        new = encode(input_ids, arguments)
        cache = next((arguments[a] for a in CACHE_ARGUMENTS if arguments.get(a) is not None), None)
        window, problem = recall(new, cache, self.config.max_order - 1)
        unsaved = new if cache is None else None
        self._begin(Call(self, module, window, shape, problem, unsaved, cache))

    def _begin(self, call: Call) -> None:
        """Make a call the current one, unless it could not be read: before any cache changes."""
        frame = frame_of(self)
        if frame is not None:
            frame.require_readable(call)
        begin_call(call)

    def after_model(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        """End the call, also after an exception, and remember ids on a cache made within it."""
        call = current_call(self)
        if call is None or call.module is not module:
            return
        end_call(call)
        if call.unsaved is not None and output is not None:
            remember_created(call.unsaved, output, call.scratch.get("rows_per_sample", 1))

    def before_block(
        self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Let the block's memory read, if it has anything to read."""
        memory = _memory_of(block)
        call = current_call(self)
        frame = frame_of(self)
        writing = call is not None and call.replace is not None
        if not writing and (frame is None or not frame.has_rows(memory.layer)):
            return None
        if call is None:
            raise HistoryError(
                "A decoder block ran outside of its model's forward (model.forward() called"
                " directly, or the block alone?), so its token ids are unknown. Call the model"
                " itself: model(input_ids=…)."
            )
        model_name = type(self.model).__name__
        hidden_states, by_keyword = hidden_states_of(args, kwargs, model_name)
        if call.replace is not None:
            read = call.replace(memory.layer, hidden_states)
        else:
            if call.problem is not None:
                raise call.problem
            if frame is None or tuple(hidden_states.shape[:2]) != call.shape:
                raise HistoryError(
                    f"A decoder block got hidden states of shape {tuple(hidden_states.shape)} for"
                    f" token ids of shape {call.shape}: their positions can't be told apart."
                )
            values, found = frame.read(call, memory.layer, hidden_states.device)
            read = memory(hidden_states, values, found)
        if by_keyword:
            return args, {**kwargs, "hidden_states": read}
        return (read, *args[1:]), kwargs

    def __getstate__(self) -> dict[str, Any]:
        """Keep the pre-mixed ids on the CPU only, and nothing that depends on object identity."""
        cpu = torch.device("cpu")
        kept = {"_premixed": {cpu: self._premixed[cpu]}, "_fingerprint": None}
        return {**self.__dict__, **kept}


def _memory_of(block: nn.Module) -> EngramMemory:
    """Return a block's memory, or raise if somebody took it away."""
    memory = block._modules.get(SUBMODULE)
    if not isinstance(memory, EngramMemory):
        raise NotPatchedError(type(block).__name__)
    return memory


def find_attachment(model: nn.Module) -> Attachment | None:
    """Return the patch of a model or of a model inside wrappers, None if there is none."""
    for module in model.modules():
        found = module.__dict__.get(ATTRIBUTE)
        if found is not None:
            return found
    return None


def require_attachment(model: nn.Module) -> Attachment:
    """Return the patch of a model.

    Raises:
        NotPatchedError: If there is none.
    """
    attachment = find_attachment(model)
    if attachment is None:
        raise NotPatchedError(type(model).__name__)
    return attachment


def _named_arguments(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    if not args:
        return kwargs
    names = list(inspect.signature(module.forward).parameters)
    return {**dict(zip(names, args, strict=False)), **kwargs}

"""The patch of one model: its hooks, what they share, and how it is undone."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from engram_transformers.active import frame_of, is_disabled
from engram_transformers.bank_reading import BANK, BankReading
from engram_transformers.buckets.native_rows import find_native
from engram_transformers.caches import cache_of
from engram_transformers.calls import Call, begin_call, current_call, end_call
from engram_transformers.coded_ids import encode, set_aside
from engram_transformers.compiled import read
from engram_transformers.errors import (
    DamagedPatchError,
    ExportError,
    HistoryError,
    MissingInputIdsError,
    NotPatchedError,
    SkippedBlockError,
)
from engram_transformers.history import (
    can_note,
    commit,
    hand_on,
    ledger_of,
    note,
    recall,
    remember_created,
)
from engram_transformers.layouts import find_hidden_states, replace_hidden_states
from engram_transformers.memory import EngramMemory
from engram_transformers.paged import is_paged, recall_paged, require_same_tables
from engram_transformers.recomputation import in_backward

ATTRIBUTE = "_engram_attachment"
SUBMODULE = "engram"


class Attachment(BankReading):
    """What `add_engram` puts on a model, in place: hooks, and what they share.

    All hooks are bound methods of this object and of the memories, never closures: `copy.deepcopy`
    and pickle of the model then give a copy with hooks of its own.
    """

    def register(self, entry_points: list[nn.Module]) -> None:
        """Hook the modules that receive the ids, and the blocks that have memories."""
        for module in entry_points:
            name = type(module).__name__
            self._argument_names[type(module)] = argument_names(module)
            before = module.register_forward_pre_hook(self.before_model, with_kwargs=True)
            after = module.register_forward_hook(self.after_model, always_call=True)
            self.handles += [before, after]
            self._hooked += [f"before {name}", f"after {name}"]
        # With banks, tables replace rows of those; one of the same layer must not reach both.
        self.native = {} if self.banks else find_native(self)
        for layer, rows in self.native.items():
            self.handles.append(rows.table.register_forward_hook(rows.after_lookup))
            self._hooked.append(f"behind the n-gram rows of decoder block {layer}")
        for layer, memory in self.memories.items():
            block = self.block_list[layer]
            if layer in self.banks:  # before the tables, which lie over it
                block.add_module(BANK, self.banks[layer])
                handle = block.register_forward_pre_hook(self.before_bank, with_kwargs=True)
                self.handles.append(handle)
                self._hooked.append(f"before the bank of decoder block {layer}")
            block.add_module(SUBMODULE, memory)
            handle = block.register_forward_pre_hook(self.before_block, with_kwargs=True)
            self.handles.append(handle)
            self._hooked.append(f"before decoder block {layer}")

    def before_model(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Learn the call's ids. The outermost module that is called knows them."""
        # FSDP and parametrizations change a module's class.
        names = self._argument_names.get(type(module)) or argument_names(module)
        arguments = {**dict(zip(names, args, strict=False)), **kwargs} if args else kwargs
        input_ids = arguments.get("input_ids")
        running = current_call(self)
        if running is not None:
            if running.module is not module and not _is_left_over(running, input_ids):
                return
            end_call(running)  # left by Ctrl-C within its forward: torch runs no hooks then
        if input_ids is None and "input_ids" not in names:
            return  # a wrapper that passes on whatever it is given
        if not isinstance(input_ids, Tensor) or input_ids.ndim != 2:
            problem = MissingInputIdsError()
            if self.banks_are_on:
                raise problem
            self._begin(Call(self, module, None, (0, 0), problem))
            return
        shape = (input_ids.shape[0], input_ids.shape[1])
        if is_paged(arguments):
            self._begin_paged(module, shape, input_ids, arguments)
            return
        cache = cache_of(arguments)
        if self._begin_unread(module, shape, input_ids, cache, arguments):
            return
        new = encode(input_ids, arguments)
        window, problem, after = recall(new, cache, self.reach)
        ledger = None if cache is None else ledger_of(cache)
        banks = None
        if self.banks_are_on:
            if problem is not None:
                raise problem
            self._require_as_patched(shape)
            banks = self.begin_banks(window, shape[1], cache)
        self._begin(
            Call(
                self,
                module,
                window,
                shape,
                problem,
                unsaved=new if cache is None else None,
                input_ids=input_ids,
                cache=cache,
                window_after=after,
                rows_per_sample=1 if ledger is None else ledger.rows_per_sample,
                banks=banks,
            )
        )

    def _begin_unread(
        self,
        module: nn.Module,
        shape: tuple[int, int],
        input_ids: Tensor,
        cache: object,
        arguments: dict[str, Any],
    ) -> bool:
        """Begin a call in which nothing is read, and return whether it is one."""
        if torch.compiler.is_compiling() or not can_note(cache) or self.banks_are_on:
            return False
        frame = frame_of(self)
        if frame is not None and frame.has_any_rows:
            return False
        part = set_aside(input_ids, arguments)
        if part is None:
            return False
        if cache is not None:
            note(part, cache)
        begin_call(
            Call(
                self,
                module,
                None,
                shape,
                unsaved=part if cache is None else None,
                input_ids=input_ids,
                cache=cache,
                has_gradients=torch.is_grad_enabled(),
                reads_nothing=True,
            )
        )
        return True

    def _begin_paged(
        self,
        module: nn.Module,
        shape: tuple[int, int],
        input_ids: Tensor,
        arguments: dict[str, Any],
    ) -> None:
        if self.banks_are_on:
            raise HistoryError(
                "Continuous batching does not read banks yet: it would need their convolutions'"
                " inputs by slot. Generate without it (model.generate), or patch the model without"
                " memory_size."
            )
        frame = frame_of(self)
        if frame is None and self.tables_open and not is_disabled(self):
            raise HistoryError(
                "Continuous batching generates in a thread of its own, which does not see the"
                " tables that are active in others. Share them with it: use_tables(model, table,"
                " all_threads=True)."
            )
        new = encode(input_ids, {"position_ids": arguments.get("position_ids")})  # no padding
        window, problem, _ = recall_paged(new, arguments, self.reach)
        if problem is None:
            require_same_tables(arguments["cache"], () if frame is None else frame.state())
        self._begin(Call(self, module, window, shape, problem, input_ids=input_ids, is_paged=True))

    def _begin(self, call: Call) -> None:
        """Make a call the current one, unless it could not be read: before any cache changes."""
        if not torch.compiler.is_compiling():  # there, the operator that reads looks
            frame = frame_of(self)
            if frame is not None and frame.has_any_rows:
                _refuse_freezing(call.input_ids)
                self._require_as_patched(call.shape)
                frame.require_readable(call)
            call.has_gradients = torch.is_grad_enabled()
        begin_call(call)

    def _require_as_patched(self, shape: tuple[int, int]) -> None:
        """Raise if the model is not as it was when it was patched."""
        if torch.compiler.is_compiling():
            return
        self.require_intact()
        if shape[1] != 1:  # a step follows a call that was looked at
            self.require_vocabulary()

    def after_model(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        """End the call, also after an exception, and remember ids on a cache made within it."""
        call = current_call(self)
        if call is None or call.module is not module:
            return
        end_call(call)
        if output is None:  # an exception
            return
        if not torch.compiler.is_compiling():
            self._require_visited(call)
        if call.window_after is not None:
            commit(call.cache, call.window_after)
        self.end_banks(call)
        if call.unsaved is not None:
            rows_per_sample = call.rows_per_sample
            remember_created(call.unsaved, output, rows_per_sample, self.reach, call.banks)
        elif not torch.compiler.is_compiling():
            hand_on(call.cache, output)

    def before_block(
        self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Let the block's memory read, if it has anything to read."""
        memory = _memory_of(block)
        call = current_call(self)
        if call is not None:
            call.visited.add(memory.layer)
        compiling = torch.compiler.is_compiling()
        frame = None if compiling else frame_of(self)
        if not compiling and (in_backward() if call is None else call.has_gradients):
            hidden_states, _ = find_hidden_states(args, kwargs, self.layout.model_type)
            call, frame = self.recomputation.first_run(memory.layer, hidden_states, call, frame)
        writing = call is not None and call.replace is not None
        if call is not None and call.reads_nothing and not writing:
            return None  # also if another thread has written rows since the call began
        if compiling:
            if not self.tables_open:
                return None
        elif not writing and (frame is None or not frame.has_rows(memory.layer)):
            return None
        if call is None:
            raise HistoryError(
                "A decoder block ran outside of its model's forward (model.forward() called"
                " directly, or the block alone?), so its token ids are unknown. Call the model"
                " itself: model(input_ids=…)."
            )
        hidden_states, keyword = find_hidden_states(args, kwargs, self.layout.model_type)
        if call.replace is not None:
            read = call.replace(memory.layer, hidden_states)
        else:
            if compiling:
                rows, found = self._read_compiled(call, memory.layer, hidden_states.device)
            else:
                if call.problem is not None:
                    raise call.problem
                if frame is None:
                    raise RuntimeError("Rows were seen without a frame.")
                rows, found = frame.read(call, memory.layer, hidden_states.device)
            read = self.apply(memory, hidden_states, rows, found)
        return replace_hidden_states(args, kwargs, keyword, read)

    def require_intact(self) -> None:
        """Raise if a hook or a memory that is needed now was taken away."""
        name = type(self.model).__name__
        for hooked, handle in zip(self._hooked, self.handles, strict=True):
            if handle.id not in (handle.hooks_dict_ref() or ()):
                raise DamagedPatchError(name, f"the hook {hooked} was removed")
        blocks = self.block_list
        for layer, memory in self.memories.items():
            block = blocks[layer] if layer < len(blocks) else None
            if block is None or not _holds(block, SUBMODULE, memory):
                raise DamagedPatchError(name, f"decoder block {layer} was replaced")
            if layer in self.banks and not _holds(block, BANK, self.banks[layer]):
                raise DamagedPatchError(name, f"the bank of decoder block {layer} was taken off")
        for layer, rows in self.native.items():
            if layer >= len(blocks) or not rows.is_in(blocks[layer]):
                part = f"the n-gram memory of decoder block {layer} was replaced"
                raise DamagedPatchError(name, part)

    def _require_visited(self, call: Call) -> None:
        """Raise if there was something to read at a block that the model passed by."""
        frame = frame_of(self)
        if call.banks is None and (frame is None or call.problem is not None):
            return
        for layer in self.memories:
            has_bank = call.banks is not None and layer in self.banks
            reads = has_bank or (frame is not None and frame.has_rows(layer))
            if reads and layer not in call.visited and self.is_run(layer):
                raise SkippedBlockError(layer, type(self.model).__name__)
        for layer in self.native:
            reads = frame is not None and frame.has_buckets(layer)
            if reads and layer not in call.looked_up and self.is_run(layer):
                raise SkippedBlockError(layer, type(self.model).__name__)

    def apply(
        self, memory: EngramMemory, hidden_states: Tensor, rows: Tensor, found: Tensor
    ) -> Tensor:
        """Add rows to a block's hidden states, whatever their layout.

        Args:
            memory: The block's.
            hidden_states: As the block is called with.
            rows: (batch, seq, row_dim) float32; ignored where nothing was found.
            found: (batch, seq) bool.

        Returns:
            The same shape and dtype as `hidden_states`.
        """
        streams, rows, found = self.layout.align(hidden_states, rows, found)
        return memory(streams, rows, found).view(hidden_states.shape)

    def _read_compiled(self, call: Call, layer: int, device: torch.device) -> tuple[Tensor, Tensor]:
        window, problem = call.window, call.problem
        if window is None:
            window = torch.zeros(call.shape, dtype=torch.int64, device=device)
        return read(
            window,
            call.shape[1],
            self.number,
            layer,
            self.config.row_dim,
            call.rows_per_sample,
            "" if problem is None else str(problem),
            device,
        )


def _memory_of(block: nn.Module) -> EngramMemory:
    """Return a block's memory, or raise if somebody took it away."""
    memory = block._modules.get(SUBMODULE)
    if not isinstance(memory, EngramMemory):
        raise NotPatchedError(type(block).__name__)
    return memory


def _holds(block: nn.Module, name: str, memory: nn.Module) -> bool:
    """Say whether a block, or what it wraps (compiled, checkpointed), has a memory or a bank."""
    if block._modules.get(name) is memory:
        return True
    return any(module._modules.get(name) is memory for module in block.modules())


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


def argument_names(module: nn.Module) -> tuple[str, ...]:
    """Return the names of a module's positional arguments."""
    parameters = inspect.signature(type(module).forward).parameters.values()
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(p.name for p in parameters if p.kind in by_position)[1:]  # without self


def _is_left_over(call: Call, input_ids: object) -> bool:
    """Say whether a call can't be the outer one of a module that is called with other ids."""
    if torch.compiler.is_compiling() or not isinstance(input_ids, Tensor):
        return False
    known = call.input_ids
    if known is None or known is input_ids:
        return False
    try:
        return known.shape != input_ids.shape or known.data_ptr() != input_ids.data_ptr()
    except RuntimeError:  # those that torch.func wraps have no memory of their own
        return False


def _refuse_freezing(input_ids: Tensor | None) -> None:
    """Raise where what is read now would be replayed for ever."""
    on_gpu = input_ids is not None and input_ids.is_cuda
    if (on_gpu and torch.cuda.is_current_stream_capturing()) or torch.jit.is_tracing():
        raise ExportError()

"""The rows of an n-gram memory that a model's own class brings, as tables of buckets see them.

Nothing of the model is replaced: a hook behind the lookup of the rows gets their numbers and the
rows, and returns others. So the model's own hash, its state in caches, padding and the end of a
text that n-grams do not reach across are as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import xxhash
from torch import Tensor, nn

from engram_transformers.active import frame_of
from engram_transformers.architectures import model_type_of
from engram_transformers.buckets.errors import BucketReadError
from engram_transformers.buckets.layout import BucketLayout
from engram_transformers.buckets.reading import replaced, replaces
from engram_transformers.calls import Call, begin_call, current_call, end_call
from engram_transformers.errors import HistoryError
from engram_transformers.recomputation import in_backward

if TYPE_CHECKING:
    from engram_transformers.attachment import Attachment

_NO_GRADIENTS = (
    "Its blocks are checkpointed and computed again within the backward pass, where nobody knows"
    " whether their forward read the table. Train without gradient checkpointing; or without the"
    " table, after remove_engram and add_engram, and read tables under torch.no_grad() only."
)


@dataclass(frozen=True)
class NativeNames:
    """Where a class of models has its n-gram memory.

    Attributes:
        memory: The module within a block that reads it, called with hidden states.
        hashing: Within that, the module that is called with token ids and a cache and returns rows.
        table: Within that, the embedding that the rows are looked up in.
        value: Within `memory`, the projection of the rows of all heads to values.
    """

    memory: str
    hashing: str
    table: str
    value: str


NATIVE = {"qwen4_exp": NativeNames("ple", "ple_embedding", "ngram_embedding", "value_proj")}
"""`config.model_type`, without what says that it is the text part -> names."""


class NativeRows:
    """The n-gram memory of one block; see `HashedRows`.

    Args:
        attachment: The model's patch.
        layer: The block.
        memory: The module within it.
        names: Where the parts are.
    """

    def __init__(
        self, attachment: Attachment, layer: int, memory: nn.Module, names: NativeNames
    ) -> None:
        self.attachment = attachment
        self.layer = layer
        self._memory = memory
        self._names = names
        self._table = memory.get_submodule(f"{names.hashing}.{names.table}")
        self._layout: BucketLayout | None = None
        self._has_replaced = False

    @property
    def layout(self) -> BucketLayout:
        """How many rows there are, of which heads. Their weights are the base model's."""
        if self._layout is None:
            self._layout = self._described()
        return self._layout

    @property
    def module(self) -> nn.Module:
        """What reads the rows."""
        return self._memory

    @property
    def table(self) -> nn.Module:
        """What the rows are looked up in."""
        return self._table

    def is_in(self, block: nn.Module) -> bool:
        """Say whether a block, or what it wraps, still reads this memory from this table."""
        name, path = self._names.memory, f"{self._names.hashing}.{self._names.table}"
        if self._memory.get_submodule(path) is not self._table:
            return False
        if block._modules.get(name) is self._memory:
            return True
        return any(module._modules.get(name) is self._memory for module in block.modules())

    @property
    def is_silent(self) -> bool:
        """Never said: it is a part of the model as that was loaded."""
        return False

    def rows_read(self, input_ids: Tensor) -> Tensor:
        """Say which rows texts read; see `HashedRows`."""
        found: list[Tensor] = []

        def note(layer: int, numbers: Tensor, rows: Tensor) -> Tensor:
            if layer == self.layer:
                found.append(numbers)
            return rows

        shape = (input_ids.shape[0], input_ids.shape[1])
        call = Call(self.attachment, None, None, shape, override=note)
        begin_call(call)
        try:
            with torch.no_grad():
                self._hashing(input_ids, None)
        finally:
            end_call(call)
        return found[0].to(input_ids.device)

    def value(self, rows: Tensor) -> Tensor:
        """Compute what rows would add if the gate were open; see `HashedRows`."""
        projection = self._memory.get_submodule(self._names.value)
        weight = next(projection.parameters())
        dtype = weight.dtype if weight.is_floating_point() else torch.float32
        values = projection(rows.flatten(1).to(weight.device, dtype))
        return values.float().to(rows.device)

    def after_lookup(self, table: nn.Module, args: tuple[Any, ...], rows: Tensor) -> Tensor | None:
        """Return what is read in place of rows that were looked up; a forward hook of the table."""
        attachment = self.attachment
        call = current_call(attachment)
        if call is not None:
            call.looked_up.add(self.layer)
        frame = None if torch.compiler.is_compiling() else frame_of(attachment)
        if call is None and not torch.compiler.is_compiling() and in_backward():
            if self._has_replaced:
                raise BucketReadError(self.layer, "which were read with gradients", _NO_GRADIENTS)
            return None
        if not replaces(attachment, call, frame, self.layer):
            return None
        if call is None:
            raise HistoryError(
                "A decoder block with an n-gram memory ran outside of its model's forward"
                " (model.forward() called directly, or the block alone?), so it is unknown whose"
                " rows are to be read. Call the model itself: model(input_ids=…)."
            )
        if call.reads_nothing:
            return None  # another thread has written rows since the call began
        if call.is_paged:
            advice = "Generate without it (model.generate)."
            raise BucketReadError(self.layer, "which continuous batching does not do yet", advice)
        # Reentrant checkpointing runs its blocks without gradients at first.
        if call.override is None and (call.has_gradients or torch.is_grad_enabled()):
            self._has_replaced = True
        return replaced(attachment, call, frame, self.layer, args[0], rows)

    @property
    def _hashing(self) -> nn.Module:
        return self._memory.get_submodule(self._names.hashing)

    def _described(self) -> BucketLayout:
        hashing: Any = self._hashing
        digest = xxhash.xxh3_128()
        for name, buffer in hashing.named_buffers():
            digest.update(name.encode())
            digest.update(buffer.cpu().numpy().tobytes())
        digest.update(str(hashing.eos_token_id).encode())  # n-grams begin behind it
        per_order: int = hashing.heads_per_ngram
        orders = tuple(n for n in range(2, hashing.ngram_size + 1) for _ in range(per_order))
        sizes = tuple(int(size) for size in hashing.head_vocab_sizes)
        table: Any = self._table
        width = int(table.weight.shape[1])  # PEFT wraps embeddings, without their `embedding_dim`
        return BucketLayout("native", width, orders, sizes, digest.hexdigest())


def find_native(attachment: Attachment) -> dict[int, NativeRows]:
    """Return the n-gram memories that a model's own class brings, by layer; none is fine."""
    names = NATIVE.get(model_type_of(attachment.model).removesuffix("_text"))
    if names is None:
        return {}
    found: dict[int, NativeRows] = {}
    for layer, block in enumerate(attachment.block_list):
        memory = block._modules.get(names.memory)
        if memory is not None:
            found[layer] = NativeRows(attachment, layer, memory, names)
    return found

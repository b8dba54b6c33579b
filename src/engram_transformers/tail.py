"""Running only the blocks above a memory, with gradients for the rows alone.

What a block below the memory computes does not depend on the rows. So every sequence is run once;
its hidden states at the memory and the keys and values of what comes before the first row are
kept; and each step of the optimisation runs the last blocks over the last few positions.

The model itself is not touched: a *view* of it (shallow copies of the modules on the way to the
block list, sharing all weights) has other modules in its list of blocks and as its output head.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from engram_transformers.architectures import find_blocks
from engram_transformers.attachment import Attachment
from engram_transformers.calls import Call, begin_call, end_call


@dataclass(frozen=True)
class Batch:
    """Sequences, run up to the memory.

    Attributes:
        input_ids: (batch, tail) int64, the last positions.
        attention_mask: (batch, before + tail) int64, 0 at padding.
        position_ids: (batch, tail) int64.
        hidden_states: (batch, tail, dim) at the memory, without rows.
        rows: (batch, tail) int64: which row is found, -1 for none.
        targets: (batch, tail) int64: what is to be said next, -1 where nothing is asked.
        facts: (batch,) int64.
        keys: For each block from the memory on, (batch, heads, before, head_dim).
        values: The same.
        asked: The positions with targets: their sequences and places, two (asked,) int64.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    hidden_states: Tensor
    rows: Tensor
    targets: Tensor
    facts: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    asked: tuple[Tensor, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        asked = (self.targets >= 0).nonzero(as_tuple=True)
        object.__setattr__(self, "asked", asked)

    def select(self, chosen: Tensor) -> Batch:
        """Return some of the sequences."""
        return Batch(
            self.input_ids[chosen],
            self.attention_mask[chosen],
            self.position_ids[chosen],
            self.hidden_states[chosen],
            self.rows[chosen],
            self.targets[chosen],
            self.facts[chosen],
            tuple(keys[chosen] for keys in self.keys),
            tuple(values[chosen] for values in self.values),
        )

    @staticmethod
    def join(batches: Sequence[Batch]) -> Batch:
        """Stack batches of different lengths into one, padding on the left of both parts."""
        if len(batches) == 1:
            return batches[0]
        tail = max(batch.input_ids.shape[1] for batch in batches)
        before = max(batch.keys[0].shape[2] for batch in batches)

        def stacked(name: str, padding: int) -> Tensor:
            parts: list[Tensor] = [getattr(batch, name) for batch in batches]
            return torch.cat([_pad(part, tail, padding, dim=1) for part in parts])

        masks: list[Tensor] = []
        for batch in batches:
            past = batch.keys[0].shape[2]
            head, rest = batch.attention_mask[:, :past], batch.attention_mask[:, past:]
            masks.append(torch.cat([_pad(head, before, 0, dim=1), _pad(rest, tail, 0, dim=1)], 1))
        blocks = range(len(batches[0].keys))
        return Batch(
            stacked("input_ids", 0),
            torch.cat(masks),
            stacked("position_ids", 0),
            stacked("hidden_states", 0),
            stacked("rows", -1),
            stacked("targets", -1),
            torch.cat([batch.facts for batch in batches]),
            tuple(torch.cat([_pad(b.keys[k], before, 0, dim=2) for b in batches]) for k in blocks),
            tuple(
                torch.cat([_pad(b.values[k], before, 0, dim=2) for b in batches]) for k in blocks
            ),
        )


def _pad(tensor: Tensor, length: int, value: int, *, dim: int) -> Tensor:
    missing = length - tensor.shape[dim]
    if missing == 0:
        return tensor
    widths = [0, 0] * (tensor.ndim - 1 - dim) + [missing, 0]
    return torch.nn.functional.pad(tensor, widths, value=value)


class Tail:
    """The blocks of a model from a memory on, and its output head."""

    def __init__(self, attachment: Attachment, layer: int) -> None:
        self.attachment = attachment
        self.layer = layer
        self.model = attachment.model
        self._path, self._blocks = find_blocks(self.model)
        self._observed = [_Observed(block) for block in self._blocks]
        head: Any = self.model.get_output_embeddings()  # pyright: ignore[reportCallIssue]
        self._head: nn.Module = head
        self._head_name = next(key for key, value in self.model._modules.items() if value is head)
        self._whole = self._view(list(self._observed), _NoHead())
        self._upper: nn.Module | None = None

    @torch.no_grad()
    def run_context(self, ids: list[int]) -> DynamicCache:
        """Run the tokens that stand before every sequence of a batch once."""
        cache = DynamicCache()
        if ids:
            input_ids = torch.tensor([ids], device=self.attachment.device)
            self._run(self._whole, lambda layer, hidden: hidden, input_ids, past_key_values=cache)
        return cache

    @torch.no_grad()
    def prepare(
        self,
        context: DynamicCache,
        input_ids: Tensor,
        mask: Tensor,
        rows: Tensor,
        targets: Tensor,
        facts: Tensor,
    ) -> Batch:
        """Run sequences once and keep what the optimisation needs.

        Args:
            context: What `run_context` returned; it is not changed.
            input_ids: (batch, length) int64, left-padded.
            mask: (batch, length) int64.
            rows: (batch, length) int64, see `Batch`.
            targets: (batch, length) int64.
            facts: (batch,) int64.

        Returns:
            The batch, cut to the positions from the first row or target on.
        """
        batch, length = input_ids.shape
        cache = copy.deepcopy(context)
        before = cache.get_seq_length()
        if before:
            cache.batch_repeat_interleave(batch)
        full_mask = torch.cat([mask.new_ones(batch, before), mask], dim=1)
        positions = (full_mask.cumsum(1) - 1).clamp_min(0)[:, before:]
        captured: dict[int, Tensor] = {}

        def capture(layer: int, hidden_states: Tensor) -> Tensor:
            captured[layer] = hidden_states
            return hidden_states

        self._run(
            self._whole,
            capture,
            input_ids,
            attention_mask=full_mask,
            position_ids=positions,
            past_key_values=cache,
        )
        needed = ((rows >= 0) | (targets >= 0)).any(0).nonzero()
        tail = length - int(needed[0]) if needed.numel() else 1
        upper = range(self.layer, len(self._blocks))
        kept = before + length - tail
        return Batch(
            input_ids[:, length - tail :],
            full_mask,
            positions[:, length - tail :],
            captured[self.layer][:, length - tail :].clone(),
            rows[:, length - tail :],
            targets[:, length - tail :],
            facts,
            tuple(_layer(cache, index)[0][:, :, :kept].clone() for index in upper),
            tuple(_layer(cache, index)[1][:, :, :kept].clone() for index in upper),
        )

    def logits(self, batch: Batch, values: Tensor, candidates: Tensor | None) -> Tensor:
        """Compute next-token logits with rows in place, where something is asked.

        Args:
            batch: Sequences.
            values: (batch, tail, row_dim) float32: the rows' values; ignored where none is found.
            candidates: (candidates,) int64 token ids to score; None scores the whole vocabulary.

        Returns:
            (asked, candidates or vocab) float32.
        """
        memory = self.attachment.memories[self.layer]

        def read(layer: int, hidden_states: Tensor) -> Tensor:
            if layer != self.layer:
                return hidden_states
            return memory(batch.hidden_states, values, batch.rows >= 0)

        cache = DynamicCache()
        count, past = batch.keys[0].shape[0], batch.keys[0].shape[2]
        if past and self.layer:
            # The blocks below are not run, but the first one's length is looked at.
            nothing = batch.keys[0].new_zeros(count, 1, past, 1)
            cache.update(nothing, nothing, 0)
        for above in range(len(batch.keys) if past else 0):
            cache.update(batch.keys[above], batch.values[above], self.layer + above)
        output = self._run(
            self._upper_view(_AskedHead(self._head, batch.asked, candidates)),
            read,
            batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            past_key_values=cache,
        )
        return output.logits.float()

    def _upper_view(self, head: nn.Module) -> nn.Module:
        if self._upper is None:  # what kind of output blocks have is known after a first run
            skipped = [_Skipped(block.wrapped, block.gives_tuple) for block in self._observed]
            self._upper = self._view([*skipped[: self.layer], *self._blocks[self.layer :]], head)
        self._upper._modules[self._head_name] = head
        return self._upper

    def _view(self, blocks: list[nn.Module], head: nn.Module) -> nn.Module:
        """Return a model with other blocks and another head; everything else is shared."""
        *owners, name = self._path.split(".")
        top = module = _shallow(self.model)
        for owner in owners:
            inner = _shallow(module.get_submodule(owner))
            module._modules[owner] = inner
            module = inner
        module._modules[name] = nn.ModuleList(blocks)
        top._modules[self._head_name] = head
        return top

    def _run(self, view: nn.Module, replace: Any, input_ids: Tensor, **arguments: Any) -> Any:
        shape = (input_ids.shape[0], input_ids.shape[1])
        call = Call(self.attachment, None, None, shape, replace=replace)
        begin_call(call)
        try:
            return view(input_ids=input_ids, use_cache=True, return_dict=True, **arguments)
        finally:
            end_call(call)


class _Observed(nn.Module):
    """Run a block and note what kind of output it has."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.__dict__["wrapped"] = block
        self.gives_tuple = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = self.wrapped(*args, **kwargs)
        self.gives_tuple = isinstance(output, tuple)
        return output

    def __getattr__(self, name: str) -> Any:
        # Models look at attributes of their blocks, such as the kind of attention.
        return getattr(self.__dict__["wrapped"], name)


class _Skipped(nn.Module):
    """Stand in for a block that need not run."""

    def __init__(self, block: nn.Module, gives_tuple: bool) -> None:
        super().__init__()
        self.__dict__["wrapped"] = block
        self.gives_tuple = gives_tuple

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        return (hidden_states,) if self.gives_tuple else hidden_states

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["wrapped"], name)


class _NoHead(nn.Module):
    """Stand in for the output head where nobody reads the logits."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return hidden_states[..., :1]


class _AskedHead(nn.Module):
    """Score some tokens at some positions, instead of all at all."""

    def __init__(
        self, head: nn.Module, asked: tuple[Tensor, Tensor], candidates: Tensor | None
    ) -> None:
        super().__init__()
        self.__dict__["wrapped"] = head
        self.asked = asked
        self.candidates = candidates

    def forward(self, hidden_states: Tensor) -> Tensor:
        head: Any = self.__dict__["wrapped"]
        hidden_states = hidden_states[self.asked]  # (asked, dim)
        if self.candidates is None:
            return head(hidden_states)
        if type(head) is not nn.Linear:  # adapted or quantised: score all, then choose
            return head(hidden_states)[:, self.candidates]
        bias: Any = head.bias
        chosen = None if bias is None else bias[self.candidates]
        return nn.functional.linear(hidden_states, head.weight[self.candidates], chosen)


def _shallow(module: nn.Module) -> nn.Module:
    """Return a module that shares everything with another but its list of children and hooks."""
    view = object.__new__(type(module))
    view.__dict__.update(module.__dict__)
    view.__dict__["_modules"] = dict(module._modules)
    for name in ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks"):
        view.__dict__[name] = OrderedDict()
    return view


def _layer(cache: DynamicCache, index: int) -> tuple[Tensor, Tensor]:
    layer: Any = cache.layers[index]
    return layer.keys, layer.values

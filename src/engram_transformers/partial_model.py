"""A model of which some blocks, or the output head, need not run.

The model itself is not touched: a *view* of it (shallow copies of the modules on the way to the
block list and to the head, sharing all weights) has other modules in their places.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from engram_transformers.architectures import block_owner
from engram_transformers.attachment import Attachment
from engram_transformers.calls import Call, begin_call, end_call
from engram_transformers.coded_ids import encode
from engram_transformers.layouts import find_hidden_states

Read = Callable[[int, Tensor], Tensor]
"""Computes what a block with a memory gets: from its layer, and what it would have got."""


Override = Callable[[int, Tensor, Tensor], Tensor]
"""Computes what is read of a memory's rows: from its layer, their numbers, and the rows."""


class PartialModel:
    """The upper blocks of a model and its output head, or all blocks without the head.

    Raises:
        RuntimeError: If the model's output head can't be found.
    """

    def __init__(self, attachment: Attachment, layer: int) -> None:
        self.attachment = attachment
        self.layer = layer
        self.model: Any = attachment.model
        self._blocks = attachment.block_list
        self._observed = [_Observed(block) for block in self._blocks]
        self._head: nn.Module = self.model.get_output_embeddings()
        names = (name for name, m in self.model.named_modules() if m is self._head)
        self._head_name = next(names, "")
        if not self._head_name:
            raise RuntimeError("The output head is not found.")
        self._headless = self._view(list(self._observed), _NoHead(self._head))
        self._upper: nn.Module | None = None

    @torch.no_grad()
    def capture(self, input_ids: Tensor, **arguments: Any) -> Tensor:
        """Run all blocks; return what the memory's block gets, as it is called with."""
        captured: dict[int, Tensor] = {}

        def keep(layer: int, hidden_states: Tensor) -> Tensor:
            captured[layer] = hidden_states
            return hidden_states

        run_reading(self.attachment, self._headless, keep, input_ids, **arguments)
        return captured[self.layer]

    def logits(
        self,
        hidden_states: Callable[[], Tensor],
        asked: tuple[Tensor, Tensor],
        candidates: Tensor | None,
        input_ids: Tensor,
        **arguments: Any,
    ) -> Tensor:
        """Run the blocks from the memory on, and the head.

        Args:
            hidden_states: Computes what the memory's block gets.
            asked: The sequences and positions whose logits are wanted, two (asked,) int64.
            candidates: (candidates,) int64 token ids to score; None scores the whole vocabulary.
            input_ids: (batch, seq) int64.
            arguments: Of the model.

        Returns:
            (asked, candidates or vocab) float32.
        """
        if self._upper is None:  # what kind of output blocks have is known after a first run
            skipped = [_Skipped(block.wrapped, block.parts) for block in self._observed]
            blocks = [*skipped[: self.layer], *self._blocks[self.layer :]]
            self._upper = self._view(blocks, _NoHead(self._head))
        _replace(self._upper, self._head_name, _AskedHead(self._head, asked, candidates))

        def read(layer: int, given: Tensor) -> Tensor:
            return hidden_states() if layer == self.layer else given

        output = run_reading(
            self.attachment,
            self._upper,
            read,
            input_ids,
            with_banks=any(above > self.layer for above in self.attachment.banks),
            **arguments,
        )
        return output.logits.float()

    def _view(self, blocks: list[nn.Module], head: nn.Module) -> nn.Module:
        """Return a model with other blocks and another head; everything else is shared."""
        view = _shallow(self.model)
        _replace(view, self.attachment.blocks_name, nn.ModuleList(blocks))
        _replace(view, self._head_name, head)
        return view


def run_reading(
    attachment: Attachment,
    model: nn.Module,
    read: Read,
    input_ids: Tensor,
    *,
    with_banks: bool = True,
    override: Override | None = None,
    **arguments: Any,
) -> Any:
    """Run a patched model, or a view of it, with what its memories read replaced.

    Args:
        attachment: The model's patch.
        model: What to run.
        read: Stands in for all memories.
        input_ids: (batch, seq) int64.
        with_banks: Whether banks read; not needed where `read` knows what they added.
        override: Stands in for what replaces rows of banks; see `Call`.
        arguments: Of the model; a cache must be empty if banks read.

    Returns:
        The model's output.
    """
    shape = (input_ids.shape[0], input_ids.shape[1])
    banks = None
    if with_banks and attachment.banks_are_on:
        window = encode(input_ids, arguments)
        overridden = override is not None
        banks = attachment.begin_banks(window, shape[1], None, overridden=overridden)
    call = Call(attachment, None, None, shape, replace=read, banks=banks, override=override)
    begin_call(call)
    try:
        with torch.compiler.set_stance("force_eager"):
            return model(input_ids=input_ids, return_dict=True, **arguments)
    finally:
        end_call(call)


def takes_positions(attachment: Attachment) -> bool:
    """Say whether a model can be told the positions of its tokens."""
    model = attachment.model
    parameters = inspect.signature(type(model).forward).parameters
    if "position_ids" in parameters:
        return True
    passes_on = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    decoder = block_owner(model, attachment.blocks_name)
    return passes_on and "position_ids" in inspect.signature(type(decoder).forward).parameters


class _Observed(nn.Module):
    """Run a block and note of how many parts its output is: 0 for one that is no tuple."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.__dict__["wrapped"] = block
        self.parts = 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output: Any = self.wrapped(*args, **kwargs)
        self.parts = len(output) if isinstance(output, tuple) else 0
        return output

    def __getattr__(self, name: str) -> Any:
        # Models look at attributes of their blocks, such as the kind of attention.
        return getattr(self.__dict__["wrapped"], name)


class _Skipped(nn.Module):
    """Stand in for a block that need not run."""

    def __init__(self, block: nn.Module, parts: int) -> None:
        super().__init__()
        self.__dict__["wrapped"] = block
        self.parts = parts

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        hidden_states, _ = find_hidden_states(args, kwargs, type(self.wrapped).__name__)
        return (hidden_states, *[None] * (self.parts - 1)) if self.parts else hidden_states

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["wrapped"], name)


class _NoHead(nn.Module):
    """Stand in for the output head where nobody reads the logits."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.__dict__["wrapped"] = head

    def forward(self, hidden_states: Tensor) -> Tensor:
        return hidden_states[..., :1]

    def __getattr__(self, name: str) -> Any:
        # Models look at the weight's dtype.
        return getattr(self.__dict__["wrapped"], name)


class _AskedHead(_NoHead):
    """Score some tokens at some positions, instead of all at all."""

    def __init__(
        self, head: nn.Module, asked: tuple[Tensor, Tensor], candidates: Tensor | None
    ) -> None:
        super().__init__(head)
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
    view.__dict__["_compiled_call_impl"] = None  # it would run the module itself
    for name in ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks"):
        view.__dict__[name] = OrderedDict()
    return view


def _replace(view: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module into a view; the owners on the way become views."""
    *owners, last = name.split(".")
    for owner in owners:
        inner = _shallow(view.get_submodule(owner))
        view._modules[owner] = inner
        view = inner
    view._modules[last] = module

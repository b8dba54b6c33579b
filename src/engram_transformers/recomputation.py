"""What a block read, for when gradient checkpointing runs the block again.

transformers before 5.23 checkpoints a block's `__call__`, hooks included, and so does torch's
checkpoint wrapper (FSDP, accelerate) with every version. The second run happens within the backward
pass: the model's forward is over, its tables may no longer be active, and on a GPU it is another
thread. It is told by the memory that the block's hidden states are in, which both variants of
checkpointing keep: the reentrant one passes a detached view of the first run's, the other the same
tensor.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from engram_transformers.errors import HistoryError

if TYPE_CHECKING:
    from engram_transformers.active import Frame
    from engram_transformers.banks.calls import BankCall
    from engram_transformers.calls import Call


class _Run(NamedTuple):
    """A block's first run.

    Attributes:
        storage: Of its hidden states: once that is gone, nothing can repeat the run.
        call: The model's forward, without its cache; None if the block read nothing.
        frame: The tables that it read, None for none.
        state: `frame.state()` at the time.
    """

    storage: StorageWeakRef
    call: Call | None
    frame: Frame | None
    state: tuple[object, ...]


class Recomputation:
    """The runs of one model's blocks whose hidden states are still in memory.

    Attributes:
        has_read: Whether any memory of the model has ever read a row.
        compiled_training: Whether one did in compiled code, while the model was training.
    """

    def __init__(self) -> None:
        self.has_read = False
        self.compiled_training = False
        self._runs: dict[tuple[object, ...], _Run] = {}
        self._notes_rows = False

    def first_run(
        self, layer: int, hidden_states: Tensor, call: Call | None, frame: Frame | None
    ) -> tuple[Call | None, Frame | None]:
        """Say which forward and which tables a block belongs to, also when it is run again.

        Args:
            layer: The block.
            hidden_states: As the block is called with.
            call: The running forward; None within a backward pass.
            frame: The tables that are active, None for none.

        Returns:
            `call` and `frame`, or those of the run that is repeated; None and None if nothing was
            read then.

        Raises:
            HistoryError: If nobody knows what was read, or tables have changed since.
        """
        if call is None:
            return self._find(layer, hidden_states)
        if not _has_storage(hidden_states):
            return call, frame
        reads = call.replace is not None or (frame is not None and frame.has_rows(layer))
        self._note(layer, hidden_states, call if reads else None, frame if reads else None)
        return call, frame

    def note_bank(
        self,
        layer: int,
        hidden_states: Tensor,
        call: Call,
        frame: Frame | None,
        banks: BankCall,
    ) -> None:
        """Keep what a block's bank needs to run again.

        Args:
            layer: The block.
            hidden_states: As the block is called with.
            call: The running forward.
            frame: The tables that are active, None for none.
            banks: `BankCall.repeating` of the call's.
        """
        if _has_storage(hidden_states):
            reads = frame is not None and (frame.has_rows(layer) or frame.has_buckets(layer))
            self._note(layer, hidden_states, call, frame if reads else None, banks)

    def hand_on(self, layer: int, hidden_states: Tensor, changed: Tensor) -> None:
        """Let the block's table find the run that its bank has found.

        Args:
            layer: The block, which is run again.
            hidden_states: As the bank got them.
            changed: What the bank made of them.
        """
        run = self._runs[_key(layer, hidden_states)]
        storage = StorageWeakRef(changed.untyped_storage())
        self._runs[_key(layer, changed)] = run._replace(storage=storage)

    def require_first_forward(self) -> None:
        """Raise if a whole forward begins within a backward pass, and may be a repeated one.

        Raises:
            HistoryError: If so, and rows have ever been read: by the first one, perhaps.
        """
        if self.has_read and in_backward():
            raise HistoryError(
                "The model's whole forward runs within a backward pass (torch.utils.checkpoint"
                " around the model?), where nobody knows which tables it read the first time."
                " Checkpoint its blocks instead: model.gradient_checkpointing_enable(). If it reads"
                " none, call it within engram_disabled(model)."
            )

    def forget_expired(self) -> None:
        """Let go of runs that nothing can repeat any more."""
        for key, run in list(self._runs.items()):
            if run.storage.expired():
                self._runs.pop(key, None)

    def _note(
        self,
        layer: int,
        hidden_states: Tensor,
        call: Call | None,
        frame: Frame | None,
        banks: BankCall | None = None,
    ) -> None:
        self.forget_expired()
        if call is not None:
            self._notes_rows = True
            call = dataclasses.replace(
                call, cache=None, unsaved=None, window_after=None, banks=banks
            )
        storage = StorageWeakRef(hidden_states.untyped_storage())
        state = () if frame is None else frame.state()
        self._runs[_key(layer, hidden_states)] = _Run(storage, call, frame, state)

    def _find(self, layer: int, hidden_states: Tensor) -> tuple[Call | None, Frame | None]:
        run = self._runs.get(_key(layer, hidden_states)) if _has_storage(hidden_states) else None
        if run is None or run.storage.expired():
            if not self._notes_rows:
                return None, None
            raise HistoryError(
                "A decoder block is computed again within a backward pass, on hidden states that it"
                " was not seen to run on (does the checkpointing move them to another device?), so"
                " the rows that it read are unknown. Train without tables, or checkpoint without"
                " moving hidden states."
            )
        if run.frame is not None and run.frame.state() != run.state:
            raise HistoryError(
                "A decoder block is computed again within a backward pass, but its tables were"
                " written or erased since the forward. Call backward() before you change tables."
            )
        return run.call, run.frame


def in_backward() -> bool:
    """Say whether this code runs within a backward pass."""
    return torch._C._current_graph_task_id() != -1


def _has_storage(hidden_states: Tensor) -> bool:
    """Say whether a tensor is plain: those that torch.func wraps have no memory of their own."""
    try:
        hidden_states.untyped_storage()
    except NotImplementedError:
        return False
    return True


def _key(layer: int, hidden_states: Tensor) -> tuple[object, ...]:
    return (
        layer,
        hidden_states.untyped_storage()._cdata,
        hidden_states.storage_offset(),
        tuple(hidden_states.shape),
        hidden_states.stride(),
    )

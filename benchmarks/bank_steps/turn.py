"""One condition's turn: it alone on the device, trained for some steps by its own trainer."""

from __future__ import annotations

import gc
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, TrainerCallback, TrainingArguments

from benchmarks.bank_steps.conditions import Condition
from benchmarks.common import require, synchronise
from engram_transformers.training.callback import RareNGramsWarning
from engram_transformers.training.joint_optimiser import JointOptimiser

PRECISIONS = {"float32": False, "bf16 autocast": True}
"""Name -> whether the trainer computes in bfloat16 autocast."""


class Watched:
    """Put before a trainer's class: takes examples in their order, and keeps the losses."""

    train_dataset: Any
    losses: list[Tensor]

    def _get_train_sampler(self, *_: Any) -> Any:
        return SequentialSampler(self.train_dataset)

    def training_step(self, *args: Any, **named: Any) -> Tensor:
        loss: Tensor = super().training_step(*args, **named)  # pyright: ignore
        self.losses.append(loss.detach().clone())
        return loss


@dataclass
class Touched:
    """How many rows an optimiser of rows remembers after some steps, and in how many bytes."""

    steps: int
    rows: int
    bytes: int


@dataclass
class Turn:
    """What was seen in a turn.

    Attributes:
        seconds: Of each step after the warm-up: from the end of one to the end of the next, with
            its batch made and moved, and the device's queue empty on both sides.
        losses: Of all steps, the warm-up's included.
        trained_bytes: Of the weights that learn.
        state_bytes: Of all tensors that the optimisers keep, at the end.
        touched: Of a `RowOptimiser`, after the first step and after the last.
        peak_bytes: The most that torch held in the steps after the warm-up, over what it held
            before the turn; None on a CPU, where nothing tells reliably.
    """

    seconds: list[float]
    losses: list[float] = field(default_factory=list)
    trained_bytes: int = 0
    state_bytes: int = 0
    touched: list[Touched] = field(default_factory=list)
    peak_bytes: int | None = None


class Clock(TrainerCallback):
    """Note when steps end, and what is kept after the first.

    Args:
        device: Of the model.
        warm_up: Steps that are not counted.
    """

    def __init__(self, device: torch.device, warm_up: int) -> None:
        self.trainer: Any = None
        self.marks: list[float] = []
        self.trained_bytes = 0
        self.touched: list[Touched] = []
        self._device = device
        self._warm_up = warm_up

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note the time when the device has done its work."""
        synchronise(self._device)
        if state.global_step == 1:
            weights = self.trainer.model.parameters()
            self.trained_bytes = sum(one.nbytes for one in weights if one.requires_grad)
            self.note_rows(1)
        if state.global_step == self._warm_up and self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self.marks.append(time.perf_counter())

    def note_rows(self, steps: int) -> None:
        """Note what an optimiser of rows keeps."""
        optimiser = inner_optimiser(self.trainer)
        if isinstance(optimiser, JointOptimiser):
            rows = optimiser.rows
            tables = [table for group in rows.param_groups for table in group["params"]]
            self.touched.append(Touched(steps, sum(map(rows.count_touched, tables)), rows.nbytes))


def take_turn(
    condition: Condition,
    data: list[dict[str, Tensor]],
    device: torch.device,
    *,
    batch: int,
    steps: int,
    warm_up: int,
    precision: str,
    look: Callable[[Any], TrainerCallback] | None = None,
) -> Turn:
    """Train one condition with a new optimiser, with nothing else on the device.

    Args:
        condition: Its model is moved to the device, and back to the CPU.
        data: Examples of one length, taken in order.
        device: Where to train.
        batch: Sequences in a batch.
        steps: How many are timed.
        warm_up: How many come first, at least 1.
        precision: One of `PRECISIONS`.
        look: Makes a further callback of the trainer.
    """
    is_cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if is_cuda else 0
    clock, own = Clock(device, warm_up), set(vars(condition.model))
    with tempfile.TemporaryDirectory() as folder:
        # What an earlier trainer in this process left behind would decide the autocast.
        os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
        args = TrainingArguments(
            folder,
            max_steps=warm_up + steps,
            per_device_train_batch_size=batch,
            learning_rate=1e-3,
            lr_scheduler_type="linear",
            bf16=PRECISIONS[precision],
            use_cpu=not is_cuda,
            dataloader_pin_memory=is_cuda,
            dataloader_drop_last=True,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = condition.make(Watched, args, data)
        trainer.losses = []
        expected = "bf16" if PRECISIONS[precision] else "no"
        found = trainer.accelerator.mixed_precision
        require(found == expected, f"{condition.name} is trained in {precision}")
        clock.trainer = trainer
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(clock)
        if look is not None:
            trainer.add_callback(look(trainer))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RareNGramsWarning)  # few texts, for a short time
            trainer.train()
    taken = zip(clock.marks[warm_up - 1 :], clock.marks[warm_up:], strict=False)
    turn = Turn([end - begin for begin, end in taken])
    require(len(turn.seconds) == steps, f"{condition.name} takes {steps} timed steps")
    if is_cuda:
        turn.peak_bytes = torch.cuda.max_memory_allocated(device) - before
    turn.losses = torch.stack(trainer.losses).tolist()
    turn.trained_bytes = clock.trained_bytes
    clock.note_rows(warm_up + steps)
    turn.touched = clock.touched
    turn.state_bytes = state_bytes(inner_optimiser(trainer))
    _leave(condition, trainer, clock, own)
    return turn


def inner_optimiser(trainer: Any) -> Any:
    """Return a trainer's optimiser without what accelerate wraps around it."""
    optimiser = trainer.optimizer
    while hasattr(optimiser, "optimizer"):
        optimiser = optimiser.optimizer
    return optimiser


def state_bytes(optimiser: Any) -> int:
    """Return the bytes of all tensors that an optimiser keeps, room for growth included."""
    if isinstance(optimiser, JointOptimiser):
        return state_bytes(optimiser.dense) + optimiser.rows.nbytes
    parts = getattr(optimiser, "optimizers", None)
    if parts is not None:
        return sum(map(state_bytes, parts))
    return sum(one.nbytes for kept in optimiser.state.values() for one in _tensors(kept.values()))


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value


def _leave(condition: Condition, trainer: Any, clock: Clock, own: set[str]) -> None:
    """Clear the device for the next turn, and the model of what accelerate put around it."""
    clock.trainer = None
    trainer.accelerator.free_memory()
    trainer.optimizer = trainer.lr_scheduler = None
    trainer.losses = []
    # Else the next trainer would have this one's autocast, or take the model as prepared.
    for name in vars(condition.model).keys() - own:
        delattr(condition.model, name)
    condition.model.zero_grad()
    condition.model.to(torch.device("cpu"))
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

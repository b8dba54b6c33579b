"""Promises of a step of training: how often it waits for the device, and how little it counts in.

Operations are counted on the CPU as torch dispatches them: each of them is a kernel to start on a
GPU, and those that give a number back, or as many numbers as it finds, wait for the device there.
"""

from __future__ import annotations

import traceback
from collections import Counter
from pathlib import Path

import pytest
import torch
from bank_training import LAYERS, corpus, make_trainer
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback

import engram_transformers

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory:UserWarning")

SOURCES = str(Path(engram_transformers.__file__).parent)
WAITING = {"_local_scalar_dense", "nonzero", "_coalesce", "equal", "masked_select", "_unique2"}
ON_THE_CPU_ONLY = {"_require_ids", "_require_rows"}
VIEWS = {"view", "_unsafe_view", "select", "slice", "detach", "unsqueeze", "permute", "alias"}


class Watching(TorchDispatchMode):
    """Counts waits and operations by the function of this library that asked for them."""

    def __init__(self):
        super().__init__()
        self.is_on = False
        self.waits, self.operations = Counter(), Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.__name__.partition(".")[0]
        if self.is_on and name not in VIEWS:
            ours = [one for one in traceback.extract_stack() if one.filename.startswith(SOURCES)]
            place = (Path(ours[-1].filename).stem, ours[-1].name)
            self.operations[place] += 1
            masks = name == "index" and any(
                one is not None and one.dtype == torch.bool for one in args[1]
            )
            # What has no function of ours between it and `train` is the Trainer's own.
            is_ours = not place[1].startswith("train")
            if (name in WAITING or masks) and is_ours and place[1] not in ON_THE_CPU_ONLY:
                self.waits[place] += 1
        return func(*args, **(kwargs or {}))


class OneStep(TrainerCallback):
    """Switches the counting on for the third step."""

    def __init__(self, watching):
        self.watching = watching

    def on_step_end(self, args, state, control, **_):
        self.watching.is_on = state.global_step == 2


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    watching = Watching()
    trainer = make_trainer(tmp_path_factory.mktemp("out"), None, corpus(8), logging_steps=100)
    trainer.add_callback(OneStep(watching))
    with watching:
        trainer.train()
    return watching


def test_a_step_waits_for_the_device_only_where_it_must(watched):
    assert watched.waits == {
        # How many different rows a table's batch read: the size of what is summed.
        ("row_gradients", "_summed"): len(LAYERS),
        # Whether losses and norm are finite: before anything is changed.
        ("stopping", "require_finite"): 1,
        # The same for rows, of all tables: their optimiser is also used without a trainer.
        ("row_optimiser", "_require_finite"): 1,
        # How many of a table's rows are new: the room that is needed.
        ("row_index", "slots"): len(LAYERS),
    }


def test_counting_takes_about_thirty_operations_for_each_bank(watched):
    counting = {
        place: count
        for place, count in watched.operations.items()
        if place[0] in ("distinct", "telemetry")
    }
    assert counting
    assert sum(counting.values()) <= 32 * len(LAYERS)

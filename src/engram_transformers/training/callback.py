"""What banks need of a trainer's callbacks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

if TYPE_CHECKING:
    from engram_transformers.training.mixin import EngramTrainerMixin

_LOOKED_AT_STEP = 1000
_FEWEST_REPEATS = 0.02  # the counters' standard error is 0.008


class RareNGramsWarning(UserWarning):
    """Hardly any n-gram of a corpus occurs twice, so a bank has nothing to recall."""


class BankCallback(TrainerCallback):
    """Finish gradients where the trainer did not clip, and warn of a corpus without repetition.

    Args:
        trainer: Whose callback it is.
    """

    def __init__(self, trainer: EngramTrainerMixin) -> None:
        self._trainer = trainer
        self._has_looked = False

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Average and check gradients, if that was not done while clipping."""
        self._trainer.require_finished_gradients()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at what was read after 1,000 steps, if the first epoch is that long."""
        if state.global_step == _LOOKED_AT_STEP:
            self._look()

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look at what was read in the first epoch: in the second, everything occurs again."""
        self._look()

    def _look(self) -> None:
        if self._has_looked:
            return
        self._has_looked = True
        rates = self._trainer.telemetry_rates()
        if rates.get("ngram_repeats", 1.0) >= _FEWEST_REPEATS:
            return
        if self._trainer.is_world_process_zero():
            warnings.warn(
                f"Of the n-grams read so far, about {rates['ngram_repeats']:.1%} had occurred"
                " before: a bank recalls what it has seen, so it can learn this corpus by heart,"
                " and hardly anything for other texts."
                f" {rates['reuse_rate']:.1%} of the reads of rows hit one that was read before;"
                f" about {rates['collision_rate']:.1%} of the n-grams share a row with another."
                " Take a larger corpus, or one that says things again.",
                RareNGramsWarning,
                stacklevel=2,
            )

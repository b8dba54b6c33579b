"""What makes a trainer of transformers, or of a library on top of it, train banks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, get_args

from torch import Tensor

from engram_transformers.attachment import Attachment
from engram_transformers.banks.errors import BankConfigError
from engram_transformers.banks.optimiser import RowAdagrad, RowAdam
from engram_transformers.banks.row_gradients import (
    average_rows_,
    clip_gradient_norm_,
    sum_repeated_rows_,
)
from engram_transformers.banks.row_optimiser import RowOptimiser
from engram_transformers.extras import require_package
from engram_transformers.training.callback import BankCallback
from engram_transformers.training.checkpoints import BankCheckpoints
from engram_transformers.training.joint_optimiser import (
    JointOptimiser,
    joint_of,
    name_parameters,
)
from engram_transformers.training.preparation import (
    require_saved_gates,
    require_trainable_banks,
    share_tables,
    tables_of,
    trainable_banks,
)
from engram_transformers.training.sharding import (
    average_shared_gradients_,
    group_apart,
    prepare_sharded,
)
from engram_transformers.training.stopping import StepWatch
from engram_transformers.training.support import require_supported
from engram_transformers.training.telemetry import BankTelemetry

RowOptimiserName = Literal["adam", "adagrad"]


class EngramTrainerMixin(BankCheckpoints):
    """Put this before a trainer's class, and it trains banks; see `EngramTrainer` for what it does.

    Args:
        model: With banks, also inside a PEFT wrapper.
        args: The trainer's.
        *positional: The trainer's.
        freeze_base: See `EngramTrainer`.
        row_optimiser: See `EngramTrainer`.
        row_learning_rate_factor: See `EngramTrainer`.
        telemetry: See `EngramTrainer`.
        **named: The trainer's.

    Raises:
        NoBanksError: As `EngramTrainer`, and so on.

    Example:
        >>> from engram_transformers import EngramTrainerMixin
        >>> from transformers import Trainer
        >>> class MyTrainer(EngramTrainerMixin, Trainer):
        ...     pass
    """

    def __init__(
        self,
        model: Any = None,
        args: Any = None,
        *positional: Any,
        freeze_base: bool = True,
        row_optimiser: RowOptimiserName = "adam",
        row_learning_rate_factor: float = 5.0,
        telemetry: bool = True,
        **named: Any,
    ) -> None:
        require_package("accelerate", "train", type(self).__name__)
        if row_optimiser not in get_args(RowOptimiserName):
            raise BankConfigError("row_optimiser", row_optimiser, '"adam" or "adagrad"')
        if not 0 < row_learning_rate_factor < math.inf:
            expected = "a number above 0"
            raise BankConfigError("row_learning_rate_factor", row_learning_rate_factor, expected)
        self.freeze_base = freeze_base
        self.row_optimiser = row_optimiser
        self.row_learning_rate_factor = row_learning_rate_factor
        self._attachment: Attachment = require_trainable_banks(model)
        self._watch = StepWatch()
        self._has_clipped = False
        self._telemetry: BankTelemetry | None = None
        super().__init__(model, args, *positional, **named)
        require_supported(self)
        if telemetry:
            self._telemetry = BankTelemetry(self._attachment)
        self.add_callback(BankCallback(self))

    def train(self, *args: Any, **named: Any) -> Any:
        """Train as the trainer does. Flags of the model's parameters are put back afterwards.

        Args:
            *args: The trainer's.
            **named: The trainer's.

        Returns:
            What the trainer returns.

        Raises:
            NonFiniteError: If a loss or the gradients' norm is NaN or infinite.
            BankFileError: If a checkpoint's banks are missing or damaged.
            BankMismatchError: If a checkpoint holds other banks.
            NoBanksError: If the banks were taken off, and so on as when it was made.
        """
        self._attachment = require_trainable_banks(self._whole_model)
        if not self.freeze_base:
            require_saved_gates(self._attachment)
        self._watch.forget()
        attachment, model = self._attachment, self._whole_model
        with trainable_banks(model, attachment, freeze_base=self.freeze_base):
            if not self._is_sharded:
                share_tables(attachment)
            if self._telemetry is None:
                return super().train(*args, **named)
            with self._telemetry.watching():
                return super().train(*args, **named)

    def create_accelerator_and_postprocess(self) -> None:
        """Make the accelerator, and let it clip gradients of rows, which torch's clipping can't."""
        super().create_accelerator_and_postprocess()
        # Of this object only. Trainer itself has a method for clipping in recent releases alone.
        accelerator: Any = self.accelerator
        accelerator.clip_grad_norm_ = self.finish_gradients
        self._is_sharded = bool(getattr(accelerator, "is_fsdp2", False))
        if self._is_sharded:
            prepare = accelerator.prepare
            accelerator.prepare = lambda *given, **named: prepare_sharded(
                prepare, accelerator, self._attachment, given, named
            )

    def create_optimizer(self, *args: Any, **named: Any) -> Any:
        """Make the joint optimiser: the trainer's own for all but tables, and one of rows."""
        if self._has_optimiser():
            return self.optimizer
        model, attachment = self._whole_model, self._attachment
        with trainable_banks(model, attachment, freeze_base=self.freeze_base):
            tables = tables_of(attachment)
            for table in tables.values():  # out of the dense groups
                table.requires_grad_(False)
            try:
                super().create_optimizer(*args, **named)
            finally:
                for table in tables.values():
                    table.requires_grad_(True)
            dense: Any = self.optimizer
            if self._is_sharded:
                group_apart(dense, attachment)
            name_parameters(dense, {weight: name for name, weight in model.named_parameters()})
            self.optimizer = JointOptimiser(dense, self._make_row_optimiser(tables))
        return self.optimizer

    def training_step(self, model: Any, inputs: Any, *args: Any, **named: Any) -> Tensor:
        """Take a micro-batch's gradients, and sum those of rows that were read several times."""
        given = dict(inputs)  # some trainers take out what they use
        loss = super().training_step(model, inputs, *args, **named)
        self._watch.note(given, loss)
        self._has_clipped = False
        sum_repeated_rows_(tables_of(self._attachment).values())
        return loss

    def finish_gradients(
        self, parameters: Iterable[Tensor] | None = None, max_norm: float = math.inf, *_: Any
    ) -> Tensor:
        """Make a step's gradients ready: averaged over processes, unscaled, clipped and looked at.

        Args:
            parameters: All that are trained; None for those of the model.
            max_norm: The highest norm allowed.

        Returns:
            The norm before clipping, a scalar.

        Raises:
            NonFiniteError: If a loss or the norm is NaN or infinite. A norm is not looked at while
                a `GradScaler` is used, which leaves such steps out itself.
        """
        tables = tables_of(self._attachment).values()
        is_scaled = self.accelerator.scaler is not None and self.accelerator.scaler.is_enabled()
        if self._is_sharded:
            average_shared_gradients_(self._attachment, is_scaled=is_scaled)
        else:
            average_rows_(tables)
        self.accelerator.unscale_gradients()
        chosen = self._whole_model.parameters() if parameters is None else parameters
        norm = clip_gradient_norm_(chosen, max_norm, tables if self._is_sharded else ())
        step, folder = self.state.global_step + 1, str(self.args.output_dir)
        self._watch.require_finite(None if is_scaled else norm, folder, step, self.state.epoch)
        self._watch.forget()
        self._has_clipped = True
        return norm

    def _has_mixed_mesh_grads(self, model: Any) -> bool:
        """Say no: the trainer would measure gradients of several meshes itself, but not rows'."""
        return False

    def require_finished_gradients(self) -> None:
        """Do what clipping does if the trainer was not asked to clip and so did not."""
        if not self._has_clipped:
            self.finish_gradients()

    def telemetry_rates(self) -> dict[str, float]:
        """Return `BankTelemetry.rates`; nothing without telemetry or before the first step."""
        joint = joint_of(self.optimizer)
        if self._telemetry is None or joint is None:
            return {}
        return self._telemetry.rates(joint.rows)

    def log(self, logs: dict[str, float], *args: Any, **named: Any) -> None:
        """Log, with what telemetry knows beside the loss."""
        if self._telemetry is not None and self.is_in_train and "loss" in logs:
            told = {**self.telemetry_rates(), **self._telemetry.activity()}
            logs.update({f"engram/{name}": value for name, value in told.items()})
        super().log(logs, *args, **named)

    def _make_row_optimiser(self, tables: dict[str, Tensor]) -> RowOptimiser:
        args, named = self.args, list(tables.items())
        rate = args.learning_rate * self.row_learning_rate_factor
        if self.row_optimiser == "adagrad":
            return RowAdagrad(named, lr=rate)
        betas = (args.adam_beta1, args.adam_beta2)
        return RowAdam(named, lr=rate, betas=betas, eps=args.adam_epsilon)

    def _has_optimiser(self) -> bool:
        trainer: Any = self
        return trainer.optimizer is not None

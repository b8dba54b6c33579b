"""What makes a trainer of transformers, or of a library on top of it, train banks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from engram_transformers.attachment import Attachment
from engram_transformers.banks.errors import BankConfigError
from engram_transformers.banks.loading import load_banks, require_fitting_banks
from engram_transformers.banks.optimiser import RowAdagrad, RowAdam
from engram_transformers.banks.row_gradients import (
    average_rows_,
    clip_gradient_norm_,
    sum_repeated_rows_,
)
from engram_transformers.banks.row_optimiser import RowOptimiser
from engram_transformers.banks.saving import save_banks
from engram_transformers.extras import require_package
from engram_transformers.training.callback import BankCallback
from engram_transformers.training.errors import UnsupportedTrainingError
from engram_transformers.training.joint_optimiser import JointOptimiser, name_parameters
from engram_transformers.training.preparation import (
    require_saved_gates,
    require_trainable_banks,
    set_trainable,
    share_tables,
    tables_of,
    trainable_banks,
)
from engram_transformers.training.stopping import StepWatch
from engram_transformers.training.telemetry import BankTelemetry

if TYPE_CHECKING:
    from transformers import Trainer as _Base
else:
    _Base = object

RowOptimiserName = Literal["adam", "adagrad"]
TELEMETRY_NAME = "engram_telemetry.safetensors"


class EngramTrainerMixin(_Base):
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
        self._require_supported()
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
        average_rows_(tables_of(self._attachment).values())
        self.accelerator.unscale_gradients()
        chosen = self._whole_model.parameters() if parameters is None else parameters
        norm = clip_gradient_norm_(chosen, max_norm)
        is_scaled = self.accelerator.scaler is not None and self.accelerator.scaler.is_enabled()
        step, folder = self.state.global_step + 1, str(self.args.output_dir)
        self._watch.require_finite(None if is_scaled else norm, folder, step, self.state.epoch)
        self._watch.forget()
        self._has_clipped = True
        return norm

    def require_finished_gradients(self) -> None:
        """Do what clipping does if the trainer was not asked to clip and so did not."""
        if not self._has_clipped:
            self.finish_gradients()

    def telemetry_rates(self) -> dict[str, float]:
        """Return `BankTelemetry.rates`; nothing without telemetry or before the first step."""
        optimiser: Any = self.optimizer
        while optimiser is not None and not isinstance(optimiser, JointOptimiser):
            optimiser = getattr(optimiser, "optimizer", None)  # accelerate's wrapper
        if self._telemetry is None or optimiser is None:
            return {}
        return self._telemetry.rates(optimiser.rows)

    def log(self, logs: dict[str, float], *args: Any, **named: Any) -> None:
        """Log, with what telemetry knows beside the loss."""
        if self._telemetry is not None and self.is_in_train and "loss" in logs:
            told = {**self.telemetry_rates(), **self._telemetry.activity()}
            logs.update({f"engram/{name}": value for name, value in told.items()})
        super().log(logs, *args, **named)

    def _save(self, output_dir: str | None = None, *args: Any, **named: Any) -> None:
        super()._save(output_dir, *args, **named)
        if self.args.should_save:
            save_banks(self._whole_model, Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: Any, **named: Any) -> None:
        require_fitting_banks(self._whole_model, Path(resume_from_checkpoint))
        super()._load_from_checkpoint(resume_from_checkpoint, *args, **named)
        load_banks(self._whole_model, Path(resume_from_checkpoint))
        # PEFT makes what it loads trainable.
        set_trainable(self._whole_model, self._attachment, freeze_base=self.freeze_base)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        load_banks(self._whole_model, Path(str(self.state.best_model_checkpoint)))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self._telemetry is not None:
            counters = self._telemetry.state_dict()  # of all processes
            if self.args.should_save:
                save_file(counters, Path(output_dir) / TELEMETRY_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        file = None if checkpoint is None else Path(checkpoint) / TELEMETRY_NAME
        if self._telemetry is not None and file is not None and file.exists():
            self._telemetry.load_state_dict(load_file(file))

    @property
    def _whole_model(self) -> nn.Module:
        model: Any = self.model
        return model

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

    def _require_supported(self) -> None:
        """Refuse by name what would train banks wrongly."""
        if self._has_optimiser():
            raise UnsupportedTrainingError(
                "an optimiser of your own",
                "rows need theirs. Leave `optimizers` out; `args.optim` chooses the one of all"
                " other weights.",
            )
        if self.is_deepspeed_enabled:
            raise UnsupportedTrainingError("DeepSpeed", "it knows no gradients of rows. Use DDP.")
        if self.is_fsdp_enabled or getattr(self, "is_fsdp_xla_enabled", False):
            raise UnsupportedTrainingError(
                "FSDP",
                "tables can't be sharded yet. Use DDP: a frozen base has no optimiser state.",
            )
        if getattr(self, "is_distributed_loading_by_transformers", False):
            raise UnsupportedTrainingError(
                "a base that is sharded over processes", "load it whole in each process."
            )
        if self.args.n_gpu > 1:
            raise UnsupportedTrainingError(
                "torch.nn.DataParallel",
                f"one process has {self.args.n_gpu} devices. Start one process for each"
                " (torchrun --nproc-per-node=…), or show this one a single device"
                " (CUDA_VISIBLE_DEVICES=0).",
            )

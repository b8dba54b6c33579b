"""Checkpoints of banks in training: their files beside a clean base, and how they are resumed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engram_transformers.attachment import Attachment
from engram_transformers.banks.loading import load_banks, require_fitting_banks
from engram_transformers.banks.saving import save_banks
from engram_transformers.training.errors import UnsupportedTrainingError
from engram_transformers.training.joint_optimiser import joint_of
from engram_transformers.training.preparation import set_trainable
from engram_transformers.training.sharded_state import load_sharded_state, save_sharded_state
from engram_transformers.training.sharding import banks_apart, shares_of
from engram_transformers.training.telemetry import BankTelemetry

if TYPE_CHECKING:
    from transformers import Trainer as _Base
else:
    _Base = object

TELEMETRY_NAME = "engram_telemetry.safetensors"
_SCHEDULER = "scheduler.pt"
_FSDP_MODEL = "pytorch_model_fsdp*"


class BankCheckpoints(_Base):
    """The part of a trainer of banks that saves and resumes.

    Attributes:
        freeze_base: Whether banks alone learn.
    """

    freeze_base: bool
    _attachment: Attachment
    _telemetry: BankTelemetry | None
    _is_sharded = False

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the base or the adapter as the trainer does, and the banks beside it.

        Under FSDP2 all processes must call this. With `state_dict_type="SHARDED_STATE_DICT"`
        the trainer leaves the base to its checkpoints, and the banks alone are saved here.

        Args:
            output_dir: None for the trainer's.
            _internal_call: Whether the trainer asks for it.
        """
        if not self._is_sharded:
            super().save_model(output_dir, _internal_call)
            return
        with banks_apart(self._attachment):
            super().save_model(output_dir, True)
        save_banks(self._whole_model, Path(output_dir or str(self.args.output_dir)))
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def _save(self, output_dir: str | None = None, *args: Any, **named: Any) -> None:
        super()._save(output_dir, *args, **named)
        if self.args.should_save and not self._is_sharded:
            save_banks(self._whole_model, Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: Any, **named: Any) -> None:
        folder = Path(resume_from_checkpoint)
        require_fitting_banks(self._whole_model, folder)
        if self._is_sharded and not any(folder.glob(_FSDP_MODEL)):
            raise UnsupportedTrainingError(
                f"FSDP from {folder}",
                "it is no checkpoint of FSDP. Resume it without, or start anew from its banks:"
                " load_engram(model, checkpoint) before the trainer is made.",
            )
        with self._base_alone():
            super()._load_from_checkpoint(resume_from_checkpoint, *args, **named)
        load_banks(self._whole_model, folder)
        # PEFT makes what it loads trainable.
        set_trainable(self._whole_model, self._attachment, freeze_base=self.freeze_base)

    def _load_best_model(self) -> None:
        with self._base_alone():
            super()._load_best_model()
        load_banks(self._whole_model, Path(str(self.state.best_model_checkpoint)))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self._is_sharded:
            self._save_sharded(Path(output_dir))
        else:
            super()._save_optimizer_and_scheduler(output_dir)
        if self._telemetry is not None:
            counters = self._telemetry.state_dict()  # of all processes
            if self.args.should_save:
                save_file(counters, Path(output_dir) / TELEMETRY_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self._is_sharded:
            super()._load_optimizer_and_scheduler(checkpoint)
        elif checkpoint is not None:
            self._load_sharded(Path(checkpoint))
        file = None if checkpoint is None else Path(checkpoint) / TELEMETRY_NAME
        if self._telemetry is not None and file is not None and file.exists():
            self._telemetry.load_state_dict(load_file(file))

    def _save_sharded(self, folder: Path) -> None:
        """Save a sharded base, the optimiser in files of our own, and the scheduler.

        The trainer's way asks for a state that is shaped as the parameters are; rows' is not.
        """
        from accelerate.utils import save_fsdp_model

        accelerator: Any = self.accelerator
        folder.mkdir(parents=True, exist_ok=True)
        with banks_apart(self._attachment):
            save_fsdp_model(
                accelerator.state.fsdp_plugin,
                accelerator,
                self._whole_model,
                str(folder),
                adapter_only=True,
            )
        joint = joint_of(self.optimizer)
        if joint is not None:
            save_sharded_state(joint, shares_of(self._attachment), folder)
        scheduler: Any = self.lr_scheduler
        if self.args.should_save and scheduler is not None:
            torch.save(scheduler.state_dict(), folder / _SCHEDULER)

    def _load_sharded(self, folder: Path) -> None:
        """Load what `_save_sharded` saved; nothing if it holds no optimiser (`save_only_model`)."""
        joint = joint_of(self.optimizer)
        if joint is None or not load_sharded_state(joint, shares_of(self._attachment), folder):
            return
        scheduler: Any = self.lr_scheduler
        if scheduler is not None:
            scheduler.load_state_dict(torch.load(folder / _SCHEDULER, weights_only=True))

    @contextmanager
    def _base_alone(self) -> Generator[None]:
        """Take banks off the model while a sharded base is loaded."""
        if not self._is_sharded:
            yield
            return
        with banks_apart(self._attachment):
            yield

    @property
    def _whole_model(self) -> nn.Module:
        model: Any = self.model
        return model

"""Stopping where the loss or a gradient is not a number, with the batch kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, distributed

from engram_transformers.training.errors import NonFiniteError
from engram_transformers.training.processes import is_shared, rank


class StepWatch:
    """Remember the micro-batches of a step, and stop before the step if they must not be learned.

    Losses are looked at once for each step, together with the norm: one wait for the device.
    """

    def __init__(self) -> None:
        self._batches: list[dict[str, Tensor]] = []
        self._losses: list[Tensor] = []

    def note(self, inputs: Mapping[str, Any], loss: Tensor) -> None:
        """Note a micro-batch and its loss.

        Args:
            inputs: What it is made of. Ids, labels and masks are kept, by reference.
            loss: A scalar.
        """
        kept = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        self._batches.append(
            {name: value for name, value in kept.items() if not value.is_floating_point()}
        )
        self._losses.append(loss.detach().float().reshape(()))

    def forget(self) -> None:
        """Begin a new step."""
        self._batches.clear()
        self._losses.clear()

    def require_finite(
        self, norm: Tensor | None, folder: str | Path, step: int, epoch: float | None
    ) -> None:
        """Raise if a loss or the norm is NaN or infinite, on all processes if on one.

        Args:
            norm: Of all gradients, a scalar; None to look at losses only.
            folder: Where the batch goes.
            step: Which step this would be, from 1.
            epoch: For the file.

        Raises:
            NonFiniteError: If training must stop.
        """
        values = [*self._losses, *(() if norm is None else (norm.detach().float().reshape(()),))]
        if not values:
            return
        joined = torch.stack([value.to(values[0].device) for value in values])
        bad = (~joined.isfinite()).any().to(torch.int32)
        if is_shared():
            distributed.all_reduce(bad, distributed.ReduceOp.MAX)
        if not bool(bad):
            return
        losses = joined[: len(self._losses)]
        at_fault = (~losses.isfinite()).nonzero().flatten().tolist()
        if at_fault:
            what, value = "loss", float(losses[at_fault[0]])
        elif norm is not None and not bool(norm.isfinite()):
            what, value = "norm of the gradients", float(norm)
        else:
            what, value = "loss of another process", float("nan")
        chosen = at_fault or range(len(self._batches))
        path, reason = _save(
            [self._batches[number] for number in chosen],
            Path(folder),
            {"step": str(step), "epoch": str(epoch), what: str(value)},
        )
        raise NonFiniteError(what, value, step, path, reason)


def _save(
    batches: Sequence[Mapping[str, Tensor]], folder: Path, told: dict[str, str]
) -> tuple[Path | None, str]:
    """Save micro-batches as `input_ids.0`, `labels.0`, …; return the path, or why there is none."""
    path = folder / f"nonfinite-step-{told['step']}-process-{rank()}.safetensors"
    tensors = {
        f"{name}.{number}": value.detach().cpu().contiguous().clone()
        for number, batch in enumerate(batches)
        for name, value in batch.items()
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata=told)
    except OSError as error:
        return None, str(error)
    return path, ""

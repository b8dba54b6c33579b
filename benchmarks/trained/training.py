"""Train what is on a model by one plan, whatever it is: the same batches in the same order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import xxhash
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainingArguments

from benchmarks.common import timed
from engram_transformers import EngramTrainer
from engram_transformers.attachment import find_attachment

Collate = Callable[[Sequence[Any]], dict[str, Tensor]]
"""Makes a batch of some examples."""


@dataclass(frozen=True)
class Plan:
    """How something is trained.

    Attributes:
        steps: Of the optimiser.
        batch: Examples in a step.
        learning_rate: At its height: it rises over a twentieth of the steps, and falls as a cosine.
        seed: Of the order of the examples.
        autocast: Whether a GPU computes in bfloat16.
    """

    steps: int
    batch: int
    learning_rate: float
    seed: int
    autocast: bool = True


def train(
    model: nn.Module,
    examples: Sequence[Any] | Tensor,
    plan: Plan,
    device: torch.device,
    collate: Collate | None = None,
) -> dict[str, Any]:
    """Train what asks for gradients, and banks if there are any.

    Args:
        model: Whole; banks or adapters on it, or all of it, are to learn.
        examples: (blocks, length) int64: texts, all of whose tokens are to be said; or whatever
            `collate` takes.
        plan: How.
        device: Where the model is.
        collate: Makes a batch, with `input_ids` and `labels`, of some examples.

    Returns:
        `seconds`; `loss`, the mean over all steps; `batches`, a digest of the tokens of all batches
        in their order; `telemetry`, what `BankTelemetry` says at the end.
    """
    has_banks = bool((found := find_attachment(model)) and found.banks)
    order = _order(len(examples), plan)
    collator = _Noting(collate or _whole_texts)
    on_gpu = device.type == "cuda"
    with tempfile.TemporaryDirectory() as folder, _as_before(model):
        arguments = TrainingArguments(
            folder,
            max_steps=plan.steps,
            per_device_train_batch_size=plan.batch,
            learning_rate=plan.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=plan.steps // 20,
            weight_decay=0.0,
            logging_steps=plan.steps,
            report_to=[],
            save_strategy="no",
            seed=plan.seed,
            bf16=on_gpu and plan.autocast,
            use_cpu=not on_gpu,
            disable_tqdm=True,
            dataloader_pin_memory=on_gpu,
            remove_unused_columns=False,
        )
        options: dict[str, Any] = {
            "args": arguments,
            "train_dataset": [examples[i] for i in order],
            "data_collator": collator,
        }
        if has_banks:
            trainer: Any = _BankTrainer(model, freeze_base=_is_frozen(model), **options)
        else:
            trainer = _PlainTrainer(model, **options)
        trainer.remove_callback(PrinterCallback)  # the benchmark says what is found
        seconds, result = timed(device, trainer.train)
    model.eval()
    history = [log for log in trainer.state.log_history if "engram/rows_touched" in log]
    telemetry = {
        name.removeprefix("engram/"): value
        for name, value in (history[-1] if history else {}).items()
        if name.startswith("engram/")
    }
    return {
        "seconds": seconds,
        "loss": result.training_loss,
        "batches": collator.digest.hexdigest(),
        "telemetry": telemetry,
    }


@contextmanager
def _as_before(model: nn.Module) -> Generator[None]:
    """Give a model its own forward back: accelerate leaves its autocast around it.

    What is asked later would be asked in bfloat16, and no more be what it was (accelerate 1.15).
    """
    names = ("forward", "_original_forward")
    before = {name: model.__dict__[name] for name in names if name in model.__dict__}
    try:
        yield
    finally:
        for name in names:
            model.__dict__.pop(name, None)
        model.__dict__.update(before)


class _InOrder:
    """Of a trainer: takes examples as they come."""

    train_dataset: Any

    def _get_train_sampler(self, *_: Any) -> Any:
        return SequentialSampler(self.train_dataset)


class _PlainTrainer(_InOrder, Trainer):
    pass


class _BankTrainer(_InOrder, EngramTrainer):
    pass


class _Noting:
    """Makes batches, and notes which: what the conditions saw can be compared."""

    def __init__(self, collate: Collate) -> None:
        self.collate = collate
        self.digest = xxhash.xxh3_128()

    def __call__(self, rows: Sequence[Any]) -> dict[str, Tensor]:
        batch = self.collate(rows)
        self.digest.update(batch["input_ids"].numpy().tobytes())
        return batch


def _whole_texts(rows: Sequence[Tensor]) -> dict[str, Tensor]:
    ids = torch.stack(list(rows))
    labels = ids.clone()
    labels[:, 0] = -100  # nothing is said before it, but transformers 5.0 counts it
    return {"input_ids": ids, "labels": labels}


def _order(examples: int, plan: Plan) -> list[int]:
    """Return which example comes when: all of them in another order in each epoch."""
    generator = torch.Generator().manual_seed(plan.seed)
    wanted = plan.steps * plan.batch
    order: list[int] = []
    while len(order) < wanted:
        order += torch.randperm(examples, generator=generator).tolist()
    return order[:wanted]


def _is_frozen(model: nn.Module) -> bool:
    """Say whether nothing but banks asks for gradients."""
    return not any(p.requires_grad for p in model.parameters())

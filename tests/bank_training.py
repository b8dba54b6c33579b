"""What tests of training banks share: a tiny model with banks, a corpus, settings, outcomes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny
import torch
from torch import Tensor
from torch.utils.data import SequentialSampler
from transformers import TrainingArguments

from engram_transformers import EngramTrainer, add_engram
from engram_transformers.attachment import require_attachment

LAYERS = [1, 3]
BANK: dict[str, Any] = {"memory_size": 400, "bank_heads": 2, "bank_dim": 16}
LENGTH = 12

SETTINGS: dict[str, Any] = {
    "report_to": [],
    "use_cpu": True,
    "disable_tqdm": True,
    "dataloader_pin_memory": False,
    "per_device_train_batch_size": 2,
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "logging_steps": 2,
    "max_steps": 4,
    "save_strategy": "no",
    "lr_scheduler_type": "linear",
}


def with_new_banks(family: str = "llama", **fields: Any) -> Any:
    """Return a tiny model with banks that add nothing yet."""
    chosen = {"layers": LAYERS, **BANK, **fields}
    return add_engram(tiny.tiny_model(family), tiny.tiny_tokenizer(), **chosen)


def corpus(count: int = 8, *, seed: int = 0, kinds: int = 12) -> list[dict[str, Tensor]]:
    """Return examples of random tokens, few enough that n-grams occur again."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 5 + kinds, (count, LENGTH), generator=generator)
    labels = ids.clone()
    labels[:, 0] = -100  # nothing is said before it, but transformers 5.0 counts it
    return [{"input_ids": row, "labels": asked} for row, asked in zip(ids, labels, strict=True)]


class InOrder:
    """Of a trainer: takes examples in their order, so that batches of all sizes hold the same."""

    def _get_train_sampler(self, *args: Any) -> Any:
        return SequentialSampler(self.train_dataset)


def make_trainer(
    folder: Path,
    model: Any = None,
    data: Any = None,
    *,
    options: dict[str, Any] | None = None,
    trainer: Any = EngramTrainer,
    **settings: Any,
) -> Any:
    """Return a trainer of a tiny model; `options` are `EngramTrainer`'s own."""
    torch.manual_seed(0)
    args = TrainingArguments(str(folder), **{**SETTINGS, **settings})
    model = with_new_banks() if model is None else model
    data = corpus() if data is None else data
    return trainer(model, args, train_dataset=data, **(options or {}))


def bank_weights(model: Any) -> dict[str, Tensor]:
    """Return copies of all weights of a model's banks."""
    banks = require_attachment(model).banks
    return {
        f"{layer}.{name}": weight.detach().clone()
        for layer, bank in banks.items()
        for name, weight in bank.named_parameters()
    }


def base_weights(model: Any) -> dict[str, Tensor]:
    """Return copies of all other weights."""
    return {
        name: weight.detach().clone()
        for name, weight in model.named_parameters()
        if ".engram_bank." not in name
    }


def is_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Say whether two sets of weights are the same bits."""
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)

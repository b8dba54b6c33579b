"""What is compared: a LoRA, this library's banks, and those of another library where it is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engram_transformers import EngramTrainer, add_engram
from engram_transformers.attachment import require_attachment

LORA_RANK = 16
LORA = f"LoRA, rank {LORA_RANK}"
ROW_OPTIMISERS = ("adam", "adagrad")
OTHER = "engram-peft"
DIFFERS = (
    "engram-peft hashes on the CPU, in numpy, once in its collator and once in each forward",
    "its optimiser of rows (SparseAdam) has averages for every row of the table, in one step count",
    "its optimiser of all other weights is torch.optim.Adam, not fused, without decay",
    "its rows begin at random and its value projection as zeros; its projections have no biases",
    "it counts nothing (telemetry is off, as by default); this library's telemetry is on",
    "its primes are found upwards from one row fewer, so a head may have a few rows more or fewer",
)
"""What is not the same in both libraries' banks, of the same size, width, orders and heads."""


@dataclass(frozen=True)
class Bank:
    """The size of a bank on each of some layers.

    Attributes:
        rows: Of each layer.
        layers: Blocks of the model.
        order: Longest n-gram.
        heads: Hashes for each order.
        dim: Numbers that all orders and heads contribute together.
        kernel_size: Taps of the short convolution.
        seed: Of the hash.
    """

    rows: int
    layers: tuple[int, ...]
    order: int = 3
    heads: int = 8
    dim: int = 128
    kernel_size: int = 4
    seed: int = 0


@dataclass(frozen=True)
class Condition:
    """One way to train, with its model, which lies on the CPU between its turns.

    Attributes:
        name: In results.
        model: What the trainer is given: a patched copy of the base.
        base: Parameters of the copy of the base, in the order of the base's own.
        make: Makes a trainer of (class to put before the trainer's own, arguments, data).
        bank: The size of its bank; None without one.
    """

    name: str
    model: nn.Module
    base: list[nn.Parameter]
    make: Callable[[type, Any, Any], Any]
    bank: Bank | None = None

    @property
    def is_other(self) -> bool:
        """Whether it is another library's, which may fail without stopping the benchmark."""
        return self.name.startswith(OTHER)

    @property
    def banks(self) -> Mapping[int, Any]:
        """Layer -> bank of this library; nothing in other conditions."""
        if self.bank is None or self.is_other:
            return {}
        return require_attachment(self.model).banks


def lora(base: Any) -> Condition:
    """Return the LoRA on all linear layers, by PEFT and `transformers.Trainer`."""
    from peft import LoraConfig, get_peft_model
    from transformers import Trainer

    model, weights = _copied(base)
    config = LoraConfig(
        r=LORA_RANK, lora_alpha=2 * LORA_RANK, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    wrapped: Any = get_peft_model(model, config)

    def make(watched: type, args: Any, data: Any) -> Any:
        return type("Watched", (watched, Trainer), {})(wrapped, args, train_dataset=data)

    return Condition(LORA, wrapped, weights, make)


def banks(base: Any, tokenizer: Any, bank: Bank, **fields: Any) -> list[Condition]:
    """Return this library's bank with each optimiser of rows; they share one model."""
    model, weights = _copied(base)
    add_engram(
        model,
        tokenizer,
        memory_size=bank.rows,
        layers=list(bank.layers),
        bank_order=bank.order,
        bank_heads=bank.heads,
        bank_dim=bank.dim,
        bank_kernel_size=bank.kernel_size,
        **fields,
    )

    def maker(optimiser: str) -> Callable[[type, Any, Any], Any]:
        def make(watched: type, args: Any, data: Any) -> Any:
            trainer = type("Watched", (watched, EngramTrainer), {})
            return trainer(model, args, train_dataset=data, row_optimiser=optimiser)

        return make

    return [
        Condition(
            f"bank of {bank.rows:,} rows, {optimiser}", model, weights, maker(optimiser), bank
        )
        for optimiser in ROW_OPTIMISERS
    ]


def other(base: Any, tokenizer: Any, bank: Bank) -> Condition:
    """Return engram-peft's bank of the same size, trained as its documentation says.

    Raises:
        ImportError: If it is not installed, or not for this Python.
    """
    import engram_peft  # pyright: ignore[reportMissingImports]  # optional, not a dependency

    library: Any = engram_peft
    model, weights = _copied(base)
    orders = bank.order - 1
    config = library.EngramConfig(
        engram_vocab_size_per_ngram=[bank.rows // orders] * orders,
        ngram_sizes=list(range(2, bank.order + 1)),
        n_head_per_ngram=bank.heads,
        embedding_dim=bank.dim,
        target_layers=list(bank.layers),
        hc_mult=1,  # one residual stream, as the model has
        conv_kernel_size=bank.kernel_size,
        seed=bank.seed,
    )
    wrapped: Any = library.get_engram_model(model, config, tokenizer, train_mode="engram_only")
    collator = library.EngramDataCollator(tokenizer, config, wrapped.compressor)

    def collate(rows: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        without = [{name: row[name] for name in row if name != "labels"} for row in rows]
        batch = collator(without)  # makes labels of its own
        return {**batch, "labels": torch.stack([row["labels"] for row in rows])}

    def make(watched: type, args: Any, data: Any) -> Any:
        trainer = type("Watched", (watched, library.EngramTrainer), {})
        return trainer(wrapped, args, train_dataset=data, data_collator=collate)

    return Condition(f"{OTHER}, {bank.rows:,} rows", wrapped, weights, make, bank)


def _copied(base: Any) -> tuple[Any, list[nn.Parameter]]:
    """Return a copy of the base on the CPU, and its weights, which stay the same objects."""
    model = copy.deepcopy(base).to(torch.device("cpu"))
    model.config.use_cache = False  # the Trainer says so, but not to what a wrapper wraps
    return model, list(model.parameters())

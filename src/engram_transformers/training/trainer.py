"""`EngramTrainer`: a model's banks, trained by transformers."""

from __future__ import annotations

from transformers import Trainer

from engram_transformers.training.mixin import EngramTrainerMixin


class EngramTrainer(EngramTrainerMixin, Trainer):
    """Train a model's banks, and by default nothing else, as `transformers.Trainer` trains.

    Tables have an optimiser of rows, which changes and remembers only rows that batches read; their
    gradients are never dense. All other weights that are trained have the trainer's own
    (`args.optim`, AdamW), with its usual groups of weight decay. Accumulation, clipping, autocast,
    gradient checkpointing, checkpoints, resuming, DDP and FSDP2 work as in the base class.
    Checkpoints hold the banks beside a clean base, or beside a PEFT adapter. Under FSDP2 the rows
    of each table are shared out over the processes, and stay so after training.

    While it trains, `requires_grad` is set as `freeze_base` says. Afterwards, also after an error,
    all flags are as they were before.

    Args:
        model: With banks (`add_engram(model, tokenizer, memory_size=…)`), also inside a PEFT
            wrapper.
        args: `transformers.TrainingArguments`.
        *positional: More of `transformers.Trainer`.
        freeze_base: Whether banks alone learn. False: what the caller made trainable learns, too,
            a LoRA or the whole base.
        row_optimiser: Of the tables: "adam" (`RowAdam`, with the betas and the epsilon of `args`)
            or "adagrad" (`RowAdagrad`, one number of state for each row).
        row_learning_rate_factor: The tables' learning rate, in learning rates of `args`. 5 as in
            DeepSeek's Engram (arXiv 2601.07372). Rows do not decay.
        telemetry: Whether logs say what banks do (`BankTelemetry`, keys `engram/…`), and whether a
            corpus in which hardly any n-gram occurs twice is warned of.
        **named: More of `transformers.Trainer`: `train_dataset`, `data_collator`, `callbacks`, …

    Raises:
        MissingExtraError: If accelerate is not installed.
        NoBanksError: If the model has no banks.
        UntrainableBankError: If a bank has fewer than 32 bits, or an adapter on its projections.
        UnsupportedTrainingError: With FSDP version 1, DeepSpeed, `torch.nn.DataParallel`, an
            optimiser given by the caller, or within `engram_disabled`; with FSDP2 also under
            `torch_compile`, tensor or context parallelism, or fp16 with `freeze_base=False`.
        BankConfigError: If an option is not allowed.

    Example:
        >>> from transformers import TrainingArguments
        >>> def learn(model, dataset):
        ...     trainer = EngramTrainer(model, TrainingArguments("out"), train_dataset=dataset)
        ...     return trainer.train()
    """

"""Training the skill: one LoRA on other people's episodes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from engram_transformers.architectures import find_blocks, unwrap
from engram_transformers.errors import ConfigError, MissingExtraError, SharedLoraError
from engram_transformers.facts import FactLike
from engram_transformers.fingerprint import adapter_fingerprint
from engram_transformers.lora import ENGRAM_MODULES, public_name
from engram_transformers.skill.episodes import Episode
from engram_transformers.skill.examples import Collator, episode_examples, ordinary_examples
from engram_transformers.skill.traces import Form, forms_of
from engram_transformers.skill.trainer import make_trainer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def train_shared_lora(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    episodes: Iterable[Episode],
    output_dir: str | Path,
    *,
    ordinary_texts: Iterable[str | FactLike] = (),
    forms: Sequence[Form] | None = None,
    rank: int = 8,
    learning_rate: float = 5e-4,
    epochs: float = 1.0,
    batch_size: int = 64,
    ordinary_weight: float = 1.0,
    with_names: float = 0.6,
    missing: float = 0.1,
    max_length: int = 768,
    seed: int = 0,
    resume: bool = False,
    compile_blocks: bool = False,
    **trainer_arguments: Any,
) -> Path:
    """Train the LoRA that carries the skill, and save it as a PEFT adapter.

    Each episode becomes a trace: the needed triggers are recited, the values follow, then the
    working and the answer. There is no loss on values, so that they must be read, and on ordinary
    texts the model is held to what it said before, by the Kullback-Leibler divergence from it.
    Memories are never adapted. `transformers.Trainer` trains, so several devices work as there.

    Args:
        model: A transformers model, with or without memories, and without an adapter.
        tokenizer: Its tokenizer.
        episodes: Other people's: those who use the skill later should not be among them.
        output_dir: Where the adapter goes, and checkpoints (if `save_strategy` is given).
        ordinary_texts: Text that has nothing to do with any memory; its first 160 tokens are used.
            Also chats that end with the assistant's answer, and (prompt, answer) pairs: the model
            is to go on answering what needs no memory as it does now.
        forms: In which forms questions are put; each episode gets one by lot. None: all that the
            tokenizer has.
        rank: Of the LoRA, on all linear layers of the blocks; its alpha is twice that.
        learning_rate: The highest, reached after 3 % of the steps; it falls to 0 along a cosine.
        epochs: How often each episode is seen.
        batch_size: Examples per step and device.
        ordinary_weight: Of the divergence, in nats per token, beside the loss per token.
        with_names: The share of the episodes whose question comes with the names of the table's
            facts, so that the skill learns which of them a question means, or none.
        missing: The share of the other episodes of which a fact that is needed is left out, so
            that the skill learns to say that it does not know.
        max_length: Of an episode, in tokens; longer ones are refused.
        seed: Of the order, the forms and the LoRA's start.
        resume: Go on from the last checkpoint in `output_dir`, with the same episodes and options.
        compile_blocks: Whether each block runs through `torch.compile`, which takes time at first
            and fuses small kernels.
        **trainer_arguments: More of `transformers.TrainingArguments`. `dataloader_num_workers`
            processes also encode the episodes.

    Returns:
        `output_dir`, with `adapter_model.safetensors` in bfloat16. The model is as it was.

    Raises:
        MissingExtraError: If PEFT or accelerate is not installed.
        SharedLoraError: If the model has an adapter already.
        EpisodeError: If there is no episode, or one can't be used.
        ConfigError: If an option is not allowed.
    """
    try:
        import accelerate  # noqa: F401 # pyright: ignore[reportUnusedImport]
        import peft
    except ImportError as error:
        name = error.name or "peft"
        raise MissingExtraError(name, "train", "Training the skill") from error
    base: Any = unwrap(model)
    if adapter_fingerprint(base) is not None:
        raise SharedLoraError(
            "The model has an adapter already: detach it before training another."
        )
    for name, share in (("with_names", with_names), ("missing", missing)):
        if not 0 <= share <= 1:
            raise ConfigError(name, share, "a share, 0 to 1")
    for name, value in (("rank", rank), ("batch_size", batch_size)):
        if value < 1:
            raise ConfigError(name, value, "at least 1")
    output = Path(output_dir)
    if resume and not list(output.glob("checkpoint-*")):
        raise ConfigError("resume", resume, f"False: {output} has no checkpoint")
    known = forms_of(tokenizer)
    asked: Sequence[Form] = known if forms is None else forms
    if not asked or set(asked) - set(known):
        raise ConfigError("forms", forms, f"some of {known}")
    workers = int(trainer_arguments.get("dataloader_num_workers", 0))
    examples = episode_examples(
        tokenizer, episodes, asked, max_length, seed, with_names, missing, workers
    )
    examples += ordinary_examples(tokenizer, ordinary_texts)
    blocks = find_blocks(base)[1] if compile_blocks else []
    before = {name: parameter.requires_grad for name, parameter in base.named_parameters()}
    was_training = base.training
    torch.manual_seed(seed)
    adapted: Any = peft.get_peft_model(
        base,
        peft.LoraConfig(
            task_type="CAUSAL_LM",
            r=rank,
            lora_alpha=2 * rank,
            target_modules="all-linear",
            exclude_modules=_excluded(base),
        ),
    )
    try:
        for block in blocks:
            block.compile(dynamic=True)
        trainer = make_trainer(
            adapted,
            examples,
            Collator(_padding(tokenizer)),
            ordinary_weight,
            {
                "output_dir": str(output),
                "learning_rate": learning_rate,
                "num_train_epochs": epochs,
                "per_device_train_batch_size": batch_size,
                "lr_scheduler_type": "cosine",
                "warmup_steps": 0.03,
                "weight_decay": 0.0,
                "seed": seed,
                "save_strategy": "no",
                "report_to": "none",
                "remove_unused_columns": False,
                "label_names": ["targets"],
                "dataloader_pin_memory": torch.cuda.is_available(),
                "logging_nan_inf_filter": False,  # it waits for the device at each step
                **trainer_arguments,
            },
        )
        trainer.train(resume_from_checkpoint=resume or None)
        if trainer.is_world_process_zero():
            for parameter in adapted.parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.to(torch.bfloat16)
            # No embeddings are adapted; PEFT would ask the Hub about them.
            adapted.save_pretrained(str(output), save_embedding_layers=False)
            _without_paths(output, str(base.name_or_path))
    finally:
        for block in blocks:
            block._compiled_call_impl = None
        adapted.unload()
        for name, parameter in base.named_parameters():
            parameter.requires_grad_(before[name])
        base.train(was_training)
    return output


def _without_paths(output: Path, base_name: str) -> None:
    """Name a base model that was loaded from a folder by the folder's name only."""
    for name in ("adapter_config.json", "README.md"):
        file = output / name
        if base_name and file.exists():
            text = file.read_text(encoding="utf-8")
            file.write_text(text.replace(base_name, public_name(base_name)), encoding="utf-8")


def _excluded(model: nn.Module) -> str | None:
    """Return what PEFT is to leave alone; it warns of a pattern that nothing fits."""
    linear = (name for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return ENGRAM_MODULES if any(re.fullmatch(ENGRAM_MODULES, name) for name in linear) else None


def _padding(tokenizer: Any) -> int:
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

"""The `transformers.Trainer` of the skill."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from engram_transformers.skill.examples import Collator, Example, SimilarLengths
from engram_transformers.skill.losses import answer_loss, divergence, logits_at

if TYPE_CHECKING:
    from transformers import Trainer


def make_trainer(
    model: nn.Module,
    examples: Sequence[Example],
    collator: Collator,
    ordinary_weight: float,
    arguments: dict[str, Any],
) -> Trainer:
    """Return a trainer that learns traces, and holds the model to itself on ordinary texts.

    Args:
        model: With a LoRA, by PEFT.
        examples: What it is trained on.
        collator: Makes batches of them.
        ordinary_weight: Of the divergence on ordinary texts, beside the loss on traces.
        arguments: Of `transformers.TrainingArguments`.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer
    from transformers import Trainer, TrainingArguments

    adapted = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]

    class SkillTrainer(Trainer):
        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Tensor],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            head: nn.Module = self.accelerator.unwrap_model(model).get_output_embeddings()
            targets = inputs["targets"]
            positions = torch.cat([inputs["learned"], inputs["ordinary"]])
            logits = logits_at(model, head, inputs, positions)
            loss = answer_loss(logits[: len(targets)], targets)
            if ordinary_weight and len(inputs["ordinary"]):
                texts = inputs["ordinary_texts"]
                kept = {name: inputs[name][texts] for name in ("input_ids", "attention_mask")}
                with torch.no_grad(), _switched_off(adapted):
                    base = logits_at(model, head, kept, inputs["ordinary_alone"])
                loss = loss + ordinary_weight * divergence(logits[len(targets) :], base)
            return (loss, {"logits": logits}) if return_outputs else loss

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            lengths = [len(example.ids) for example in examples]
            return SimilarLengths(lengths, self.args.train_batch_size, self.args.seed)

    asked = TrainingArguments(**arguments)
    if asked.n_gpu > 1:
        # nn.DataParallel would split the batch, and not the positions. One process per device may.
        asked._n_gpu = 1  # pyright: ignore[reportPrivateUsage]
    trainer = SkillTrainer(
        model=model,
        args=asked,
        train_dataset=examples,  # pyright: ignore[reportArgumentType] # has what a dataset needs
        data_collator=collator,
    )
    # The loss is a mean of its own batch.
    trainer.model_accepts_loss_kwargs = False
    return trainer


@contextmanager
def _switched_off(adapted: Sequence[Any]) -> Generator[None]:
    """Switch layers of an adapter off, until the block ends.

    `PeftModel.disable_adapter` looks through the whole model each time, which takes as long as half
    a step of a small one.
    """
    for layer in adapted:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in adapted:
            layer.enable_adapters(True)

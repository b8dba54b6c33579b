"""A LoRA per user (PEFT), trained on the user's facts: as published, and as one would do it today.

As published ("User as Engram", arXiv 2606.19172): rank 64 on the query, key and value projections,
1,500 steps of Adam at 5e-4 on one random fact each. The published runs train the first token of an
answer; here it is the whole answer and its stop, because whole answers are asked.

Fair: rank 16 on all linear layers, all facts in batches, stopped as soon as every answer token of
every fact is won, with a KL term that holds the model to what it said before on unrelated text.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import timed
from benchmarks.methods import KnownFact
from benchmarks.methods.asked import Asked
from benchmarks.methods.fitting import Tokens, in_tokens
from benchmarks.methods.prefix import takes_positions
from benchmarks.setting import Setting

FAIR = "LoRA, fair"
_UNRELATED_TOKENS = 48
_UNRELATED_BATCH = 8


@dataclass(frozen=True)
class Recipe:
    """How a LoRA is trained.

    Attributes:
        name: In results.
        rank: Of the matrices.
        alpha: PEFT's `lora_alpha`.
        targets: "all-linear", or "attention" for the query, key and value projections.
        learning_rate: Of Adam.
        batch: Facts per step.
        steps: At most so many.
        until_won: Whether training stops once an epoch finds every answer token the likeliest.
        kl_weight: Of the divergence from the base model on unrelated text, per token; 0 for none.
    """

    name: str
    rank: int
    alpha: int
    targets: str
    learning_rate: float
    batch: int
    steps: int
    until_won: bool
    kl_weight: float = 0.0


def published(steps: int) -> Recipe:
    """Return the recipe of "User as Engram", perhaps cut short."""
    cut = "" if steps == 1500 else f", {steps:,} of 1,500 steps"
    return Recipe(f"LoRA as published{cut}", 64, 128, "attention", 5e-4, 1, steps, False)


def fair(learning_rate: float, batch: int, *, kl_weight: float, steps: int) -> Recipe:
    """Return a recipe that stops when all is learnt."""
    name = FAIR if kl_weight else f"{FAIR}, without KL"
    return Recipe(name, 16, 32, "all-linear", learning_rate, batch, steps, True, kl_weight)


class Lora(Asked):
    """A PEFT adapter on the model.

    Attributes:
        seconds: Time that training took; the base model's own words on unrelated text, which would
            serve all users, are computed before.
        steps: Taken.
        won: Whether the last epoch found every answer token the likeliest.
    """

    def __init__(
        self,
        setting: Setting,
        recipe: Recipe,
        unrelated: Sequence[str] = (),
        give_up: float = float("inf"),
    ) -> None:
        super().__init__(setting, recipe.name)
        self.recipe = recipe
        self.give_up = give_up  # seconds
        self.device = setting.device
        self.seed = setting.seed
        self.base = self.model
        self.seconds = 0.0
        self.steps = 0
        self.won = False
        self._unrelated = list(unrelated) if recipe.kl_weight else []
        self._trainable = [p for p in self.model.parameters() if p.requires_grad]
        self._generator = torch.Generator()

    def write(self, facts: Sequence[KnownFact]) -> None:
        """Train a new adapter, and drop the one that is there."""
        from peft import LoraConfig, get_peft_model

        self.close()
        torch.manual_seed(self.seed)
        self._generator.manual_seed(self.seed)
        self.steps, self.won = 0, False
        config = LoraConfig(
            r=self.recipe.rank,
            lora_alpha=self.recipe.alpha,
            target_modules=_targets(self.base, self.recipe.targets),
        )
        self.model = get_peft_model(self.base, config)
        facts_in_tokens = in_tokens(self.tokenizer, facts)
        unrelated = self._base_words()
        self.seconds, _ = timed(self.device, lambda: self._train(facts_in_tokens, unrelated))

    @property
    def nbytes(self) -> int:
        """Bytes of the adapter's file as PEFT saves it, in the type that it is trained in."""
        with tempfile.TemporaryDirectory() as folder:
            # Or PEFT asks the Hub whether the vocabulary has grown.
            self.model.save_pretrained(folder, save_embedding_layers=False)
            return (Path(folder) / "adapter_model.safetensors").stat().st_size

    @property
    def nbytes_half(self) -> int:
        """Bytes of the same numbers in 16 bits."""
        return sum(p.numel() * 2 for p in self.model.parameters() if p.requires_grad)

    def close(self) -> None:
        if self.model is self.base:
            return
        self.model.unload()
        # PEFT marks the model that it was put on.
        self.base.__dict__.pop("peft_config", None)
        for parameter in self._trainable:
            parameter.requires_grad_(True)
        self.model = self.base

    def _train(self, sequences: list[Tokens], unrelated: _Unrelated | None) -> None:
        recipe = self.recipe
        weights = [p for p in self.model.parameters() if p.requires_grad]
        optimiser = torch.optim.Adam(weights, lr=recipe.learning_rate)
        until = time.perf_counter() + self.give_up
        while self.steps < recipe.steps and not self.won and time.perf_counter() < until:
            lost = torch.zeros((), dtype=torch.int64, device=self.device)
            for numbers in self._epoch(len(sequences)):
                loss, missed = self._loss([sequences[i] for i in numbers])
                if recipe.until_won and len(numbers) == len(sequences) and int(missed) == 0:
                    self.won = True  # seen before the step that it would take: none is taken
                    return
                if unrelated is not None:
                    count = len(unrelated.ids)
                    chosen = torch.randperm(count, generator=self._generator)[:_UNRELATED_BATCH]
                    loss = loss + recipe.kl_weight * unrelated.divergence(self.model, chosen)
                loss.backward()
                optimiser.step()
                optimiser.zero_grad()
                lost += missed
                self.steps += 1
                if self.steps == recipe.steps:
                    break
            self.won = recipe.until_won and int(lost) == 0

    def _epoch(self, count: int) -> list[list[int]]:
        """Return the facts of each step of an epoch."""
        if self.recipe.batch == 1:  # published: each step draws anew
            drawn = torch.randint(count, (count,), generator=self._generator).tolist()
            return [[i] for i in drawn]
        order = torch.randperm(count, generator=self._generator)
        return [part.tolist() for part in order.split(self.recipe.batch)]

    def _loss(self, sequences: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        """Return the mean loss of answer tokens, and how many facts miss one."""
        pad = self.tokenizer.pad_token_id
        longest = max(len(s.ids) for s in sequences)
        keep = max(s.answer for s in sequences) + 1
        ids = torch.tensor([[pad] * (longest - len(s.ids)) + s.ids for s in sequences])
        mask = torch.tensor([[0] * (longest - len(s.ids)) + [1] * len(s.ids) for s in sequences])
        asked = torch.tensor(
            [[0] * (keep - 1 - s.answer) + [1] * s.answer for s in sequences]
        ).bool()
        ids, mask, asked = (t.to(self.device) for t in (ids, mask, asked))
        arguments = {"input_ids": ids, "attention_mask": mask, "logits_to_keep": keep}
        if takes_positions(self.model):
            arguments["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)
        logits = self.model(**arguments).logits[:, :-1].float()  # (batch, keep - 1, vocab)
        gold = ids[:, 1 - keep :]
        loss = torch.nn.functional.cross_entropy(logits[asked], gold[asked])
        missed = ((logits.argmax(-1) != gold) & asked).any(1).sum()
        return loss, missed

    def _base_words(self) -> _Unrelated | None:
        if not self._unrelated:
            return None
        inputs = self.tokenizer(
            self._unrelated,
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=_UNRELATED_TOKENS,
        ).to(self.device)
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        with torch.no_grad(), self.model.disable_adapter():
            parts = [
                self.model(input_ids=i, attention_mask=m).logits.float().log_softmax(-1)
                for i, m in zip(ids.split(8), mask.split(8), strict=True)
            ]
        return _Unrelated(ids, mask, torch.cat(parts))


@dataclass(frozen=True)
class _Unrelated:
    """Sentences, and what the base model expects in them.

    Attributes:
        ids: (sentences, length).
        mask: The same shape.
        expected: (sentences, length, vocab) log-probabilities.
    """

    ids: Tensor
    mask: Tensor
    expected: Tensor

    def divergence(self, model: Any, chosen: Tensor) -> Tensor:
        """Return KL(base || model) of some sentences, per token."""
        chosen = chosen.to(self.ids.device)
        ids, mask = self.ids[chosen], self.mask[chosen]
        seen = model(input_ids=ids, attention_mask=mask).logits.float().log_softmax(-1)
        kl = torch.nn.functional.kl_div(
            seen, self.expected[chosen], reduction="none", log_target=True
        )
        return kl.sum(-1)[mask.bool()].mean()


def _targets(model: Any, targets: str) -> str | list[str]:
    """Return the layers to adapt, as PEFT is told."""
    if targets == "all-linear":
        return targets
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    # GPT-2 and GPT-NeoX have the three in one layer.
    found = names & {"q_proj", "k_proj", "v_proj", "c_attn", "query_key_value", "qkv_proj"}
    if not found:
        raise ValueError("No query, key and value projections were found.")
    return sorted(found)

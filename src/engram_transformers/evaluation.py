"""Asking facts through the real path: cached greedy generation, whole answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import GenerationConfig

from engram_transformers.active import use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import HistoryError
from engram_transformers.sequences import Wording
from engram_transformers.table import UserTable

_BATCH = {"cpu": 32}
"""There larger ones take longer, since all of a batch is as long as its longest."""
_LARGE_BATCH = 1024
"""Elsewhere, where a step costs the same for many as for one."""


class Said(NamedTuple):
    """What a model says.

    Attributes:
        tokens: As many as the wording has targets.
        margin: By how many logits each token led the next best, at its weakest.
        then: The token that it says behind them.
    """

    tokens: tuple[int, ...]
    margin: float
    then: int


def ask(
    model: nn.Module,
    tables: UserTable | Sequence[UserTable] | None,
    wordings: Sequence[Wording],
    on_batch: Callable[[int], None] | None = None,
) -> list[Said]:
    """Generate as many tokens as each answer has, and one more, greedily.

    Args:
        model: A patched model.
        tables: The table to read, or one for each wording; None asks the model without one.
        wordings: What to ask.
        on_batch: Called with the number of wordings asked at each step.

    Returns:
        For each wording, what the model says.
    """
    said = [Said((), 0.0, 0)] * len(wordings)
    size = _BATCH.get(require_attachment(model).device.type, _LARGE_BATCH)
    # Alike lengths together, so that little is generated in vain.
    by_length = sorted(
        range(len(wordings)), key=lambda i: (len(wordings[i].targets), len(wordings[i].prompt_ids))
    )
    for first in range(0, len(by_length), size):
        numbers = by_length[first : first + size]
        active = [tables[n] for n in numbers] if isinstance(tables, Sequence) else tables
        with use_tables(model, active), torch.inference_mode():
            answers = _generate(model, [wordings[n] for n in numbers])
        for number, answer in zip(numbers, answers, strict=True):
            said[number] = answer
        if on_batch is not None:
            on_batch(len(numbers))
    return said


def is_recalled(wording: Wording, said: Said) -> bool:
    """Say whether the whole answer, with its stop, was said."""
    return said.tokens == wording.targets


def _generate(model: Any, wordings: Sequence[Wording]) -> list[Said]:
    attachment = require_attachment(model)
    ids, mask = left_padded([wording.prompt_ids for wording in wordings], attachment.device)
    # Neither sampling nor penalties nor an early end, whatever the model's own settings are: what
    # is None here would be taken from those. Ids end at the vocabulary's size, so this end of text
    # never comes, and the real one, which chat answers close with, is a token like any other.
    longest = max(len(wording.targets) for wording in wordings) + 1
    # Some models force a closing token into the last place.
    forced = model.generation_config.forced_eos_token_id is not None
    settings = GenerationConfig(
        max_new_tokens=longest + forced,
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        pad_token_id=0,
        eos_token_id=attachment.canonical.numel(),
        use_cache=True,
        return_dict_in_generate=False,
    )
    leads = _Leads()
    given = {"input_ids": ids, "attention_mask": mask, "generation_config": settings}
    try:
        output = model.generate(**given, logits_processor=[leads])
    except HistoryError:  # a cache of the model's own kind, with which tokens can't be followed
        settings.use_cache = False
        leads.clear()
        output = model.generate(**given, logits_processor=[leads])
    generated: list[list[int]] = output[:, ids.shape[1] :].tolist()
    margins: list[list[float]] = torch.stack(leads, dim=1).tolist()
    said: list[Said] = []
    for tokens, margin, wording in zip(generated, margins, wordings, strict=True):
        count = len(wording.targets)
        said.append(Said(tuple(tokens[:count]), min(margin[:count]), tokens[count]))
    return said


class _Leads(list[torch.Tensor]):
    """A logits processor that changes nothing and notes by how much the best token leads."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        best, place = scores.max(dim=1, keepdim=True)
        others = scores.scatter(1, place, float("-inf"))
        self.append(best[:, 0].float() - others.amax(1).float())
        return scores


def left_padded(
    sequences: Sequence[Sequence[int]], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack sequences of ids, padding on the left.

    Args:
        sequences: At least one.
        device: Where to.

    Returns:
        (batch, longest) int64 ids, 0 at padding, and the attention mask, int64.
    """
    longest = max(len(sequence) for sequence in sequences)
    ids = [[0] * (longest - len(sequence)) + list(sequence) for sequence in sequences]
    mask = [[0] * (longest - len(sequence)) + [1] * len(sequence) for sequence in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)

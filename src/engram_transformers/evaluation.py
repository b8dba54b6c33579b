"""Asking facts through the real path: cached greedy generation, whole answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import GenerationConfig

from engram_transformers.active import use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.errors import HistoryError
from engram_transformers.sequences import Wording

if TYPE_CHECKING:
    from engram_transformers.table import UserTable

_BATCH = 128


def ask(
    model: nn.Module,
    table: UserTable | None,
    wordings: Sequence[Wording],
    on_batch: Callable[[int], None] | None = None,
) -> list[tuple[int, ...]]:
    """Generate as many tokens as each answer has, greedily.

    Args:
        model: A patched model.
        table: The table to read; None asks the model without one.
        wordings: What to ask.
        on_batch: Called with the number of wordings asked at each step.

    Returns:
        For each wording, the tokens that the model says: as many as its targets.
    """
    said: list[tuple[int, ...]] = [()] * len(wordings)
    # Alike lengths together, so that little is generated in vain.
    by_length = sorted(
        range(len(wordings)), key=lambda i: (len(wordings[i].targets), len(wordings[i].prompt_ids))
    )
    with use_tables(model, table), torch.inference_mode():
        for first in range(0, len(by_length), _BATCH):
            numbers = by_length[first : first + _BATCH]
            for number, tokens in zip(
                numbers, _generate(model, [wordings[n] for n in numbers]), strict=True
            ):
                said[number] = tokens
            if on_batch is not None:
                on_batch(len(numbers))
    return said


def is_recalled(wording: Wording, said: Sequence[int]) -> bool:
    """Say whether the whole answer, with its stop, was said."""
    return tuple(said) == wording.targets


def _generate(model: Any, wordings: Sequence[Wording]) -> list[tuple[int, ...]]:
    attachment = require_attachment(model)
    ids, mask = left_padded([wording.prompt_ids for wording in wordings], attachment.device)
    # Neither sampling nor penalties nor an early end, whatever the model's own settings are: what
    # is None here would be taken from those. Ids end at the vocabulary's size, so this end of text
    # never comes, and the real one, which chat answers close with, is a token like any other.
    longest = max(len(wording.targets) for wording in wordings)
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
    try:
        output = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    except HistoryError:  # a cache of the model's own kind, with which tokens can't be followed
        settings.use_cache = False
        output = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    generated: list[list[int]] = output[:, ids.shape[1] :].tolist()
    return [tuple(g[: len(w.targets)]) for g, w in zip(generated, wordings, strict=True)]


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

"""Training examples of the skill: ids, what is learned, and which text must stay as it is."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from engram_transformers.errors import EpisodeError
from engram_transformers.sequences import Encoder
from engram_transformers.skill.episodes import Episode
from engram_transformers.skill.traces import Form, trace_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NOT_LEARNED = -100
_ORDINARY_LENGTH = 96
"""In tokens: not longer than most episodes, since all of a batch is as long as its longest."""


class Example(NamedTuple):
    """One sequence.

    Attributes:
        ids: Its token ids.
        learned: Whether each is to be learned.
        is_ordinary: Whether it is ordinary text, on which the model is to stay as it is.
    """

    ids: list[int]
    learned: list[bool]
    is_ordinary: bool


def episode_examples(
    tokenizer: PreTrainedTokenizerBase,
    episodes: Iterable[Episode],
    forms: Sequence[Form],
    max_length: int,
    seed: int,
) -> list[Example]:
    """Encode each episode once, in one of the forms, by lot.

    Raises:
        EpisodeError: If there is no episode, or one is longer than `max_length` tokens.
    """
    encoder = Encoder(tokenizer)
    lot = random.Random(seed)
    examples: list[Example] = []
    for episode in episodes:
        ids, learned = trace_ids(encoder, episode, lot.choice(forms))
        if len(ids) > max_length:
            reason = f"it takes {len(ids)} tokens, and max_length is {max_length}."
            raise EpisodeError(episode.question, reason)
        examples.append(Example(ids, learned, False))
    if not examples:
        raise EpisodeError("", "there are no episodes.")
    return examples


def ordinary_examples(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> list[Example]:
    """Encode the beginnings of ordinary texts. Those of one token say nothing."""
    encoder = Encoder(tokenizer)
    found = [(encoder.prefix + encoder(text))[:_ORDINARY_LENGTH] for text in texts]
    return [Example(ids, [False] * len(ids), True) for ids in found if len(ids) > 1]


class Collator:
    """Stacks examples of different lengths, padded on the right.

    Gives `input_ids`, `attention_mask` and `labels`, each (batch, longest) int64, and
    `is_ordinary`, (batch,) bool. Labels are `NOT_LEARNED` at what is not learned.
    """

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Stack some examples."""
        ids = [torch.tensor(example.ids) for example in examples]
        labels = [
            torch.where(torch.tensor(example.learned), own, NOT_LEARNED)
            for example, own in zip(examples, ids, strict=True)
        ]
        is_ordinary = torch.tensor([example.is_ordinary for example in examples])
        return {
            "input_ids": pad_sequence(ids, True, self.padding),
            "attention_mask": pad_sequence(list(map(torch.ones_like, ids)), True),
            "labels": pad_sequence(labels, True, NOT_LEARNED),
            "is_ordinary": is_ordinary,
        }

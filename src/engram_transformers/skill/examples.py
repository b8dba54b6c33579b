"""Training examples of the skill: ids, what is learned, and which text must stay as it is."""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Sampler

from engram_transformers.errors import EpisodeError
from engram_transformers.facts import FactLike, as_facts
from engram_transformers.sequences import Encoder, joined, prompt_ids
from engram_transformers.skill.episodes import UNKNOWN_ANSWER, Episode
from engram_transformers.skill.in_order import in_order
from engram_transformers.skill.keys import are_shown_at_once, name_of
from engram_transformers.skill.traces import Form, trace_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MISSING_FROM_NAMES = 0.3
"""The share of questions with names of which a needed fact is left out: they are asked where none
is known by the name that was said, and mostly it is missing."""
_LINE_ENDS = 0.3
"""The share of episodes in which numbers are read with a line end behind them."""
_ORDINARY_LENGTH = 160
"""In tokens: a chat with names of facts has room for its answer."""
_BATCHES_AT_ONCE = 16
"""So many are sorted by length together."""


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
    with_names: float = 0.0,
    missing: float = 0.0,
    workers: int = 0,
) -> list[Example]:
    """Encode each episode once, in one of the forms, by lot.

    Args:
        tokenizer: The model's.
        episodes: The episodes.
        forms: In which forms questions are put.
        max_length: Of an example, in tokens.
        seed: Of the lots; each episode draws its own.
        with_names: The share of the episodes whose question comes with names to choose from.
        missing: The share of the others of which a fact that is needed is left out.
        workers: Processes that encode. 0: this one.

    Raises:
        EpisodeError: If there is no episode, or one is longer than `max_length` tokens.
    """
    known = list(episodes)
    if not known:
        raise EpisodeError("", "there are no episodes.")
    encode = functools.partial(
        _example, Encoder(tokenizer), tuple(forms), max_length, seed, with_names, missing
    )
    return in_order(encode, list(enumerate(known)), workers)


def _example(
    encoder: Encoder,
    forms: Sequence[Form],
    max_length: int,
    seed: int,
    with_names: float,
    missing: float,
    numbered: tuple[int, Episode],
) -> Example:
    number, episode = numbered
    lot = random.Random(f"{seed}/{number}")
    names: list[str] = []
    is_listed = lot.random() < with_names
    if lot.random() < (_MISSING_FROM_NAMES if is_listed else missing):
        episode = _without_one(episode, lot)
    if is_listed:
        episode, names = _with_names(episode, lot)
    form, line_ends = lot.choice(forms), lot.random() < _LINE_ENDS
    ids, learned = trace_ids(encoder, episode, form, names, line_ends=line_ends)
    if len(ids) > max_length:
        reason = f"it takes {len(ids)} tokens, and max_length is {max_length}."
        raise EpisodeError(episode.question, reason)
    return Example(ids, learned, False)


def _without_one(episode: Episode, lot: random.Random) -> Episode:
    """Leave out a fact that is needed: it is asked for, unknown, and that is the answer."""
    known = [n for n, trigger in enumerate(episode.needed) if episode.value(trigger) is not None]
    if len(known) < len(episode.needed) or not known:
        return episode
    last = lot.choice(known)
    trigger = episode.needed[last]
    left = [fact for fact in as_facts(episode.facts) if trigger not in fact.prompts]
    if not left:
        return episode
    return Episode(left, episode.question, UNKNOWN_ANSWER, episode.needed[: last + 1])


def _with_names(episode: Episode, lot: random.Random) -> tuple[Episode, list[str]]:
    """Return an episode whose facts have one name each, and these names, as many as are shown.

    What is needed is recited by the name that is listed, whatever the question calls it. Names of
    other people's facts are not among them: one might mean the same, and no label would say so.
    """
    own = [fact for fact in as_facts(episode.facts) if isinstance(fact.prompt, str)]
    listed = {id(fact): lot.choice(fact.prompts) for fact in own}
    by_trigger = {prompt: str(listed[id(fact)]) for fact in own for prompt in fact.prompts}
    needed = tuple(by_trigger.get(trigger, trigger) for trigger in episode.needed)
    shown = [name for name in needed if name in by_trigger.values()]
    for fact in lot.sample(own, len(own)):
        name = str(listed[id(fact)])
        if name not in shown and are_shown_at_once([*shown, name]):
            shown.append(name)
    lot.shuffle(shown)
    return dataclasses.replace(episode, needed=needed), list(map(name_of, shown))


def ordinary_examples(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str | FactLike]
) -> list[Example]:
    """Encode the beginnings of ordinary texts and chats. Those of one token say nothing."""
    encoder = Encoder(tokenizer)
    found = [_ordinary_ids(encoder, text)[:_ORDINARY_LENGTH] for text in texts]
    return [Example(ids, [False] * len(ids), True) for ids in found if len(ids) > 1]


def _ordinary_ids(encoder: Encoder, text: str | FactLike) -> list[int]:
    if isinstance(text, str):
        return encoder.prefix + encoder(text)
    (said,) = as_facts(text)
    ids, _ = prompt_ids(encoder, said.prompt)
    if isinstance(said.prompt, str):
        return ids + encoder(joined(said.prompt, said.answer))
    end: Any = encoder.tokenizer.eos_token_id
    return [*ids, *encoder(said.answer), *([] if end is None else [end])]


class Collator:
    """Stacks examples of different lengths, padded on the right.

    Gives `input_ids` and `attention_mask`, (batch, longest) int64, and which positions count, of
    the batch laid out as one text (row * longest + column), each (count,) int64, so that no step
    has to look for them on the device:

    - `learned`: those whose next token is learned, and these tokens as `targets`;
    - `ordinary`: those of ordinary texts whose next token is to be as likely as before, and the
      same in the batch of these texts alone as `ordinary_alone`. Their rows are `ordinary_texts`.
    """

    def __init__(self, padding: int) -> None:
        self.padding = padding

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Stack some examples."""
        ids = [torch.tensor(example.ids) for example in examples]
        input_ids = pad_sequence(ids, True, self.padding)
        learned = pad_sequence([torch.tensor(example.learned) for example in examples], True)
        attention_mask = pad_sequence(list(map(torch.ones_like, ids)), True)
        texts = torch.tensor([example.is_ordinary for example in examples])
        is_followed = pad(attention_mask[:, 1:], (0, 1)).bool()
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "learned": _places(pad(learned[:, 1:], (0, 1))),
            "targets": input_ids[:, 1:][learned[:, 1:]],
            "ordinary": _places(is_followed & texts[:, None]),
            "ordinary_alone": _places(is_followed[texts]),
            "ordinary_texts": _places(texts),
        }


def _places(chosen: Tensor) -> Tensor:
    return chosen.flatten().nonzero()[:, 0]


class SimilarLengths(Sampler[int]):
    """A random order in which the examples of a batch are about equally long.

    Args:
        lengths: Of the examples, in tokens.
        batch_size: Examples per batch.
        seed: Of the orders; each epoch has its own.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch, as when training goes on after a break."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        lot = random.Random(f"{self.seed}/{self.epoch}")
        order = lot.sample(range(len(self.lengths)), len(self.lengths))
        pool = self.batch_size * _BATCHES_AT_ONCE
        batches: list[list[int]] = []
        for start in range(0, len(order), pool):
            some = sorted(order[start : start + pool], key=lambda number: self.lengths[number])
            batches += [some[n : n + self.batch_size] for n in range(0, len(some), self.batch_size)]
        # An incomplete batch stays the last: the loader counts off its batches from the start.
        last = [batches.pop()] if batches and len(batches[-1]) < self.batch_size else []
        lot.shuffle(batches)
        for batch in batches + last:
            yield from batch

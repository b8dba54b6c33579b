"""Reciting: what a model with the skill says, stopped where it needs help to go on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from engram_transformers.active import use_tables
from engram_transformers.canonical import normalise
from engram_transformers.continuation import TITLES
from engram_transformers.evaluation import left_padded
from engram_transformers.sequences import Encoder
from engram_transformers.skill.episodes import UNKNOWN_VALUE
from engram_transformers.skill.keys import are_shown_at_once, name_of
from engram_transformers.skill.resolving import Resolved, Unresolved, resolve, triggers_of
from engram_transformers.skill.sums import result_of
from engram_transformers.skill.traces import Form, question_ids, spell

if TYPE_CHECKING:
    from engram_transformers.table import UserTable

_UNKNOWN = f" {UNKNOWN_VALUE}."
_EQUALS = " ="
_SENTENCE_END = re.compile(rf"{TITLES}[.!?…](?=\s)")


class Recitation:
    """A question, and what has been said to it.

    Args:
        encoder: Of the tokenizer.
        question: The question.
        form: How it is put.
        entry: The tables that are read.
        with_names: Whether the names of what they hold are shown with it.

    Attributes:
        question: The question.
        form: How it is put.
        entry: The tables that are read.
        prompt: The question's ids.
        with_names: Whether the names of what the tables hold are shown.
        said: The ids that were said.
        spent: How many tokens were said before, if it was started again.
        resolved: What was taken in place of names that no fact has.
        has_ended: Whether the model came to an end.
    """

    def __init__(
        self,
        encoder: Encoder,
        question: str,
        form: Form,
        entry: UserTable | Sequence[UserTable] | None,
        *,
        with_names: bool = False,
    ) -> None:
        self.question = question
        self.form: Form = form
        self.entry = entry
        self.with_names = with_names
        self.said: list[int] = []
        self.spent = 0
        self.resolved: list[Resolved] = []
        self.has_ended = False
        self._encoder = encoder
        self._missed: str | None = None
        self.prompt = self._asked()

    @property
    def text(self) -> str:
        """What was said."""
        return self._decoded(len(self.said))

    @property
    def length(self) -> int:
        """How many tokens were said in all."""
        return self.spent + len(self.said)

    def take(self, new: Sequence[int], marks: Sequence[Sequence[int]]) -> None:
        """Add what was said, up to its end or to a mark behind which the model was stopped."""
        end: Any = self._encoder.tokenizer
        for token in new:
            if token == end.eos_token_id:
                self.has_ended = True
                return
            self.said.append(token)
            if any(self.said[-len(mark) :] == list(mark) for mark in marks):
                return

    def unresolved(self) -> Unresolved | None:
        """Return the trigger that was said last if no fact has it, and that was noticed."""
        text = self.text
        if not text.endswith(_UNKNOWN):
            return None
        front = len(text) - len(_UNKNOWN)
        start = max((found.end() for found in _SENTENCE_END.finditer(text, 0, front)), default=0)
        trigger, triggers = text[start:front].strip(), triggers_of(self.entry)
        if normalise(trigger) in map(normalise, triggers):
            return None  # the value of a fact
        count = 0
        while len(self._decoded(count)) < start:
            count += 1
        return Unresolved(self.question, tuple(self.said[:count]), trigger, triggers)

    @property
    def may_start_again(self) -> bool:
        """Whether there are names that could be shown with the question, and are not."""
        triggers = triggers_of(self.entry)
        return bool(triggers) and not self.with_names and are_shown_at_once(triggers)

    def start_again(self, unresolved: Unresolved) -> None:
        """Take back what was said, and show the names: a trigger was said that is none of them."""
        self.with_names = True
        self.prompt = self._asked()
        self.spent += len(self.said)
        self.said = []
        self._missed = unresolved.trigger

    def settle(self) -> None:
        """Find out what was taken in place of a trigger for which it was started again."""
        if self._missed is not None:
            said = f"{normalise(self.text)} "
            begun = [one for one in triggers_of(self.entry) if said.startswith(normalise(one))]
            if begun:
                self.resolved.insert(0, Resolved(self._missed, max(begun, key=len)))

    def say_instead(self, unresolved: Unresolved, trigger: str) -> list[int]:
        """Replace a trigger by a fact's own, and return its ids."""
        added = spell(self._encoder, trigger, self.form, unresolved.before)
        self.said = [*unresolved.before, *added]
        self.resolved.append(Resolved(unresolved.trigger, trigger))
        return added

    def complete(self) -> list[int]:
        """Complete a sum that was begun, and return the result's ids; none if it is no sum."""
        result = result_of(self.text) if self.text.endswith(_EQUALS) else None
        added = [] if result is None else spell(self._encoder, result, self.form, self.said)
        self.said += added
        return added

    def _asked(self) -> list[int]:
        names = list(map(name_of, triggers_of(self.entry))) if self.with_names else []
        return question_ids(self._encoder, self.question, self.form, names)

    def _decoded(self, count: int) -> str:
        tokenizer: Any = self._encoder.tokenizer
        return tokenizer.decode(self.said[:count], skip_special_tokens=True)


def recite(
    model: nn.Module,
    encoder: Encoder,
    recitations: Sequence[Recitation],
    *,
    resolving: bool,
    calculating: bool,
    max_new_tokens: int,
    streamer: BaseStreamer | None,
) -> None:
    """Let a model say what it has to say to several questions, in one batch.

    It is stopped where it says that something is unknown, if names are to be resolved, and behind
    "=", if sums are to be calculated. A result is put there, and it goes on. Where a name is none
    of the owner's, it starts again and is shown those that there are; if they were shown, or are
    too many for that, the one that is meant is put in its place.

    Args:
        model: A patched model with the skill.
        encoder: Of its tokenizer.
        recitations: All in one form; what is said is added to them.
        resolving: Whether names are resolved.
        calculating: Whether sums are completed.
        max_new_tokens: How much may be said to each question.
        streamer: Gets what is said; for one question only.
    """
    texts = [_UNKNOWN] * resolving + [_EQUALS] * calculating
    marks = [ids for text in texts if (ids := encoder.behind(text))]
    shown = None if streamer is None else _InPieces(streamer)
    left = list(recitations)
    while left:
        _generate(model, encoder, left, marks, max_new_tokens, shown)
        left = [one for one in left if not one.has_ended]
        added = [one.complete() for one in left] if calculating else []
        unknown = [(one, found) for one in left if resolving and (found := one.unresolved())]
        meant: list[tuple[Recitation, Unresolved]] = []
        for one, found in unknown:
            if one.may_start_again:
                one.start_again(found)
            else:
                meant.append((one, found))
        if meant:
            added += _resolve(model, encoder, meant)
        if shown is not None:
            for ids in added:
                shown.insert(ids)
        # What was put there counts too.
        left = [one for one in left if one.length < max_new_tokens]
    for one in recitations:
        one.settle()
    if streamer is not None:
        streamer.end()


def _resolve(
    model: nn.Module, encoder: Encoder, unknown: Sequence[tuple[Recitation, Unresolved]]
) -> list[list[int]]:
    """Replace triggers that no fact has by those that are meant; return what is said instead.

    Where none goes on behind what was said before, one may have been meant from the beginning.
    """
    form = unknown[0][0].form
    added: list[list[int]] = []
    for from_start in (False, True):
        if from_start:
            unknown = [(one, found._replace(before=())) for one, found in unknown if found.before]
        chosen = resolve(model, encoder, [found for _, found in unknown], form)
        left: list[tuple[Recitation, Unresolved]] = []
        for (one, found), trigger in zip(unknown, chosen, strict=True):
            if trigger is None or (from_start and trigger in one.text):
                left.append((one, found))
            else:
                added.append(one.say_instead(found, trigger))
        unknown = left
    return added


def _generate(
    model: nn.Module,
    encoder: Encoder,
    recitations: Sequence[Recitation],
    marks: Sequence[Sequence[int]],
    max_new_tokens: int,
    streamer: _InPieces | None,
) -> None:
    """Let the model go on until each is at its end, behind a mark or out of tokens."""
    any_model: Any = model
    end: Any = encoder.tokenizer
    ids, mask = left_padded([one.prompt + one.said for one in recitations], any_model.device)
    budget = max(max_new_tokens - one.length for one in recitations)
    with torch.no_grad(), use_tables(model, [one.entry for one in recitations]):
        output = any_model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=budget,
            do_sample=False,
            eos_token_id=end.eos_token_id,
            pad_token_id=end.eos_token_id,
            stopping_criteria=StoppingCriteriaList([_Behind(marks)]) if marks else None,
            streamer=streamer,
        )
    for one, row in zip(recitations, output[:, ids.shape[1] :].tolist(), strict=True):
        one.take(row[: max_new_tokens - one.length], marks)


class _Behind(StoppingCriteria):
    """Stops a sample where its last tokens are those of a mark."""

    def __init__(self, marks: Sequence[Sequence[int]]) -> None:
        self.marks = marks

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Any:
        stopped = torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
        for mark in self.marks:
            last = input_ids[:, -len(mark) :]
            stopped |= (last == torch.tensor(mark, device=input_ids.device)).all(dim=1)
        return stopped


class _InPieces(BaseStreamer):
    """A streamer that is given what several generations say, as if it were one."""

    def __init__(self, streamer: BaseStreamer) -> None:
        self.streamer: Any = streamer
        self.calls = 0
        self.expects_prompt = True

    def put(self, value: Tensor) -> None:
        """Pass tokens on; of the prompts, which come first, only the first one."""
        if not self.expects_prompt or not self.calls:
            self.streamer.put(value)
        self.expects_prompt = False

    def end(self) -> None:
        """A generation has come to its end, which is not that of the answer."""
        self.calls += 1
        self.expects_prompt = True

    def insert(self, ids: Sequence[int]) -> None:
        """Pass on what the model was given to say."""
        if ids:
            self.streamer.put(torch.tensor(ids))

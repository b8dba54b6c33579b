"""Traces: what a model with the skill says before it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from engram_transformers.errors import EpisodeError
from engram_transformers.sequences import (
    AUTO_STOP,
    AUTO_STOP_AND_LINE_END,
    Encoder,
    joined,
    prompt_ids,
    stop_text,
)
from engram_transformers.skill.episodes import UNKNOWN_VALUE, Episode

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Form = Literal["chat", "plain"]
"""How a question is put: through the tokenizer's chat template, or as "Q: …" and "A:"."""

ANSWER_MARK = "Answer:"
"""What stands between the working and the answer."""
NAMES_MARK = "Known about me:"
"""What stands before the names of what is known, if a question comes with them."""
NONE_OF_THEM = "None of these."
"""What is said where none of the names is the one that is needed."""


class Segment(NamedTuple):
    """A part of a trace.

    Attributes:
        text: The text.
        is_learned: Whether the model is to say it by itself. What rows say is read, not learned.
    """

    text: str
    is_learned: bool


def forms_of(tokenizer: PreTrainedTokenizerBase) -> tuple[Form, ...]:
    """Return the forms that a tokenizer can put a question in, the usual one first."""
    return ("chat", "plain") if getattr(tokenizer, "chat_template", None) else ("plain",)


def question_ids(
    encoder: Encoder, question: str, form: Form, names: Sequence[str] = ()
) -> list[int]:
    """Return the ids that a model is given for a question.

    Args:
        encoder: Of the tokenizer.
        question: What is asked.
        form: How it is put.
        names: Names of what is known, to choose from; usually none, since rows need no context.

    Raises:
        FactError: If the form is "chat" and the tokenizer has no chat template.
    """
    question = with_names_shown(question, names)
    prompt = (("user", question),) if form == "chat" else f"Q: {question}\nA:"
    return prompt_ids(encoder, prompt)[0]


def with_names_shown(question: str, names: Sequence[str]) -> str:
    """Return a question with names of what is known below it; as it is if there are none."""
    return f"{question}\n{NAMES_MARK} {'; '.join(names)}" if names else question


def trace(
    episode: Episode, form: Form, *, with_names: bool = False, line_ends: bool = False
) -> list[Segment]:
    """Return what is to be said to an episode's question, without the end token.

    Each needed trigger is recited, the row's value follows, then the working, then the answer.

    Args:
        episode: The episode.
        form: How its question is put.
        with_names: Whether the names of what is known are shown with it.
        line_ends: Whether numbers have a line end behind their stop, as rows say those that might
            go on there ("4471.50").
    """
    segments: list[Segment] = []
    for trigger in episode.needed:
        value = episode.value(trigger)
        if value is None:
            said = NONE_OF_THEM if with_names else f"{trigger} {UNKNOWN_VALUE}."
            segments.append(Segment(f" {said}", True))
        else:
            stop = AUTO_STOP_AND_LINE_END if line_ends and value[-1].isdigit() else AUTO_STOP
            said = f"{joined(trigger, value)}{stop_text(value, stop)}"
            segments += [Segment(f" {trigger}", True), Segment(said, False)]
    if episode.working.strip():
        segments.append(Segment(f" {episode.working.strip()}", True))
    segments.append(Segment(f" {ANSWER_MARK} {episode.answer.strip()}", True))
    return [
        Segment(one.text.lstrip() if _begins(before, form) else one.text, one.is_learned)
        for before, one in zip(("", *(said.text for said in segments)), segments, strict=False)
    ]


def _begins(before: str, form: Form) -> bool:
    """Say whether what follows begins a chat's reply or a line: no space stands before it."""
    return before.endswith("\n") or (form == "chat" and not before)


def trace_ids(
    encoder: Encoder,
    episode: Episode,
    form: Form,
    names: Sequence[str] = (),
    *,
    line_ends: bool = False,
) -> tuple[list[int], list[bool]]:
    """Return an episode in tokens, as it is generated: each segment continues what stands there.

    Args:
        encoder: Of the tokenizer.
        episode: The episode.
        form: How its question is put.
        names: See `question_ids`.
        line_ends: See `trace`.

    Returns:
        The ids of question, trace and end token, and for each whether it is learned.

    Raises:
        EpisodeError: If the tokenizer has no end token.
    """
    tokenizer: Any = encoder.tokenizer
    end = tokenizer.eos_token_id
    if end is None:
        raise EpisodeError(episode.question, "the tokenizer has no end token to stop with.")
    ids = question_ids(encoder, episode.question, form, names)
    learned = [False] * len(ids)
    for text, is_learned in trace(episode, form, with_names=bool(names), line_ends=line_ends):
        added = _behind(encoder, text)
        ids += added
        learned += [is_learned] * len(added)
    return [*ids, cast(int, end)], [*learned, True]


def spell(encoder: Encoder, text: str, form: Form, before: Sequence[int]) -> list[int]:
    """Return a text's ids as they go on behind what was said.

    A chat's first word has no space before it, nor has a line's.
    """
    tokenizer: Any = encoder.tokenizer
    begins = _begins(tokenizer.decode(list(before)[-1:]), form)
    return encoder(text) if begins else _behind(encoder, f" {text}")


def _behind(encoder: Encoder, text: str) -> list[int]:
    behind = encoder.behind(text) if text[0].isspace() else None
    return encoder(text) if behind is None else behind

"""Asking a model that has the skill."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

from torch import nn

from engram_transformers.active import TablesOfSample
from engram_transformers.attachment import require_attachment
from engram_transformers.binding import Binding
from engram_transformers.errors import (
    AnswerError,
    ConfigError,
    SharedLoraError,
    TableMismatchError,
)
from engram_transformers.sequences import Encoder
from engram_transformers.skill.episodes import UNKNOWN_ANSWER
from engram_transformers.skill.keys import are_shown_at_once
from engram_transformers.skill.reciting import Recitation, recite
from engram_transformers.skill.resolving import Resolved, triggers_of
from engram_transformers.skill.traces import ANSWER_MARK, Form, forms_of
from engram_transformers.table import UserTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from transformers.generation.streamers import BaseStreamer

NamesShown = Literal["unknown", "always", "never"]
"""When names of facts are shown to the model."""


@dataclass(frozen=True)
class Answer:
    """What a model with the skill said to a question.

    Attributes:
        question: The question.
        text: The answer.
        recited: What it said before: what it recalled, and its working. Empty if it answered
            straight away.
        resolved: Names that no fact has, and those that were taken in their place.
    """

    question: str
    text: str
    recited: str
    resolved: tuple[Resolved, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether it says anything else than that it does not know."""
        return self.text != UNKNOWN_ANSWER

    def __str__(self) -> str:
        return self.text


@overload
def answer(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    tables: TablesOfSample = None,
    *,
    form: Form | None = None,
    names: NamesShown = "unknown",
    calculate: bool = False,
    max_new_tokens: int = 200,
    streamer: BaseStreamer | None = None,
) -> Answer: ...


@overload
def answer(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    question: Sequence[str],
    tables: Sequence[TablesOfSample],
    *,
    form: Form | None = None,
    names: NamesShown = "unknown",
    calculate: bool = False,
    max_new_tokens: int = 200,
    streamer: BaseStreamer | None = None,
) -> list[Answer]: ...


def answer(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    question: str | Sequence[str],
    tables: Any = None,
    *,
    form: Form | None = None,
    names: NamesShown = "unknown",
    calculate: bool = False,
    max_new_tokens: int = 200,
    streamer: BaseStreamer | None = None,
) -> Answer | list[Answer]:
    """Ask a model that has the skill: it recites what it needs, reads the rows, and answers.

    Args:
        model: A patched model with a shared LoRA attached.
        tokenizer: Its tokenizer.
        question: A question, or several, which are answered in one batch.
        tables: Of one question: a table, several, strongest first, or None. Of several questions:
            one such entry for each.
        form: How the question is put. None: as a chat if the tokenizer has a template for it. Use
            what the skill was trained in.
        names: When the names of the owner's facts (never their values) are shown to the model, so
            that it chooses among them. "unknown": where it asks by a name that no fact has ("My
            smartphone is"), it starts again with these names in view and may take one that the
            owner has ("My phone is"); see `Answer.resolved`. "always": with each question, at some
            tokens per fact and for up to 40 facts. "never": only what it says by itself is read. A
            table without texts has no names.
        calculate: Whether sums that the model says ("2026 - 1993 =") are completed exactly.
        max_new_tokens: How much it may say in all, recited parts and false starts included.
        streamer: Gets all tokens as they come, recited ones included; for one question only.

    Returns:
        The answer, or one for each question. A model that says no "Answer:" but ends has answered
        straight away.

    Raises:
        NotPatchedError: If the model has no memories.
        SharedLoraError: If no shared LoRA is attached.
        TableMismatchError: If a table was written without this adapter, or belongs to another
            model.
        AnswerError: If the model comes to no end within `max_new_tokens`, as when it repeats
            itself; it has the answers to the other questions.
        ConfigError: If an option is not allowed.

    Example:
        >>> from engram_transformers import answer, attach_shared_lora
        >>> def ask(model, tokenizer, table):
        ...     attach_shared_lora(model, "skills/smollm2-135m-instruct")
        ...     return answer(model, tokenizer, "How old will I be in 2030?", table).text
    """
    asked = [question] if isinstance(question, str) else list(question)
    entries: list[Any] = [tables] if isinstance(question, str) else list(tables or ())
    if not asked or not all(text.strip() for text in asked):
        raise ConfigError("question", question, "a text, or several")
    if len(entries) != len(asked):
        raise ConfigError("tables", tables, f"one entry for each of {len(asked)} questions")
    known = forms_of(tokenizer)
    chosen = known[0] if form is None else form
    if chosen not in known:
        raise ConfigError("form", form, f"one of {known}")
    if names not in get_args(NamesShown):
        raise ConfigError("names", names, f"one of {get_args(NamesShown)}")
    if max_new_tokens < 1:
        raise ConfigError("max_new_tokens", max_new_tokens, "at least 1")
    if streamer is not None and len(asked) > 1:
        raise ConfigError("streamer", streamer, "None for several questions")
    _require_written_with_the_skill(model, entries)
    if names == "always" and not all(are_shown_at_once(triggers_of(one)) for one in entries):
        raise ConfigError(
            "names", names, '"unknown" where there are more names than fit a question'
        )
    encoder = Encoder(tokenizer)
    recitations = [
        Recitation(encoder, text, chosen, entry, with_names=names == "always")
        for text, entry in zip(asked, entries, strict=True)
    ]
    recite(
        model,
        encoder,
        recitations,
        resolving=names != "never",
        calculating=calculate,
        max_new_tokens=max_new_tokens,
        streamer=streamer,
    )
    answers = [_read(one) for one in recitations]
    finished = [one for one in answers if one is not None]
    if len(finished) < len(answers):
        first = recitations[answers.index(None)]
        raise AnswerError(first.question, first.text, max_new_tokens, answers)
    return finished[0] if isinstance(question, str) else finished


def _require_written_with_the_skill(model: nn.Module, entries: Iterable[TablesOfSample]) -> None:
    """Raise if no adapter is attached, or the rows of a table were found without one."""
    lora = Binding.of(require_attachment(model)).lora
    if lora is None:
        raise SharedLoraError("No shared LoRA is attached, so there is no skill to answer with.")
    for entry in entries:
        for table in (entry,) if isinstance(entry, UserTable) else entry or ():
            if table.has_rows and table.binding.lora is None:
                owner = table.owner
                differences = [f"it was written without a LoRA, attached is {lora}"]
                advice = f"Write its facts again: UserTable(model, {owner!r}).write(table.facts)."
                raise TableMismatchError(owner, differences, advice)


def _read(said: Recitation) -> Answer | None:
    """Take an answer out of what was said; None if it came to no end."""
    if not said.has_ended:
        return None
    recited, mark, answered = said.text.rpartition(ANSWER_MARK)
    shown = recited.strip() if mark else ""
    return Answer(said.question, answered.strip(), shown, tuple(said.resolved))

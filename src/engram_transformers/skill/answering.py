"""Asking a model that has the skill."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, overload

import torch
from torch import nn

from engram_transformers.active import TablesOfSample, use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.binding import Binding
from engram_transformers.errors import (
    AnswerError,
    ConfigError,
    SharedLoraError,
    TableMismatchError,
)
from engram_transformers.evaluation import left_padded
from engram_transformers.sequences import Encoder
from engram_transformers.skill.episodes import UNKNOWN_ANSWER
from engram_transformers.skill.traces import ANSWER_MARK, Form, forms_of, question_ids
from engram_transformers.table import UserTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from transformers.generation.streamers import BaseStreamer


@dataclass(frozen=True)
class Answer:
    """What a model with the skill said to a question.

    Attributes:
        question: The question.
        text: The answer.
        recited: What it said before: what it recalled, and its working. Empty if it answered
            straight away.
    """

    question: str
    text: str
    recited: str

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
    max_new_tokens: int = 160,
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
    max_new_tokens: int = 160,
    streamer: BaseStreamer | None = None,
) -> list[Answer]: ...


def answer(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    question: str | Sequence[str],
    tables: Any = None,
    *,
    form: Form | None = None,
    max_new_tokens: int = 160,
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
        max_new_tokens: How much it may say in all, recited parts included.
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
    _require_written_with_the_skill(model, entries)
    encoder = Encoder(tokenizer)
    any_model: Any = model
    prompts = [question_ids(encoder, text, chosen) for text in asked]
    ids, mask = left_padded(prompts, any_model.device)
    end: Any = tokenizer.eos_token_id
    with torch.no_grad(), use_tables(model, entries):
        output = any_model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=end,
            pad_token_id=end,
            streamer=streamer,
        )
    said = [row.tolist() for row in output[:, ids.shape[1] :]]
    answers = [_read(tokenizer, text, row) for text, row in zip(asked, said, strict=True)]
    finished = [one for one in answers if one is not None]
    if len(finished) < len(answers):
        first = answers.index(None)
        shown = cast(Any, tokenizer).decode(said[first], skip_special_tokens=True)
        raise AnswerError(asked[first], shown, max_new_tokens, answers)
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


def _read(tokenizer: Any, question: str, said: list[int]) -> Answer | None:
    """Take an answer out of what was said; None if it came to no end."""
    if tokenizer.eos_token_id not in said:
        return None
    recited, mark, answered = tokenizer.decode(said, skip_special_tokens=True).rpartition(
        ANSWER_MARK
    )
    return Answer(question, answered.strip(), recited.strip() if mark else "")

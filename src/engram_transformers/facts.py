"""What a user writes: facts, in any of the forms that people have them in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from engram_transformers.errors import EmptyFactError, FactError

ChatPrompt: TypeAlias = tuple[tuple[str, str], ...]
"""Chat messages as (role, content) pairs."""

Prompt: TypeAlias = str | ChatPrompt


@dataclass(frozen=True)
class Fact:
    """A trigger and what follows it.

    Attributes:
        prompt: The text that leads up to the answer, or chat messages up to the question:
            `[{"role": "user", "content": …}]` or (role, content) pairs.
        answer: What is to be said next. A space is put between prompt and answer where prose would
            have one, unless the answer brings its own.
        paraphrases: Other prompts with the same answer; each gets addresses of its own, all of
            which lead to the same rows.

    Raises:
        EmptyFactError: If a prompt or the answer has no text.
        FactError: If something else than text was given.

    Example:
        >>> Fact("My cousin Parker lives in", "Tucson").answer
        'Tucson'
    """

    prompt: Prompt
    answer: str
    paraphrases: tuple[Prompt, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", _as_prompt(self.prompt, self))
        paraphrases: Any = self.paraphrases
        if isinstance(paraphrases, str):
            paraphrases = (paraphrases,)
        prompts = tuple(_as_prompt(paraphrase, self) for paraphrase in paraphrases)
        distinct = tuple(p for p in dict.fromkeys(prompts) if p != self.prompt)
        object.__setattr__(self, "paraphrases", distinct)
        if not isinstance(self.answer, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise FactError(self._shown(), "the answer is not text; numbers go in as str(…).")
        if not self.answer.strip():
            raise EmptyFactError(self._shown(), "the answer is empty.")

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """The prompt and its paraphrases."""
        return (self.prompt, *self.paraphrases)

    def _shown(self) -> tuple[object, object]:
        return (self.prompt, self.answer)


FactLike: TypeAlias = (
    Fact | tuple[Prompt, str] | Mapping[str, Any] | Sequence[Mapping[str, str]] | str
)
"""A fact, a (prompt, answer) pair, a dictionary with these keys, a chat up to its answer, or a
statement that ends with its value."""


def as_facts(facts: FactLike | Iterable[FactLike]) -> list[Fact]:
    """Bring one fact or several, in any form, into one.

    Args:
        facts: `Fact`, (prompt, answer), {"prompt": …, "answer": …, "paraphrases": …}, chat messages
            of which the last is the assistant's, a statement ("My dentist is on Main Street."), or
            an iterable of these.

    Returns:
        The facts, in order.

    Raises:
        FactError: If something is none of these.
    """
    if _is_one(facts):
        return [_as_fact(facts)]
    if isinstance(facts, bytes) or not isinstance(facts, Iterable):
        raise FactError(facts, "give a Fact, a (prompt, answer) pair, or a list of them.")
    return [_as_fact(fact) for fact in facts]


def as_prompt(prompt: object) -> Prompt:
    """Bring a prompt into its stored form; see `Fact.prompt`."""
    return _as_prompt(prompt, prompt)


def _is_one(value: object) -> bool:
    return isinstance(value, (Fact, Mapping, str)) or _is_pair(value) or _is_chat(value)


def _is_pair(value: object) -> bool:
    if not isinstance(value, tuple) or len(cast("tuple[Any, ...]", value)) != 2:
        return False
    prompt, answer = cast("tuple[Any, Any]", value)
    is_prompt = isinstance(prompt, str) or _is_chat(prompt) or _is_chat_prompt(prompt)
    return isinstance(answer, str) and is_prompt


def _is_chat_prompt(value: object) -> bool:
    """Say whether a value is chat messages as a `Fact` keeps them: (role, content) pairs."""
    if not isinstance(value, (list, tuple)) or not value:
        return False
    messages = cast("Sequence[Any]", value)
    return all(
        isinstance(message, tuple) and [type(part) for part in message] == [str, str]
        for message in messages
    )


def _is_chat(value: object) -> bool:
    if not isinstance(value, (list, tuple)) or not value:
        return False
    messages = cast("Sequence[Any]", value)
    return all(isinstance(message, Mapping) and "role" in message for message in messages)


def _as_fact(value: object) -> Fact:
    if isinstance(value, Fact):
        return value
    if isinstance(value, str):
        from engram_transformers.skill.statements import fact_of

        return fact_of(value)
    if _is_pair(value):
        prompt, answer = cast("tuple[Any, str]", value)
        return Fact(prompt, answer)
    if _is_chat(value):
        messages = _as_messages(cast("Sequence[Mapping[str, str]]", value), value)
        if messages[-1][0] != "assistant":
            raise FactError(value, "the last message of a chat must be the assistant's answer.")
        return Fact(messages[:-1], messages[-1][1])
    if isinstance(value, Mapping):
        fields = dict(cast("Mapping[str, Any]", value))
        unknown = sorted(set(fields) - {"prompt", "answer", "paraphrases"})
        missing = sorted({"prompt", "answer"} - set(fields))
        if unknown or missing:
            parts = [f"missing: {', '.join(missing)}"] if missing else []
            parts += [f"unknown: {', '.join(unknown)}"] if unknown else []
            raise FactError(value, f"keys are prompt, answer and paraphrases ({'; '.join(parts)}).")
        return Fact(**fields)
    raise FactError(value, "give a Fact, a (prompt, answer) pair, or a dictionary with these keys.")


def _as_prompt(prompt: object, fact: object) -> Prompt:
    if isinstance(prompt, str):
        if not prompt.strip():
            raise EmptyFactError(prompt, "the prompt is empty.")
        return prompt
    if isinstance(prompt, (list, tuple)) and prompt:
        return _as_messages(cast("Sequence[Any]", prompt), prompt)
    if isinstance(prompt, (list, tuple)):
        raise EmptyFactError(prompt, "the prompt has no messages.")
    shown = prompt if isinstance(fact, Fact) else fact
    raise FactError(shown, "a prompt is text or a list of chat messages.")


def _as_messages(messages: Sequence[Any], fact: object) -> ChatPrompt:
    pairs: list[tuple[str, str]] = []
    for message in messages:
        if isinstance(message, Mapping):
            fields = cast("Mapping[str, Any]", message)
            role, content = fields.get("role"), fields.get("content")
        elif isinstance(message, (list, tuple)) and len(cast("Sequence[Any]", message)) == 2:
            role, content = cast("Sequence[Any]", message)
        else:
            role = content = None
        if not isinstance(role, str) or not isinstance(content, str) or not role:
            raise FactError(fact, "each chat message needs a role and a content, both text.")
        pairs.append((role, content))
    if not any(content.strip() for _, content in pairs):
        raise EmptyFactError(fact, "the chat has no text.")
    return tuple(pairs)

"""Facts as token ids: what is read, and what is to be said at which position."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from engram_transformers.errors import EmptyFactError, FactError, TriggerTooLongError
from engram_transformers.facts import ChatPrompt, Fact, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AUTO_STOP = "auto"
_SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？", "\n")
# After these, prose and code have no space: opening brackets and quotes, signs that bind.
_BINDS_RIGHT = frozenset("([{<\"'`“‘«/\\-=$€£#@_~")
_BINDS_LEFT = frozenset(")]}>.,;:!?%’”»")


@dataclass(frozen=True)
class Wording:
    """One prompt of a fact, with its answer, in tokens.

    Attributes:
        prompt_ids: Everything before the answer, with what the tokenizer puts in front (BOS).
        start: First position that may be part of an address: behind what the tokenizer puts there.
        answer_ids: The answer, without stop.
        stop_ids: What ends the answer; empty for none.
        is_chat: Whether the prompt is chat messages.
    """

    prompt_ids: tuple[int, ...]
    start: int
    answer_ids: tuple[int, ...]
    stop_ids: tuple[int, ...]
    is_chat: bool

    @property
    def targets(self) -> tuple[int, ...]:
        """The answer and its stop: one written position each."""
        return self.answer_ids + self.stop_ids

    @property
    def addressed_ids(self) -> tuple[int, ...]:
        """The ids that addresses are made of: trigger and targets, without the last target."""
        return self.prompt_ids[self.start :] + self.targets[:-1]

    @property
    def trigger_length(self) -> int:
        """How many of the addressed ids are the trigger's."""
        return len(self.prompt_ids) - self.start


def wordings(
    tokenizer: PreTrainedTokenizerBase,
    fact: Fact,
    stop: str | None,
    longest: int,
    canonical: Sequence[int],
) -> tuple[Wording, ...]:
    """Tokenise a fact in all of its wordings.

    Args:
        tokenizer: The model's.
        fact: The fact.
        stop: What ends the answer. "auto": the end of the turn in a chat, else a full stop unless
            the answer ends a sentence by itself. Another text: that text. None: nothing.
        longest: The model's context window, in tokens.
        canonical: Token id -> canonical id.

    Returns:
        One wording per prompt, and one more for each text whose words the tokenizer cuts otherwise
        behind a space ("Soylent's" alone, but " Soy lent's" within a text): the fact is to hold in
        both places.

    Raises:
        EmptyFactError: If a prompt or the answer comes to no tokens.
        TriggerTooLongError: If a prompt with its answer does not fit the window.
        FactError: If the answer can't be told apart from the prompt in tokens.
    """
    found = [_wording(tokenizer, fact, prompt, stop, longest) for prompt in fact.prompts]
    known = {_spelling(line, canonical) for line in found}
    for prompt in fact.prompts:
        if isinstance(prompt, str) and not prompt[0].isspace():
            spaced = f" {prompt}"
            trigger = tuple(canonical[i] for i in _encode(tokenizer, spaced))
            if any(ids[: len(trigger)] == trigger for ids, _ in known):
                continue
            found.append(_wording(tokenizer, fact, spaced, stop, longest))
            known.add(_spelling(found[-1], canonical))
    return tuple(found)


def prompt_text(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """Return a prompt as text: a chat goes through the tokenizer's template."""
    if isinstance(prompt, str):
        return prompt
    if not getattr(tokenizer, "chat_template", None):
        raise FactError(prompt, "the tokenizer has no chat template; give the prompt as text.")
    return _render(tokenizer, prompt, generation=True)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> tuple[list[int], int]:
    """Return the ids that `generate` would be given for a prompt, and where its own text begins."""
    plain = _encode(tokenizer, prompt_text(tokenizer, prompt))
    if not isinstance(prompt, str):  # the template writes special tokens itself
        return plain, 0
    full: list[int] = cast(Any, tokenizer)(prompt)["input_ids"]
    for start in range(len(full) - len(plain) + 1):
        if full[start : start + len(plain)] == plain:
            return full[: start + len(plain)], start  # without what may be appended (EOS)
    return plain, 0


def _wording(
    tokenizer: PreTrainedTokenizerBase, fact: Fact, prompt: Prompt, stop: str | None, longest: int
) -> Wording:
    before, start = prompt_ids(tokenizer, prompt)
    if len(before) == start:
        raise EmptyFactError((prompt, fact.answer), "the prompt comes to no tokens.")
    text = prompt_text(tokenizer, prompt)
    answer = fact.answer if not isinstance(prompt, str) else _joined(prompt, fact.answer)
    answer_ids = _continuation(tokenizer, text, before[start:], answer)
    if not answer_ids:
        raise EmptyFactError((prompt, fact.answer), "the answer comes to no tokens.")
    stop_ids = _stop(
        tokenizer, prompt, fact.answer, before[start:], text + answer, answer_ids, stop
    )
    length = len(before) + len(answer_ids) + len(stop_ids)
    if length > longest:
        raise TriggerTooLongError(
            (prompt, fact.answer),
            f"it takes {length} tokens, and the model's context window has {longest}.",
        )
    return Wording(
        tuple(before), start, tuple(answer_ids), tuple(stop_ids), not isinstance(prompt, str)
    )


def _spelling(line: Wording, canonical: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what two wordings of one fact must differ in to need addresses of their own."""
    return tuple(canonical[i] for i in line.addressed_ids), line.targets


def _joined(prompt: str, answer: str) -> str:
    """Put a space before an answer where prose would have one."""
    last, first = prompt[-1], answer[0]
    wide = unicodedata.east_asian_width(last) in "WF" or unicodedata.east_asian_width(first) in "WF"
    joined = last.isspace() or first.isspace() or last in _BINDS_RIGHT or first in _BINDS_LEFT
    return answer if wide or joined else f" {answer}"


def _continuation(
    tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int], continuation: str
) -> list[int]:
    """Return the ids that continue `ids` so that the whole decodes to `text + continuation`."""
    expected = continuation.strip()
    for candidate in _candidates(tokenizer, text, ids, continuation):
        decoded: str = cast(Any, tokenizer).decode(ids + candidate, skip_special_tokens=False)
        if not candidate or decoded.rstrip().endswith(expected):
            return candidate
    raise FactError((text, continuation), "the tokenizer can't spell the answer after the prompt.")


def _candidates(
    tokenizer: PreTrainedTokenizerBase, text: str, ids: list[int], continuation: str
) -> Iterator[list[int]]:
    whole = _encode(tokenizer, text + continuation)
    if whole[: len(ids)] == ids:
        yield whole[len(ids) :]
    # The border merges in one token, which generation from the prompt would not say.
    yield _encode(tokenizer, continuation)
    neutral = _encode(tokenizer, "a")
    with_neutral = _encode(tokenizer, "a" + continuation)
    if with_neutral[: len(neutral)] == neutral:
        yield with_neutral[len(neutral) :]


def _stop(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    answer: str,
    ids: list[int],
    text: str,
    answer_ids: list[int],
    stop: str | None,
) -> list[int]:
    if stop is None:
        return []
    if stop != AUTO_STOP:
        return _continuation(tokenizer, text, ids + answer_ids, stop)
    if not isinstance(prompt, str):
        rendered = _render(tokenizer, (*prompt, ("assistant", answer)), generation=False)
        end = _encode(tokenizer, rendered[rendered.rindex(answer) + len(answer) :])
        return end[:1]
    if answer.endswith(_SENTENCE_ENDS):
        return []
    return _continuation(tokenizer, text, ids + answer_ids, ".")


def _render(tokenizer: PreTrainedTokenizerBase, messages: ChatPrompt, *, generation: bool) -> str:
    dictionaries = [{"role": role, "content": content} for role, content in messages]
    return cast(Any, tokenizer).apply_chat_template(
        dictionaries, tokenize=False, add_generation_prompt=generation
    )


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(cast(Any, tokenizer)(text, add_special_tokens=False)["input_ids"])

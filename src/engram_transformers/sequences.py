"""Facts as token ids: what is read, and what is to be said at which position."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from engram_transformers.errors import EmptyFactError, FactError, TriggerTooLongError
from engram_transformers.facts import ChatPrompt, Fact, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

AUTO_STOP = "auto"
AUTO_STOP_AND_LINE_END = "auto, line end"
"""In ledgers: the same and a line end, for answers that went on behind a full stop ("4471.50")."""
_SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？", "\n")
# After these, prose and code have no space: opening brackets and quotes, signs that bind.
_BINDS_RIGHT = frozenset("([{<\"'`“‘«/\\-=$€£#@_~")
_BINDS_LEFT = frozenset(")]}>.,;:!?%’”»")


class Encoder:
    """A tokenizer that remembers, so that many short texts can be encoded in one call.

    Attributes:
        tokenizer: The tokenizer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}

    def preload(self, facts: Iterable[tuple[Fact, str | None]], canonical: Sequence[int]) -> None:
        """Encode at once what `wordings` will ask for.

        Args:
            facts: Facts, each with its stop.
            canonical: Token id -> canonical id.
        """
        texts: set[str] = set()
        ends: dict[str, set[str]] = {}
        for fact, stop in facts:
            for prompt in fact.prompts:
                if isinstance(prompt, str):
                    answer = joined(prompt, fact.answer)
                    ended = f"{answer}{stop_text(fact.answer, stop)}"
                    texts |= {prompt, f" {prompt}", prompt + answer, prompt + ended}
                    ends.setdefault(prompt, set()).update((answer, ended))
        self._encode(texts)
        cut_otherwise = [
            prompt
            for prompt in ends
            if [canonical[i] for i in self._known[prompt]]
            != [canonical[i] for i in self._known[f" {prompt}"]]
        ]
        self._encode({f" {prompt}{end}" for prompt in cut_otherwise for end in ends[prompt]})

    def _encode(self, texts: Iterable[str]) -> None:
        ordered = sorted({text for text in texts if text not in self._known})
        if ordered:
            tokenizer: Any = self.tokenizer
            # Without what nobody reads, it takes half the time.
            unread = {"return_attention_mask": False, "return_token_type_ids": False}
            encoded = tokenizer(ordered, add_special_tokens=False, **unread)["input_ids"]
            self._known.update(zip(ordered, encoded, strict=True))

    def __call__(self, text: str) -> list[int]:
        """Return a text's ids, without special tokens."""
        known = self._known.get(text)
        if known is None:
            known = cast(Any, self.tokenizer)(text, add_special_tokens=False)["input_ids"]
            self._known[text] = known
        return list(known)

    def behind(self, text: str) -> list[int] | None:
        """Return a text's ids as it is cut behind other text; None if its border merges with it."""
        neutral, with_neutral = self("a"), self(f"a{text}")
        return with_neutral[len(neutral) :] if with_neutral[: len(neutral)] == neutral else None

    def spells(self, ids: list[int], end: str) -> bool:
        """Say whether ids come to a text that ends with another, spaces behind them aside."""
        tokenizer: Any = self.tokenizer
        # Most of what a tokenizer does around its backend is not needed, and takes longer.
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is not None:
            plain: str = backend.decode(ids, skip_special_tokens=False)
            if plain.rstrip().endswith(end):
                return True
        decoded: str = tokenizer.decode(ids, skip_special_tokens=False)
        return decoded.rstrip().endswith(end)

    @cached_property
    def prefix(self) -> list[int]:
        """What the tokenizer puts before a text (BOS)."""
        alone = self("a")
        full: list[int] = cast(Any, self.tokenizer)("a")["input_ids"]
        for start in range(len(full) - len(alone) + 1):
            if full[start : start + len(alone)] == alone:
                return full[:start]
        return []


@dataclass(frozen=True)
class Wording:
    """One prompt of a fact, with its answer, in tokens.

    Attributes:
        prompt_ids: Everything before the answer, with what the tokenizer puts in front (BOS).
        start: First position that may be part of an address: behind what the tokenizer puts there.
        answer_ids: The answer, without stop.
        stop_ids: What ends the answer; empty for none.
        is_chat: Whether the prompt is chat messages.
        own: How many addressed ids stand before the trigger proper: what leads up to the last
            message of a chat, 0 for text.
        canonical: The addressed ids in canonical form.
    """

    prompt_ids: tuple[int, ...]
    start: int
    answer_ids: tuple[int, ...]
    stop_ids: tuple[int, ...]
    is_chat: bool
    own: int = 0
    canonical: tuple[int, ...] = ()

    @cached_property
    def targets(self) -> tuple[int, ...]:
        """The answer and its stop: one written position each."""
        return self.answer_ids + self.stop_ids

    @cached_property
    def addressed_ids(self) -> tuple[int, ...]:
        """The ids that addresses are made of: trigger and targets, without the last target."""
        return self.prompt_ids[self.start :] + self.targets[:-1]

    @property
    def trigger_length(self) -> int:
        """How many of the addressed ids are the trigger's."""
        return len(self.prompt_ids) - self.start


def wordings(
    tokenizer: PreTrainedTokenizerBase | Encoder,
    fact: Fact,
    stop: str | None,
    longest: int,
    canonical: Sequence[int],
) -> tuple[Wording, ...]:
    """Tokenise a fact in all of its wordings.

    Args:
        tokenizer: The model's, or an encoder that has been preloaded.
        fact: The fact.
        stop: What ends the answer. "auto": a full stop (the wide one behind wide characters),
            unless the answer ends a sentence by itself. Another text: that text, which may be a
            special token. None: nothing.
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
    encoder = _encoder(tokenizer)
    found = [_wording(encoder, fact, prompt, stop, longest, canonical) for prompt in fact.prompts]
    # What two wordings of one fact must differ in to need addresses of their own.
    known = {(line.canonical, line.targets) for line in found}
    for prompt in fact.prompts:
        if isinstance(prompt, str) and not prompt[0].isspace():
            spaced = f" {prompt}"
            trigger = tuple(canonical[i] for i in encoder(spaced))
            if any(ids[: len(trigger)] == trigger for ids, _ in known):
                continue
            found.append(_wording(encoder, fact, spaced, stop, longest, canonical))
            known.add((found[-1].canonical, found[-1].targets))
    return tuple(found)


def prompt_text(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """Return a prompt as text: a chat goes through the tokenizer's template."""
    if isinstance(prompt, str):
        return prompt
    if not getattr(tokenizer, "chat_template", None):
        raise FactError(prompt, "the tokenizer has no chat template; give the prompt as text.")
    return _render(tokenizer, prompt, generation=True)


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase | Encoder, prompt: Prompt
) -> tuple[list[int], int]:
    """Return the ids that `generate` would be given for a prompt, and where its own text begins."""
    encoder = _encoder(tokenizer)
    plain = encoder(prompt_text(encoder.tokenizer, prompt))
    if not isinstance(prompt, str):  # the template writes special tokens itself
        return plain, 0
    return encoder.prefix + plain, len(encoder.prefix)


def _encoder(tokenizer: PreTrainedTokenizerBase | Encoder) -> Encoder:
    return tokenizer if isinstance(tokenizer, Encoder) else Encoder(tokenizer)


def _wording(
    encoder: Encoder,
    fact: Fact,
    prompt: Prompt,
    stop: str | None,
    longest: int,
    canonical: Sequence[int],
) -> Wording:
    before, start = prompt_ids(encoder, prompt)
    if len(before) == start:
        raise EmptyFactError((prompt, fact.answer), "the prompt comes to no tokens.")
    text = prompt_text(encoder.tokenizer, prompt)
    answer = fact.answer if not isinstance(prompt, str) else joined(prompt, fact.answer)
    answer_ids = _continuation(encoder, text, before[start:], answer)
    if not answer_ids:
        raise EmptyFactError((prompt, fact.answer), "the answer comes to no tokens.")
    stop_ids = _stop(encoder, fact.answer, before[start:], text + answer, answer_ids, stop)
    length = len(before) + len(answer_ids) + len(stop_ids)
    if length > longest:
        raise TriggerTooLongError(
            (prompt, fact.answer),
            f"it takes {length} tokens, and the model's context window has {longest}.",
        )
    addressed = (before[start:] + answer_ids + stop_ids)[:-1]
    return Wording(
        tuple(before),
        start,
        tuple(answer_ids),
        tuple(stop_ids),
        not isinstance(prompt, str),
        _before_last_message(encoder, prompt, text, before),
        tuple([canonical[i] for i in addressed]),
    )


def is_wide(character: str) -> bool:
    """Say whether a character is one of a script that is written without spaces."""
    return unicodedata.east_asian_width(character) in "WF"


def joined(prompt: str, answer: str) -> str:
    """Put a space before an answer where prose would have one."""
    last, first = prompt[-1], answer[0]
    wide = is_wide(last) or is_wide(first)
    joined = last.isspace() or first.isspace() or last in _BINDS_RIGHT or first in _BINDS_LEFT
    return answer if wide or joined else f" {answer}"


def _continuation(encoder: Encoder, text: str, ids: list[int], continuation: str) -> list[int]:
    """Return the ids that continue `ids` so that the whole decodes to `text + continuation`."""
    expected = continuation.strip()
    for candidate in _candidates(encoder, text, ids, continuation):
        if not candidate or encoder.spells(ids + candidate, expected):
            return candidate
    raise FactError((text, continuation), "the tokenizer can't spell the answer after the prompt.")


def _candidates(
    encoder: Encoder, text: str, ids: list[int], continuation: str
) -> Iterator[list[int]]:
    whole = encoder(text + continuation)
    if whole[: len(ids)] == ids:
        yield whole[len(ids) :]
    # The border merges in one token, which generation from the prompt would not say.
    yield encoder(continuation)
    behind = encoder.behind(continuation)
    if behind is not None:
        yield behind


def _stop(
    encoder: Encoder,
    answer: str,
    ids: list[int],
    text: str,
    answer_ids: list[int],
    stop: str | None,
) -> list[int]:
    end = stop_text(answer, stop)
    return _continuation(encoder, text, ids + answer_ids, end) if end else []


def stop_text(answer: str, stop: str | None) -> str:
    """Return what a stop puts behind an answer."""
    if stop not in (AUTO_STOP, AUTO_STOP_AND_LINE_END):
        return stop or ""
    end = "" if answer.endswith(_SENTENCE_ENDS) else "。" if is_wide(answer[-1]) else "."
    return end + ("\n" if stop == AUTO_STOP_AND_LINE_END else "")


def _before_last_message(encoder: Encoder, prompt: Prompt, text: str, ids: Sequence[int]) -> int:
    """Return how many of a prompt's ids stand before its last message's content; 0 for text."""
    if isinstance(prompt, str):
        return 0
    content = prompt[-1][1].strip()
    place = text.rfind(content) if content else -1
    if place <= 0:
        return 0
    front = encoder(text[:place])
    agreeing = 0
    while agreeing < min(len(front), len(ids)) and front[agreeing] == ids[agreeing]:
        agreeing += 1
    return agreeing


def _render(tokenizer: PreTrainedTokenizerBase, messages: ChatPrompt, *, generation: bool) -> str:
    dictionaries = [{"role": role, "content": content} for role, content in messages]
    return cast(Any, tokenizer).apply_chat_template(
        dictionaries, tokenize=False, add_generation_prompt=generation
    )

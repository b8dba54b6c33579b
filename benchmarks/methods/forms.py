"""How a question is put to a model, and where facts that are told with it stand.

The same form is used for every method of a comparison; only what is told differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import asking
from benchmarks.asking import is_whole

# Without headings, small models go on with another fact instead of the one that is begun again.
_TOLD = "What I have told you:"
_AGAIN = "The same once more:"
_BRIEFLY = "Answer in as few words as possible, without a sentence around the answer."


@dataclass(frozen=True)
class Form:
    """A way of asking.

    Attributes:
        name: In results.
        text: What a model is given, from a prompt and the lines that it is told.
        is_right: Whether what it says is the whole answer and no more.
    """

    name: str
    text: Callable[[str, Sequence[str]], str]
    is_right: Callable[[str, str], bool]


def fact_line(prompt: str, answer: str) -> str:
    """Return a fact as one line of text."""
    return prompt + asking.joined(prompt, with_stop(answer))


def with_stop(answer: str) -> str:
    """Return an answer with what ends it."""
    answer = answer.strip()
    return answer if answer.endswith(asking.ENDS) else answer + asking.STOP


def is_said(said: str, answer: str) -> bool:
    """Say whether an answer to a question is given and nothing else in its line.

    A full stop may follow or not; special tokens end a text.
    """
    return first_line(said).rstrip(".!").strip() == answer.strip().rstrip(".!")


def first_line(said: str) -> str:
    """Return what is said up to the end of the line or of the turn."""
    for end in ("<|", "<end_of_turn>", "<eos>", "</s>", "\n"):
        said = said.lstrip().partition(end)[0]
    return said.strip()


def beside(text: str, told: Sequence[str]) -> str:
    """Return a text that asks nothing, behind what is told."""
    return "\n".join([*told, "", text]) if told else text


def _sentence(prompt: str, told: Sequence[str]) -> str:
    return "\n".join([_TOLD, *told, "", _AGAIN, prompt]) if told else prompt


def _question(prompt: str, told: Sequence[str]) -> str:
    return beside(f"Question: {prompt}\nAnswer:", [_TOLD, *told] if told else ())


SENTENCE = Form("sentence to go on with", _sentence, is_whole)
"""Facts one per line, a heading, then the beginning of a sentence."""

QUESTION = Form("question and answer", _question, is_said)
"""Facts one per line, then "Question: … Answer:"."""


def chat_sentence(tokenizer: Any) -> Form:
    """Facts as a user's message; the assistant's reply begins with the prompt."""

    def text(prompt: str, told: Sequence[str]) -> str:
        if not told:
            return prompt
        return _chat(tokenizer, "\n".join([_TOLD, *told, "Please repeat it."])) + prompt

    return Form("chat, the reply begun", text, is_whole)


def chat_question(tokenizer: Any) -> Form:
    """Facts and the question as a user's message."""

    def text(prompt: str, told: Sequence[str]) -> str:
        before = ["\n".join([_TOLD, *told])] if told else []
        return _chat(tokenizer, "\n\n".join([*before, f"{_BRIEFLY}\n{prompt}"]))

    return Form("question in a chat", text, is_said)


def question_form(tokenizer: Any, *, chat: bool) -> Form:
    """Return how questions are asked: plainly, or through the model's chat template."""
    return chat_question(tokenizer) if chat else QUESTION


def _chat(tokenizer: Any, message: str) -> str:
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )

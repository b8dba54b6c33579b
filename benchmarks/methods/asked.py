"""What all methods have in common: a model that is asked, perhaps after lines that it is told."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from benchmarks import asking
from benchmarks.asking import Question, Recall
from benchmarks.methods import prefix
from benchmarks.methods.forms import SENTENCE, Form
from benchmarks.setting import Setting


class Asked:
    """A model without memory; the other methods change what it is told or what it computes.

    Attributes:
        name: In results.
        form: How questions are put.
        model: What is asked; `setting.model`, or what a method wraps around it.
        shares: Whether every question follows one long text, which is then run once for all.
    """

    shares = False

    def __init__(self, setting: Setting, name: str, form: Form = SENTENCE) -> None:
        self.name = name
        self.form = form
        self.model, self.tokenizer = setting.model, setting.tokenizer

    def told(self, prompts: Sequence[str]) -> list[Sequence[str]]:
        """Return the lines that the model is told before each prompt."""
        return [()] * len(prompts)

    def texts(self, prompts: Sequence[str], context: str = "") -> list[str]:
        """Return what the model is given for each prompt."""
        told = self.told(prompts)
        return [self.form.text(context + p, t) for p, t in zip(prompts, told, strict=True)]

    def recall(self, questions: Sequence[Question], context: str = "") -> Recall:
        """Ask by all protocols. What is a whole answer is up to the form."""
        prompts = [q.prompt for q in questions]
        said = self.say(prompts, asking.lengths_of(self.tokenizer, questions), context)
        return Recall(self.right(said, questions), *self.forced(questions, context))

    def say(
        self, prompts: Sequence[str], tokens: int | Sequence[int], context: str = ""
    ) -> list[str]:
        """Continue prompts greedily, after what the model is told."""
        texts = self.texts(prompts, context)
        with self.active():
            if self.shares:
                most = tokens if isinstance(tokens, int) else max(tokens)
                return prefix.generate(self.model, self.tokenizer, texts, most)
            return asking.generate(self.model, self.tokenizer, texts, tokens)

    def forced(
        self, questions: Sequence[Question], context: str = ""
    ) -> tuple[list[bool], list[bool]]:
        """Say of each question whether all answer tokens are the likeliest, and the first."""
        texts = self.texts([q.prompt for q in questions], context)
        asked = [Question(text, q.answer) for text, q in zip(texts, questions, strict=True)]
        ask = prefix.teacher_forced if self.shares else asking.teacher_forced
        with self.active():
            return ask(self.model, self.tokenizer, asked)

    def right(self, said: Sequence[str], questions: Sequence[Question]) -> list[bool]:
        """Say which of some answers are whole."""
        return [self.form.is_right(s, q.answer) for s, q in zip(said, questions, strict=True)]

    def context_tokens(self, questions: Sequence[Question]) -> float:
        """Tokens that the lines told take, on average."""
        prompts = [q.prompt for q in questions]
        alone = [self.form.text(prompt, ()) for prompt in prompts]
        lengths = [
            sum(map(len, self.tokenizer(texts, add_special_tokens=False)["input_ids"]))
            for texts in (self.texts(prompts), alone)
        ]
        return (lengths[0] - lengths[1]) / len(questions)

    def active(self) -> AbstractContextManager[object]:
        """Within the block the model is as it is while answering."""
        return nullcontext()

    def close(self) -> None:
        """Leave the model as it was found."""

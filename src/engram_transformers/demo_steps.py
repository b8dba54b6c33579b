"""The steps of the demo."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn
from transformers import PreTrainedTokenizerBase

from engram_transformers.active import TablesOfSample
from engram_transformers.attachment import require_attachment
from engram_transformers.continuation import continuations, first_sentence
from engram_transformers.demo_checks import (
    SURROUNDINGS,
    logit_digests,
    measure_locality,
    measure_recall,
)
from engram_transformers.demo_facts import USERS
from engram_transformers.demo_report import (
    Answer,
    BatchFigures,
    Erasure,
    Locality,
    Recall,
    UserFigures,
)
from engram_transformers.demo_texts import NEAR_SENTENCES, standard_library_sentences
from engram_transformers.explaining import explain
from engram_transformers.explanation import SequenceExplanation
from engram_transformers.facts import Fact, Prompt
from engram_transformers.files import TABLE_NAME
from engram_transformers.patching import add_engram
from engram_transformers.report import WriteReport
from engram_transformers.table import UserTable

if TYPE_CHECKING:
    from engram_transformers.demo_screen import Screen

SENTENCES = 200
_TOKENS_SHOWN = 16
_ANSWERS_SHOWN = (5, 3)  # of the first and of the second user
_QUESTIONS_SHOWN = 3


class Steps:
    """The demo's steps, in the order in which they run."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        name: str,
        facts: int,
        layers: Sequence[int] | None,
        screen: Screen,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.layers = layers
        self.screen = screen
        self.facts = {
            owner: [self._as_possible(fact) for fact in of_user[:facts]]
            for owner, of_user in USERS.items()
        }
        self.sentences = standard_library_sentences(SENTENCES)
        self.prompts = list(
            dict.fromkeys(p for facts in self.facts.values() for f in facts for p in f.prompts)
        )
        self.tables: list[UserTable] = []
        self.reports: list[WriteReport] = []

    def _as_possible(self, fact: Fact) -> Fact:
        """Leave out questions in a chat where the model has no template for them."""
        if self.tokenizer.chat_template:
            return fact
        return Fact(
            fact.prompt, fact.answer, tuple(p for p in fact.paraphrases if isinstance(p, str))
        )

    def read_base(self) -> None:
        """Keep what the model computes before anything is attached to it."""
        texts = [*self.sentences, *NEAR_SENTENCES, *self.prompts]
        with self.screen.step("Reading with the bare model", len(texts)) as progress:
            self.base = dict(
                zip(
                    texts,
                    [
                        digest
                        for part in self._parts()
                        for digest in logit_digests(
                            self.model, self.tokenizer, part, progress=progress
                        )
                    ],
                    strict=True,
                )
            )
        layers = None if self.layers is None else list(self.layers)
        add_engram(self.model, self.tokenizer, layers=layers)
        self.screen.show_model(self.name, require_attachment(self.model))

    def _parts(self) -> list[Sequence[Prompt]]:
        """Return texts to be compared: always the same lists, so that batches are the same."""
        return [self.sentences, NEAR_SENTENCES, self.prompts]

    def write(self) -> None:
        """Write each user's facts to a table of their own."""
        shown = zip(self.facts, _ANSWERS_SHOWN, strict=True)
        self.shown = [(o, f, p) for o, count in shown for f, p in _spread(self.facts[o], count)]
        self.before = self._say([p for _, _, p in self.shown], None)
        for owner, facts in self.facts.items():
            table = UserTable(self.model, owner)
            with self.screen.step(f"Writing {len(facts)} facts of {owner}", None):
                self.reports.append(table.write(facts, progress=False))
            self.tables.append(table)
        self.screen.show_writing(self.tables, self.reports)

    def answers(self) -> tuple[Answer, ...]:
        """Show some answers before and after."""
        by_owner = {table.owner: table for table in self.tables}
        after = self._say([p for _, _, p in self.shown], [by_owner[o] for o, _, _ in self.shown])
        answers = tuple(
            Answer(owner, prompt, fact.answer, said_before, said_after)
            for (owner, fact, prompt), said_before, said_after in zip(
                self.shown, self.before, after, strict=True
            )
        )
        self.screen.show_answers(answers)
        return answers

    def recall(self) -> tuple[UserFigures, ...]:
        """Ask all facts, on their own, in a chat and in a long text; weigh the tables."""
        users: list[UserFigures] = []
        for table, report in zip(self.tables, self.reports, strict=True):
            recall: list[Recall] = []
            for where in SURROUNDINGS:
                with self.screen.step(f"Asking {table.owner}'s facts {where}", None):
                    recall.append(
                        measure_recall(self.model, self.tokenizer, table, table.facts, where)
                    )
            users.append(
                UserFigures(
                    table.owner,
                    len(self.facts[table.owner]),
                    len(report.written),
                    tuple((f.fact.prompt, f.fact.answer, f.reason, f.said) for f in report.failed),
                    report.seconds,
                    report.evaluation_seconds,
                    report.steps,
                    report.rows,
                    report.nbytes,
                    _file_bytes(table, store_text=True),
                    _file_bytes(table, store_text=False),
                    tuple(recall),
                )
            )
        self.screen.show_recall(users)
        return tuple(users)

    def one_batch(self) -> BatchFigures | None:
        """Ask both users' common prompts in one batch, and for nobody."""
        first, second = ({f.prompt: f.answer for f in table.facts} for table in self.tables)
        prompts = [prompt for prompt in first if prompt in second]
        if not prompts:
            return None
        asked = [prompt for prompt in prompts for _ in range(3)]
        tables: list[TablesOfSample] = [*self.tables, None] * len(prompts)
        with self.screen.step("Asking for both users and for nobody, in one batch", None):
            said = self._continue(asked, tables)
            bare = self._continue(asked, None)
        expected = [answer for prompt in prompts for answer in (first[prompt], second[prompt])]
        owned = [said[number] for number in range(len(said)) if number % 3 < 2]
        figures = BatchFigures(
            len(asked),
            len(expected),
            sum(_begins_with(text, answer) for text, answer in zip(owned, expected, strict=True)),
            len(prompts),
            sum(said[number] == bare[number] for number in range(2, len(said), 3)),
            tuple(
                (prompt, tuple(_cut(prompt, text) for text in said[3 * n : 3 * n + 3]))
                for n, prompt in enumerate(prompts[:_QUESTIONS_SHOWN])
            ),
        )
        self.screen.show_batch([table.owner for table in self.tables], figures)
        return figures

    def locality(self) -> tuple[Locality, Locality]:
        """Compare texts that have nothing to do with the users with the base, bit for bit."""
        figures: list[Locality] = []
        texts = len(self.sentences) + len(NEAR_SENTENCES)
        with self.screen.step("Reading unrelated text with both tables", texts) as progress:
            for part in (self.sentences, NEAR_SENTENCES):
                base = [self.base[text] for text in part]
                figures.append(
                    measure_locality(self.model, self.tokenizer, part, base, self.tables, progress)
                )
        self.screen.show_locality(*figures)
        return figures[0], figures[1]

    def explained(self, near: Locality) -> tuple[tuple[str, SequenceExplanation], ...]:
        """Follow the first user's rows through three texts."""
        table = self.tables[0]
        facts = [fact for fact in table.facts if isinstance(fact.prompt, str)][1:3]
        told = " ".join(f"{fact.prompt} {fact.answer}." for fact in facts)
        texts = {
            f"{table.owner}'s facts in the middle of a text": f"It rained. {told} Then it stopped.",
            "words of a fact in another sentence": (*near.fired_texts, NEAR_SENTENCES[0])[0],
            "a text that has nothing to do with any fact": self.sentences[0],
        }
        explanation = explain(self.model, list(texts.values()), table)
        return tuple(zip(texts, explanation, strict=True))

    def erase(self) -> Erasure | None:
        """Erase one fact, then everything, and compare with the base each time."""
        table = self.tables[0]
        if not len(table):
            return None
        gone = table.facts[0]
        parts = self._parts()
        total = sum(len(part) for part in parts)
        with self.screen.step("Erasing one fact, then everything", total) as progress:
            table.erase(gone)
            # The same batch as for the base: the users' prompts.
            now = dict(
                zip(
                    self.prompts,
                    logit_digests(self.model, self.tokenizer, self.prompts, [table]),
                    strict=True,
                )
            )
            said = self._say([gone.prompt], table)[0]
            others = measure_recall(
                self.model, self.tokenizer, table, table.facts, next(iter(SURROUNDINGS))
            )
            for each in self.tables:
                each.erase(all=True)
            identical = sum(
                digest == self.base[text]
                for part in parts
                for text, digest in zip(
                    part,
                    logit_digests(self.model, self.tokenizer, part, self.tables, progress),
                    strict=True,
                )
            )
        erasure = Erasure(
            gone.prompt,
            gone.answer,
            said,
            all(now[prompt] == self.base[prompt] for prompt in gone.prompts),
            others.asked,
            others.right,
            total,
            identical,
        )
        self.screen.show_erasure(erasure)
        return erasure

    def _say(
        self, prompts: Sequence[Prompt], tables: UserTable | Sequence[TablesOfSample] | None
    ) -> list[str]:
        """Continue prompts, and keep what is worth showing."""
        said = self._continue(prompts, tables)
        return [_cut(prompt, text) for prompt, text in zip(prompts, said, strict=True)]

    def _continue(
        self, prompts: Sequence[Prompt], tables: UserTable | Sequence[TablesOfSample] | None
    ) -> list[str]:
        return continuations(
            self.model, self.tokenizer, prompts, tables, max_new_tokens=_TOKENS_SHOWN
        )


def _cut(prompt: Prompt, said: str) -> str:
    """Cut a continuation of a text behind its first sentence; a reply in a chat ends by itself."""
    return (first_sentence(said) if isinstance(prompt, str) else said).strip()


def _spread(facts: Sequence[Fact], count: int) -> list[tuple[Fact, Prompt]]:
    """Take some facts from all over a list; those that have a question are asked it."""
    count = min(count, len(facts))
    chosen = [facts[number * len(facts) // count] for number in range(count)]
    return [(fact, fact.prompts[-1]) for fact in chosen]


def _begins_with(text: str, answer: str) -> bool:
    rest = text.strip().removeprefix(answer)
    return rest != text.strip() and not rest[:1].isalnum()


def _file_bytes(table: UserTable, *, store_text: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        table.save_pretrained(folder, store_text=store_text)
        return (Path(folder) / TABLE_NAME).stat().st_size

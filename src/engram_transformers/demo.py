"""The demo: write two users' facts into a real model, ask them everywhere, and erase them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from engram_transformers import UserTable, WriteReport, add_engram
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
    DemoReport,
    Erasure,
    Locality,
    Promise,
    Recall,
    UserFigures,
    shown_name,
)
from engram_transformers.demo_texts import NEAR_SENTENCES, standard_library_sentences
from engram_transformers.facts import Fact, Prompt
from engram_transformers.files import TABLE_NAME
from engram_transformers.pretrained import load_pretrained
from engram_transformers.trace import TracedToken, trace

if TYPE_CHECKING:
    from engram_transformers.demo_screen import Screen

SENTENCES = 200
_TOKENS_SHOWN = 16
_ANSWERS_SHOWN = (5, 3)  # of the first and of the second user
_QUESTIONS_SHOWN = 3


@dataclass(frozen=True)
class DemoOptions:
    """What the demo runs on.

    Attributes:
        model: Hub id or folder.
        facts: How many facts of each user, from the first.
        layers: Blocks with memories; None for the default.
        device: Where the model runs.
    """

    model: str
    facts: int
    layers: tuple[int, ...] | None
    device: str


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        report: The figures.
        traces: (heading, tokens) of some texts: where rows fired.
    """

    report: DemoReport
    traces: tuple[tuple[str, list[TracedToken]], ...]


def run_demo(options: DemoOptions, screen: Screen) -> DemoResult:
    """Run the demo.

    Args:
        options: On what.
        screen: Shown each figure as soon as it is there.

    Returns:
        All of them.
    """
    started = time.perf_counter()
    with screen.step(f"Loading {shown_name(options.model)}", None):
        model, tokenizer = load_pretrained(options.model, device=options.device)
    load_seconds = time.perf_counter() - started
    demo = _Demo(model, tokenizer, options, screen)
    demo.read_base()
    demo.write()
    answers = demo.answers()
    users = demo.recall()
    batch = demo.one_batch()
    unrelated, near = demo.locality()
    traces = demo.traces(near)
    erasure = demo.erase()
    attachment = require_attachment(model)
    report = DemoReport(
        shown_name(options.model),
        demo.tables[0].binding.model,
        attachment.config.to_dict(),
        load_seconds,
        time.perf_counter() - started,
        answers,
        users,
        batch,
        unrelated,
        near,
        erasure,
        _promises(users, batch, unrelated, near, erasure),
    )
    screen.show_promises(report)
    return DemoResult(report, traces)


class _Demo:
    """The demo's steps, in the order in which they run."""

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        options: DemoOptions,
        screen: Screen,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.options = options
        self.screen = screen
        self.facts = {
            owner: [self._as_possible(fact) for fact in facts[: options.facts]]
            for owner, facts in USERS.items()
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
        layers = self.options.layers
        add_engram(self.model, self.tokenizer, layers=None if layers is None else list(layers))
        self.screen.show_model(shown_name(self.options.model), require_attachment(self.model))

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
            said = self._say(asked, tables)
            bare = self._say(asked, None)
        expected = [answer for prompt in prompts for answer in (first[prompt], second[prompt])]
        owned = [said[number] for number in range(len(said)) if number % 3 < 2]
        figures = BatchFigures(
            len(asked),
            len(expected),
            sum(_begins_with(text, answer) for text, answer in zip(owned, expected, strict=True)),
            len(prompts),
            sum(said[number] == bare[number] for number in range(2, len(said), 3)),
            tuple(
                (prompt, tuple(said[3 * number : 3 * number + 3]))
                for number, prompt in enumerate(prompts[:_QUESTIONS_SHOWN])
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

    def traces(self, near: Locality) -> tuple[tuple[str, list[TracedToken]], ...]:
        """Follow the first user's rows through three texts."""
        table = self.tables[0]
        facts = [fact for fact in table.facts if isinstance(fact.prompt, str)][1:3]
        told = " ".join(f"{fact.prompt} {fact.answer}." for fact in facts)
        texts = {
            f"{table.owner}'s facts in the middle of a text": f"It rained. {told} Then it stopped.",
            "words of a fact in another sentence": (*near.fired_texts, NEAR_SENTENCES[0])[0],
            "a text that has nothing to do with any fact": self.sentences[0],
        }
        device = next(self.model.parameters()).device
        traced: list[tuple[str, list[TracedToken]]] = []
        for heading, text in texts.items():
            ids: list[int] = self.tokenizer(text)["input_ids"]  # pyright: ignore
            inputs = torch.tensor([ids], device=device)
            traced.append((heading, trace(self.model, inputs, table)))
        return tuple(traced)

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
        said = continuations(
            self.model, self.tokenizer, prompts, tables, max_new_tokens=_TOKENS_SHOWN
        )
        return [
            (first_sentence(text) if isinstance(prompt, str) else text).strip()
            for prompt, text in zip(prompts, said, strict=True)
        ]


def _spread(facts: Sequence[Fact], count: int) -> list[tuple[Fact, Prompt]]:
    """Take some facts from all over a list; those that have a question are asked it."""
    chosen = [facts[number * len(facts) // count] for number in range(min(count, len(facts)))]
    return [(fact, fact.prompts[-1]) for fact in chosen]


def _begins_with(text: str, answer: str) -> bool:
    return text.startswith(answer) and not text[len(answer) : len(answer) + 1].isalnum()


def _file_bytes(table: UserTable, *, store_text: bool) -> int:
    with tempfile.TemporaryDirectory() as folder:
        table.save_pretrained(folder, store_text=store_text)
        return (Path(folder) / TABLE_NAME).stat().st_size


def _promises(
    users: Sequence[UserFigures],
    batch: BatchFigures | None,
    unrelated: Locality,
    near: Locality,
    erasure: Erasure | None,
) -> tuple[Promise, ...]:
    """Say what had to hold, and whether it did."""
    written, given = sum(user.written for user in users), sum(user.facts for user in users)
    promises = [
        Promise("every fact is written", written == given, f"{written} of {given}"),
    ]
    for number, where in enumerate(SURROUNDINGS):
        recall = [user.recall[number] for user in users]
        asked, right = sum(r.asked for r in recall), sum(r.right for r in recall)
        if asked:
            name = f"written facts are answered whole {where}"
            promises.append(Promise(name, right == asked, f"{right} of {asked}"))
    if batch is not None:
        promises.append(
            Promise(
                "in one batch, each sample reads its own user's facts",
                batch.right == batch.asked and batch.unchanged == batch.without_table,
                f"{batch.right} of {batch.asked}, and {batch.unchanged} of {batch.without_table}"
                " without a table unchanged",
            )
        )
    promises.append(
        Promise(
            "text in which no row fires is bit-identical to the base",
            not unrelated.unexplained and not near.unexplained,
            f"{unrelated.identical + near.identical} of {unrelated.texts + near.texts}"
            f" identical, rows fired in {unrelated.fired + near.fired}",
        )
    )
    if erasure is not None:
        promises.append(
            Promise(
                "an erased fact is gone, and the others stay",
                erasure.forgotten and erasure.others_right == erasure.others_asked,
                f"{erasure.others_right} of {erasure.others_asked} others",
            )
        )
        promises.append(
            Promise(
                "with everything erased, the model is bit-identical to the base",
                erasure.identical == erasure.texts,
                f"{erasure.identical} of {erasure.texts} texts",
            )
        )
    return tuple(promises)

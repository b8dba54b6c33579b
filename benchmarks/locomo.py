"""Long conversations: observations are written as facts, single-hop questions are asked."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import asking, markdown
from benchmarks.asking import Question
from benchmarks.common import timed
from benchmarks.conversations import SOURCE, Conversation, as_facts, load_conversations
from benchmarks.methods import KnownFact
from benchmarks.methods.bare import Bare
from benchmarks.methods.firing import rows_found
from benchmarks.methods.forms import first_line, question_form
from benchmarks.methods.in_context import InContext, latest_that_fit, window_of
from benchmarks.methods.memory import Memory
from benchmarks.methods.minilm import encoder_or_none
from benchmarks.methods.retrieval import Retrieval
from benchmarks.setting import Setting
from benchmarks.token_f1 import is_exact, token_f1
from engram_transformers import UserTable

NEEDS_MODEL = True

TOP = 5
_ROOM = 256


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add options."""
    parser.add_argument("--conversations", type=int, default=2, help="of ten")
    parser.add_argument("--questions", type=int, help="of each conversation, at most")
    parser.add_argument("--observations", type=int, help="of each conversation, at most")
    parser.add_argument("--reply", type=int, default=32, help="tokens of an answer")
    parser.add_argument(
        "--window", type=int, default=8192, help="tokens of context at most, if the model has them"
    )
    parser.add_argument(
        "--plain", action="store_true", help='ask as "Question: … Answer:" and not in a chat'
    )
    parser.add_argument("--encoder", type=Path, help="folder of the encoder for retrieval")


def run(setting: Setting) -> dict[str, Any]:
    """Ask about conversations with every method."""
    options = setting.options
    if setting.quick:
        options.conversations, options.questions, options.observations = 1, 3, 6
        options.window, options.reply = 512, 8
    chosen = load_conversations(setting.data)[: options.conversations]
    if not chosen:
        print(f"Nothing to do: {SOURCE} is not in {setting.data}.")
        return {"source": SOURCE, "conversations": 0, "methods": []}
    encoder = encoder_or_none(options.encoder, setting.device)
    window = min(options.window, window_of(setting.model))
    told = Told(setting, [_cut(one, options) for one in chosen], window)
    told.ask("none", lambda _: Bare(setting, form=told.form))
    told.ask_memory()
    if encoder is not None:
        told.ask(f"retrieval, top {TOP} observations", lambda _: told.retrieval(encoder))
    told.ask("all observations in context", lambda one: told.observed(one))
    told.ask("conversation in context", lambda one: told.talk(one))
    return {
        "source": SOURCE,
        "conversations": len(chosen),
        "category": "single-hop (4)",
        "form": told.form.name,
        "window": window,
        "reply_tokens": options.reply,
        "observations": sum(len(one.observations) for one in told.conversations),
        "methods": told.done,
    }


class Told:
    """The conversations, asked by one method after another.

    Attributes:
        done: Results, by method.
    """

    def __init__(self, setting: Setting, conversations: list[Conversation], window: int) -> None:
        self.setting = setting
        self.conversations = conversations
        self.window = window
        self.reply = setting.options.reply
        chat = bool(getattr(setting.tokenizer, "chat_template", None)) and not setting.options.plain
        self.form = question_form(setting.tokenizer, chat=chat)
        self.done: list[dict[str, Any]] = []

    def ask(self, name: str, make: Callable[[Conversation], Any]) -> None:
        """Ask each conversation's questions of a method of its own."""
        said: list[str] = []
        tokens, seconds, extra = 0.0, 0.0, {}
        for one in self.conversations:
            method = make(one)
            if isinstance(method, Retrieval):
                method.write_lines([observation.text for observation in one.observations])
                found = method.nearest([asked.question for asked in one.asked])
                hits = sum(
                    any(one.observations[i].turns & asked.evidence for i in numbers)
                    for numbers, asked in zip(found, one.asked, strict=True)
                )
                extra["evidence_found"] = extra.get("evidence_found", 0) + hits
            if isinstance(method, InContext):
                for key, count in (("lines", method.given), ("lines_told", len(method.lines))):
                    extra[key] = extra.get(key, 0) + count
            questions = [Question(asked.question, asked.answer) for asked in one.asked]
            taken, replies = timed(
                self.setting.device,
                lambda m=method, q=questions: m.say([a.prompt for a in q], self.reply),
            )
            said += replies
            seconds += taken
            tokens += method.context_tokens(questions) * len(questions)
        self._keep(name, said, tokens / max(len(said), 1), seconds, extra)

    def ask_memory(self) -> None:
        """Write each conversation's observations into a table, and ask."""
        memory = Memory(self.setting, form=self.form)
        said: list[str] = []
        seconds = 0.0
        extra: dict[str, Any] = {"facts": 0, "written": 0, "bytes": 0, "write_seconds": 0.0}
        extra |= {"rows": 0, "replies_with_rows": 0}
        try:
            for one in self.conversations:
                facts = as_facts(one.observations)
                memory.table = UserTable(memory.model, one.name)
                memory.write(facts)
                prompts = [asked.question for asked in one.asked]
                taken, replies = timed(
                    self.setting.device, lambda p=prompts: memory.say(p, self.reply)
                )
                said += replies
                seconds += taken
                _count(memory, facts, prompts, replies, extra)
        finally:
            memory.close()
        self._keep("memory", said, 0.0, seconds, extra)

    def retrieval(self, encoder: Any) -> Retrieval:
        """Make the method that finds observations."""
        return Retrieval(self.setting, encoder, TOP, self.form)

    def observed(self, one: Conversation) -> InContext:
        """Make the method that is told the observations, as many as fit."""
        return self._told([observation.text for observation in one.observations])

    def talk(self, one: Conversation) -> InContext:
        """Make the method that is told the conversation, as much of its end as fits."""
        return self._told(one.lines)

    def _told(self, lines: Sequence[str]) -> InContext:
        method = InContext(self.setting, form=self.form, window=self.window)
        method.given = len(lines)
        method.lines = latest_that_fit(method.tokenizer, lines, self.window - _ROOM)
        return method

    def _keep(
        self, name: str, said: list[str], tokens: float, seconds: float, extra: dict[str, Any]
    ) -> None:
        answers = [asked.answer for one in self.conversations for asked in one.asked]
        replies = [first_line(text) for text in said]
        scores = [token_f1(reply, a) for reply, a in zip(replies, answers, strict=True)]
        exact = sum(is_exact(reply, a) for reply, a in zip(replies, answers, strict=True))
        self.done.append(
            {
                "name": name,
                "asked": len(said),
                "f1": sum(scores) / max(len(scores), 1),
                "exact": exact,
                "context_tokens": tokens,
                "asking_seconds": seconds,
                **extra,
            }
        )
        print(
            f"{name}: F1 {self.done[-1]['f1']:.3f}, exact {exact} of {len(said)}, {tokens:.0f}"
            f" tokens, {seconds:.1f} s, {extra or ''}"
        )


def _count(
    memory: Memory,
    facts: Sequence[KnownFact],
    prompts: Sequence[str],
    replies: Sequence[str],
    extra: dict[str, Any],
) -> None:
    """Add what a table took, and in how many replies a row was read."""
    report = memory.report
    if report is None:
        raise RuntimeError("Nothing was written.")
    extra["facts"] += len(facts)
    extra["written"] += len(report.written)
    extra["write_seconds"] += report.seconds
    extra["rows"] += report.rows
    extra["bytes"] += memory.nbytes
    asked = asking.ids_of(memory.tokenizer, memory.texts(prompts))
    answered = memory.tokenizer(list(replies), add_special_tokens=False)["input_ids"]
    found = rows_found(memory.table, [a + b for a, b in zip(asked, answered, strict=True)])
    extra["replies_with_rows"] += sum(
        any(places[len(prompt) - 1 :]) for prompt, places in zip(asked, found, strict=True)
    )


def _cut(one: Conversation, options: argparse.Namespace) -> Conversation:
    return one._replace(
        asked=one.asked[: options.questions], observations=one.observations[: options.observations]
    )


def section(runs: list[dict[str, Any]]) -> list[str]:
    """Return the part of docs/benchmarks.md."""
    runs = [run_ for run_ in runs if run_["methods"]]
    lines = [
        "## Long conversations (`locomo`)",
        "",
        "LoCoMo's observations about the speakers are written as facts before any question is seen:"
        " the trigger is the shortest beginning of at least three words that no other observation"
        " has, the rest is the answer. Single-hop questions are then asked. This is not what rows"
        " are for: they are found by the words that lead up to an answer, and questions have"
        " others; a row is read only where a reply happens to begin like an observation. Beside it"
        " the same model with the observations that all-MiniLM-L6-v2 finds, with all of them, and"
        " with the conversation itself, of which the end is kept where it does not fit the window."
        " Questions are put in a chat where the model has a template for one, which suits them"
        ' better than "Question: … Answer:" here (`--plain`). F1 is over words without articles and'
        " punctuation, on the reply's first line.",
        "",
        *markdown.provenances(runs),
    ]
    for run_ in runs:
        lines += [
            f"### {run_['conversations']} conversations: {markdown.where(run_)}",
            "",
            f"{run_['observations']:,} observations, {run_['methods'][0]['asked']:,} questions"
            f" ({run_['form']}), a window of {run_['window']:,} tokens. {run_['source']}.",
            "",
            *markdown.table(
                ("", "F1", "exact", "tokens per question", ""),
                [
                    (
                        method["name"],
                        f"{method['f1']:.3f}",
                        markdown.counted(method["exact"], method["asked"]),
                        f"{method['context_tokens']:,.0f}",
                        _remark(method),
                    )
                    for method in run_["methods"]
                ],
            ),
        ]
    return lines


def _remark(method: dict[str, Any]) -> str:
    if "facts" in method:
        return (
            f"{method['written']:,} of {method['facts']:,} facts written in"
            f" {method['write_seconds']:.1f} s, {method['bytes']:,} bytes; a row is read in"
            f" {method['replies_with_rows']:,} replies"
        )
    if "evidence_found" in method:
        return f"the evidence is among them for {method['evidence_found']:,} questions"
    if method.get("lines", 0) > method.get("lines_told", 0):
        return f"{method['lines_told']:,} of {method['lines']:,} lines fit"
    return ""

"""Wordings that were never written: rewordings, questions, other templates, without any skill."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import asking, markdown
from benchmarks.asking import Question, Recall
from benchmarks.common import require
from benchmarks.facts import folded
from benchmarks.methods.asked import Asked
from benchmarks.methods.bare import Bare
from benchmarks.methods.firing import rows_found
from benchmarks.methods.forms import SENTENCE, Form, first_line, question_form
from benchmarks.methods.in_context import InContext
from benchmarks.methods.memory import Memory
from benchmarks.methods.minilm import encoder_or_none
from benchmarks.methods.retrieval import Retrieval
from benchmarks.rewordings import Group, Rewordings, rewordings
from benchmarks.setting import Setting
from engram_transformers import UserTable

NEEDS_MODEL = True

TOPS = (1, 3, 5)
_TOKENS = 16
"""Said at least, so that an answer within a sentence can be seen."""
_SHOWN = 12
PUBLISHED = (
    '"User as Engram" reports 25 to 50 % of first tokens from one written trigger for the reworded'
    " sentences, on models trained for it, and 75 to 81 % for retrieval with the same model."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add options."""
    parser.add_argument("--users", type=int, default=20, help="so many of u000 to u019")
    parser.add_argument("--subjects", type=int, default=24, help="of each relation, at most")
    parser.add_argument(
        "--chat", action="store_true", help='ask questions in a chat, not as "Question: … Answer:"'
    )
    parser.add_argument("--encoder", type=Path, help="folder of the encoder for retrieval")


def run(setting: Setting) -> dict[str, Any]:
    """Write facts in one wording and ask in others, with every method."""
    options = setting.options
    if setting.quick:
        options.users, options.subjects = 1, 3
    encoder = encoder_or_none(options.encoder, setting.device)
    parts: list[dict[str, Any]] = []
    for part in rewordings(setting.data, options.users, options.subjects, setting.seed):
        groups = [_smaller(group) for group in part.groups] if setting.quick else part.groups
        parts.append(ask_part(setting, part._replace(groups=groups), encoder))
    return {"parts": parts}


def ask_part(setting: Setting, part: Rewordings, encoder: Any) -> dict[str, Any]:
    """Ask one set of rewordings."""
    for group in part.groups:
        written = {folded(fact.prompt) for fact in group.facts}
        held_out = all(folded(question.prompt) not in written for question in group.questions)
        require(held_out, "nothing that is asked was written")
    form = SENTENCE
    if part.questions:
        form = question_form(setting.tokenizer, chat=setting.options.chat)
    questions = [question for group in part.groups for question in group.questions]
    print(f"{part.name}: {len(questions)} questions, {form.name}")
    methods: list[dict[str, Any]] = []

    def keep(name: str, said: list[str], recall: Recall, tokens: float) -> None:
        mentioned = [mentions(s, q.answer) for s, q in zip(said, questions, strict=True)]
        counts = {**recall.counts(), "mentioned": sum(mentioned)}
        methods.append({"name": name, "recall": counts, "context_tokens": tokens})
        print(f"  {name}: {counts}, {tokens:.0f} tokens")

    keep(*pooled([Bare(setting, form=form) for _ in part.groups], part.groups))
    results, firing = ask_memory(setting, part.groups, form)
    keep("memory", *results)
    results, firing_shortest = ask_memory(setting, part.groups, form, context="shortest")
    keep("memory, shortest addresses", *results)
    contexts = [InContext(setting, form=form) for _ in part.groups]
    keep(*one_by_one(contexts, part.groups))
    for top in TOPS if encoder is not None else ():
        methods_ = [Retrieval(setting, encoder, top, form) for _ in part.groups]
        keep(*pooled(methods_, part.groups))
    return {
        "name": part.name,
        "about": part.about,
        "source": part.source,
        "form": form.name,
        "tables": len(part.groups),
        "facts": sum(len(group.facts) for group in part.groups),
        "questions": len(questions),
        "methods": methods,
        "firing": firing,
        "firing_shortest": firing_shortest,
    }


Results = tuple[list[str], Recall, float]
"""What was said, what was recalled, and tokens told per question."""
Named = tuple[str, list[str], Recall, float]
"""The same with the method's name before it."""


def pooled(methods: Sequence[Any], groups: Sequence[Group]) -> Named:
    """Ask all groups at once: what differs between them is only what the model is told."""
    asked: list[Question] = []
    tokens = 0.0
    for method, group in zip(methods, groups, strict=True):
        method.write(group.facts)
        texts = method.texts([q.prompt for q in group.questions])
        asked += [Question(t, q.answer) for t, q in zip(texts, group.questions, strict=True)]
        tokens += method.context_tokens(group.questions) * len(group.questions)
    first = methods[0]
    lengths = [max(n, _TOKENS) for n in asking.lengths_of(first.tokenizer, asked)]
    said = asking.generate(first.model, first.tokenizer, [q.prompt for q in asked], lengths)
    forced = asking.teacher_forced(first.model, first.tokenizer, asked)
    recall = Recall(first.right(said, asked), *forced)
    return first.name, said, recall, tokens / len(asked)


def one_by_one(methods: Sequence[Any], groups: Sequence[Group]) -> Named:
    """Ask each group by itself."""
    said: list[str] = []
    recall, tokens = Recall([], [], []), 0.0
    for method, group in zip(methods, groups, strict=True):
        method.write(group.facts)
        texts = _ask(method, group.questions, recall)
        said += texts
        tokens += method.context_tokens(group.questions) * len(group.questions)
    return methods[0].name, said, recall, tokens / len(said)


def ask_memory(
    setting: Setting, groups: Sequence[Group], form: Form, **options: Any
) -> tuple[Results, dict[str, Any]]:
    """Write each group into a table of its own, ask it, and see where rows are found."""
    memory = Memory(setting, form=form, **options)
    said: list[str] = []
    recall = Recall([], [], [])
    firing: dict[str, Any] = {
        "at_the_answer": 0,
        "at_the_answer_and_whole": 0,
        "at_the_answer_and_first": 0,
        "elsewhere_in_prompt_or_reply": 0,
        "not_written": 0,
        "bytes": 0,
        "examples": [],
    }
    try:
        for group in groups:
            memory.table = UserTable(memory.model, group.owner)
            memory.write(group.facts)
            firing["not_written"] += len(memory.report.failed) if memory.report else 0
            firing["bytes"] += memory.nbytes
            start = len(said)
            said += _ask(memory, group.questions, recall)
            _note_firing(memory, group.questions, said[start:], recall, start, firing)
    finally:
        memory.close()
    return (said, recall, 0.0), firing


def _ask(method: Asked, questions: Sequence[Question], recall: Recall) -> list[str]:
    """Ask, and add to what was recalled."""
    lengths = [max(n, _TOKENS) for n in asking.lengths_of(method.tokenizer, questions)]
    said = method.say([q.prompt for q in questions], lengths)
    forced, first = method.forced(questions)
    recall.whole.extend(method.right(said, questions))
    recall.forced.extend(forced)
    recall.first.extend(first)
    return said


def _note_firing(
    memory: Memory,
    questions: Sequence[Question],
    said: Sequence[str],
    recall: Recall,
    start: int,
    firing: dict[str, Any],
) -> None:
    """Count where rows are read: by chance, because a wording shares a trigger's last tokens."""
    texts = memory.texts([q.prompt for q in questions])
    prompts = asking.ids_of(memory.tokenizer, texts)
    replies = memory.tokenizer(list(said), add_special_tokens=False)["input_ids"]
    found = rows_found(memory.table, [p + r for p, r in zip(prompts, replies, strict=True)])
    for number, (prompt, places) in enumerate(zip(prompts, found, strict=True)):
        at_answer = places[len(prompt) - 1]
        firing["at_the_answer"] += at_answer
        firing["at_the_answer_and_whole"] += at_answer and recall.whole[start + number]
        firing["at_the_answer_and_first"] += at_answer and recall.first[start + number]
        firing["elsewhere_in_prompt_or_reply"] += any(places) and not at_answer
        if at_answer and len(firing["examples"]) < _SHOWN:
            question = questions[number]
            right = recall.whole[start + number]
            firing["examples"].append(
                {
                    "asked": question.prompt,
                    "answer": question.answer,
                    "said": first_line(said[number]),
                    "whole": right,
                }
            )


def mentions(said: str, answer: str) -> bool:
    """Say whether an answer's words stand somewhere in what is said, in a row."""
    words, wanted = _words(said), _words(answer)
    ends = range(len(wanted), len(words) + 1)
    return bool(wanted) and any(words[end - len(wanted) : end] == wanted for end in ends)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _smaller(group: Group) -> Group:
    return Group(group.owner, group.facts[:16], group.questions[:8])


def section(runs: list[dict[str, Any]]) -> list[str]:
    """Return the part of docs/benchmarks.md."""
    lines = [
        "## Wordings that were not written (`paraphrase`)",
        "",
        "Facts are written in one wording and asked in others only; no skill is attached. A row is"
        " found where a wording happens to end like the trigger that was written: the table below"
        " each comparison counts such cases, and what came of them. Questions are put as"
        ' "Question: … Answer:", which suits small models better than a chat (`--chat`), with any'
        " method. For questions an answer is **whole** if it stands alone in the reply's first"
        " line; **mentioned** means that its words stand anywhere in what is said, which guesses"
        " and copies reach too: the row without memory says how often.",
        "",
        PUBLISHED,
        "",
        *markdown.provenances(runs),
    ]
    for run_ in runs:
        for part in run_["parts"]:
            lines += _part_section(run_, part)
    return lines


def _part_section(run_: dict[str, Any], part: dict[str, Any]) -> list[str]:
    rows = [
        [
            method["name"],
            *(
                markdown.counted(method["recall"][key], method["recall"]["asked"])
                for key in ("whole", "forced", "first", "mentioned")
            ),
            f"{method['context_tokens']:,.0f}",
        ]
        for method in part["methods"]
    ]
    firing, short = part["firing"], part["firing_shortest"]
    tables = "one table" if part["tables"] == 1 else f"{part['tables']} tables"
    lines = [
        f"### {part['name'].capitalize()}: {markdown.where(run_)}",
        "",
        f"{part['about'].capitalize()}: {part['facts']:,} facts in {tables},"
        f" {part['questions']:,} asked ({part['form']}). From {part['source']}.",
        "",
        *markdown.table(("", "whole", "forced", "first", "mentioned", "tokens per question"), rows),
        f"A row is found at the place of the answer in {firing['at_the_answer']:,} of"
        f" {part['questions']:,}; in {firing['at_the_answer_and_whole']:,} of these the whole"
        f" answer comes, in {firing['at_the_answer_and_first']:,} its first token. In"
        f" {firing['elsewhere_in_prompt_or_reply']:,} more a row is found elsewhere in the question"
        f" or the reply."
        f" With the shortest addresses: {short['at_the_answer']:,},"
        f" {short['at_the_answer_and_whole']:,} and {short['at_the_answer_and_first']:,};"
        f" elsewhere in {short['elsewhere_in_prompt_or_reply']:,}.",
        "",
    ]
    if examples := [*firing["examples"], *short["examples"]]:
        shown = [
            (f"`{e['asked']}`", e["answer"], e["said"].replace("|", "\\|"), _mark(e["whole"]))
            for e in examples
        ]
        lines += markdown.table(("found by chance", "answer", "said", "whole"), shown)
    return lines


def _mark(right: bool) -> str:
    return "yes" if right else "no"

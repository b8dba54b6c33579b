"""Chat: facts written from questions or statements, asked through the chat template.

    python -m benchmarks run chat [--facts 100] [--users 20]

Three ways of writing: from a question and its answer ("question"), from a statement with the
question as a second wording ("both"), from a statement alone ("statement"). The question is asked
alone, after one and three unrelated turns, and with a system prompt that was not there in writing;
a statement is asked as the beginning of the assistant's turn, in the same surroundings. Facts of
"question" end with the end of the turn, the others as prose does. Beside that: unrelated questions,
whose answers should be the bare model's.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, NamedTuple

from benchmarks import markdown
from benchmarks.asking import Question, generate
from benchmarks.chats import (
    SYSTEM,
    end_of_turn,
    has_template,
    rendered,
    supports_system,
    unrelated_questions,
    with_turns,
)
from benchmarks.facts import made_up_facts
from benchmarks.methods.memory import Memory
from benchmarks.promises import are_checked, at_least
from benchmarks.setting import Setting
from benchmarks.tally import PROTOCOLS
from engram_transformers import Fact, engram_disabled

NEEDS_MODEL = True
SOURCE = "github.com/19PINE-AI/user-as-engram (Apache-2.0), data/users"
WAYS = ("question", "both", "statement")
HELD = 0.99


class Said(NamedTuple):
    """A fact that can be stated and asked.

    Attributes:
        statement: The text up to the answer; empty if nobody stated it so that the answer comes
            last.
        question: What a user asks.
        answer: The answer to both.
    """

    statement: str
    question: str
    answer: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--facts", type=int, help="made-up facts in one table")
    parser.add_argument("--users", type=int, help="users of the data, each with a table")
    parser.add_argument(
        "--stop", choices=["turn", "auto"], default="turn", help="what ends an answer to a question"
    )


def run(setting: Setting) -> dict[str, Any]:
    if not has_template(setting.tokenizer):
        print("The model has no chat template: nothing to ask.")
        return {"chat_template": False, "groups": [], "promises": []}
    options, on_gpu = setting.options, setting.device.type == "cuda"
    count = options.facts or (2 if setting.quick else 100 if on_gpu else 30)
    users = options.users if options.users is not None else 20 if on_gpu else 2
    made_up = [Said(f.trigger, f.question, f.answer) for f in made_up_facts(count, setting.seed)]
    groups = [measure(setting, "made-up facts", [made_up])]
    if not setting.quick and users:
        read = user_facts(setting, users)
        if read:
            groups.append(measure(setting, "users of the data", read))
    promises = []
    if are_checked(setting):
        for group in groups:
            right, asked = (sum(one[k] for one in group["asked"]) for k in ("whole", "asked"))
            promises.append(at_least(f"{group['name']}, asked in chats", HELD, right, asked))
    return {"chat_template": True, "groups": groups, "promises": promises}


def user_facts(setting: Setting, users: int) -> list[list[Said]]:
    """Return each user's facts: their question, and a statement that ends with the answer."""
    folder = setting.data / "user_as_engram" / "users"
    found: list[list[Said]] = []
    for number in range(users):
        path = folder / f"u{number:03}.json"
        if not path.exists():
            print(f"{path.name} is not there (see {SOURCE}).")
            break
        user = json.loads(path.read_text(encoding="utf-8"))
        stated = {fact["key"]: fact["paraphrases"] for fact in user["facts"]}
        found.append(
            [
                Said(_statement(stated.get(q["key"], ()), q["answer"]), q["question"], q["answer"])
                for q in user["direct_qa"]
            ]
        )
    return found


def _statement(sentences: Any, answer: str) -> str:
    ends = f" {answer}."
    return next((text[: -len(ends)] for text in sentences if text.endswith(ends)), "")


def measure(setting: Setting, name: str, tables: list[list[Said]]) -> dict[str, Any]:
    """Write each table in all ways, ask everything in all surroundings, and sum up."""
    asked: dict[tuple[str, str, str], dict[str, Any]] = {}
    written = {way: {"facts": 0, "left_out": 0, "seconds": 0.0} for way in WAYS}
    unrelated = {"asked": 0, "as_the_bare_model": 0}
    for facts in tables:
        for way in WAYS:
            usable = facts if way == "question" else _distinct_statements(facts)
            memory = Memory(setting)
            try:
                left_out = write(memory, usable, way, written[way], setting.options.stop)
                for surrounding, form, questions in asking(setting, usable, way):
                    recall = memory.recall(questions)
                    key = (way, form, surrounding)
                    total = asked.setdefault(
                        key, {"written_as": way, "asked_as": form, "in": surrounding, "asked": 0}
                    )
                    kept = [fact not in left_out for fact in usable]
                    total["asked"] += len(usable)
                    for protocol, flags in recall._asdict().items():
                        right = sum(a and b for a, b in zip(flags, kept, strict=True))
                        total[protocol] = total.get(protocol, 0) + right
                if way == "question":
                    compare_unrelated(setting, memory, unrelated)
            finally:
                memory.close()
    for one in asked.values():
        print(
            f"{name}, written as {one['written_as']}, asked as {one['asked_as']}, {one['in']}:"
            f" {markdown.counted(one['whole'], one['asked'])} whole"
        )
    print(f"{name}, unrelated questions: {unrelated}")
    return {
        "name": name,
        "tables": len(tables),
        "questions_end_with": setting.options.stop,
        "written": written,
        "asked": list(asked.values()),
        "unrelated": unrelated,
    }


def _distinct_statements(facts: list[Said]) -> list[Said]:
    return list({fact.statement: fact for fact in reversed(facts) if fact.statement}.values())


def write(
    memory: Memory, facts: list[Said], way: str, total: dict[str, Any], end: str
) -> set[Said]:
    """Write facts in one of the ways; return those that were left out."""
    stop = end_of_turn(memory.tokenizer) if (way, end) == ("question", "turn") else "auto"
    report = memory.table.write([as_fact(fact, way) for fact in facts], stop=stop, progress=False)
    failed = {(one.fact.prompt, one.fact.answer) for one in report.failed}
    total["facts"] += len(facts)
    total["left_out"] += len(report.failed)
    total["seconds"] += report.seconds
    return {fact for fact in facts if (as_fact(fact, way).prompt, fact.answer) in failed}


def as_fact(fact: Said, way: str) -> Fact:
    """Return what is written."""
    question = (("user", fact.question),)
    if way == "question":
        return Fact(question, fact.answer)
    return Fact(fact.statement, fact.answer, (question,) if way == "both" else ())


def asking(setting: Setting, facts: list[Said], way: str) -> list[tuple[str, str, list[Question]]]:
    """Return what is asked: surrounding, form and questions."""
    tokenizer = setting.tokenizer
    systems: dict[str, str | None] = {"": None}
    if supports_system(tokenizer):
        systems[" and a system prompt"] = SYSTEM
    found: list[tuple[str, str, list[Question]]] = []
    for turns in (0, 1) if setting.quick else (0, 1, 3):
        for with_system, system in systems.items():
            surrounding = f"{turns} earlier turn{'s' if turns != 1 else ''}{with_system}"
            for form in ("question", "statement"):
                if (form == "question" and way == "statement") or (
                    form == "statement" and way == "question"
                ):
                    continue
                found.append(
                    (
                        surrounding,
                        form,
                        [
                            _asked(tokenizer, fact, form, turns, system, number)
                            for number, fact in enumerate(facts)
                        ],
                    )
                )
    return found


def _asked(
    tokenizer: Any, fact: Said, form: str, turns: int, system: str | None, start: int
) -> Question:
    if form == "question":
        chat = with_turns(fact.question, turns, system, start)
        return Question(rendered(tokenizer, chat), fact.answer)
    chat = with_turns("And what about me?", turns, system, start)
    return Question(rendered(tokenizer, chat, fact.statement), fact.answer)


def compare_unrelated(setting: Setting, memory: Memory, total: dict[str, int]) -> None:
    """Ask what nobody wrote, with the table and without."""
    prompts = [rendered(setting.tokenizer, with_turns(q)) for q in unrelated_questions()]
    with engram_disabled(setting.model):
        bare = generate(setting.model, setting.tokenizer, prompts, 24)
    said = memory.say(prompts, 24)
    total["asked"] += len(prompts)
    total["as_the_bare_model"] += sum(a == b for a, b in zip(said, bare, strict=True))


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Chat: asked through the chat template",
        "",
        "Facts written from a question and its answer, from a statement with the question as a"
        " second wording, and from a statement alone. Questions are the user's last message;"
        " statements begin the assistant's turn. Earlier turns and the system prompt are unrelated"
        " and were not used in writing. Questions that were not written are another matter:"
        " `paraphrase`.",
        "",
    ]
    for run in runs:
        if not run["chat_template"]:
            lines += [f"{markdown.where(run)}: no chat template, nothing to ask.", ""]
        for group in run["groups"]:
            lines += _group(run, group)
    return lines


def _group(run: dict[str, Any], group: dict[str, Any]) -> list[str]:
    tables = f"{group['tables']} table{'s' if group['tables'] != 1 else ''}"
    left_out = [
        f"{way} {one['left_out']} of {one['facts']:,}" for way, one in group["written"].items()
    ]
    same = group["unrelated"]
    return [
        f"### {group['name'].capitalize()}: {markdown.where(run)}",
        "",
        f"{tables}; {markdown.provenance(run)}. Left out by `write`: {', '.join(left_out)}. Asked"
        f" what nobody wrote, {same['as_the_bare_model']} of {same['asked']} answers were the bare"
        " model's.",
        "",
        *markdown.table(
            ["written as", "asked as", "after", *PROTOCOLS, "of"],
            [
                [
                    one["written_as"],
                    one["asked_as"],
                    one["in"],
                    *(
                        markdown.percent(one[p] / one["asked"])
                        for p in ("whole", "forced", "first")
                    ),
                    f"{one['asked']:,}",
                ]
                for one in group["asked"]
            ],
        ),
    ]

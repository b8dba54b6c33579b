"""Chat: facts written from questions or statements, asked through the chat template.

    python -m benchmarks run chat [--facts 100] [--users 20]

Three ways of writing: from a question and its answer ("question"), from a statement with the
question as a second wording ("both"), from a statement alone ("statement"). The question is asked
alone, after one and three unrelated turns, and with a system prompt that was not there in writing;
a statement is asked as the beginning of the assistant's turn, in the same surroundings. Beside
that: unrelated questions, whose answers should be the bare model's.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, NamedTuple

from benchmarks import markdown
from benchmarks.asking import Active, Question, Recall, generate, recall
from benchmarks.chats import (
    SYSTEM,
    has_template,
    rendered,
    supports_system,
    unrelated_questions,
    with_turns,
)
from benchmarks.facts import made_up_facts
from benchmarks.promises import are_checked, at_least
from benchmarks.setting import Setting
from benchmarks.tally import PROTOCOLS
from engram_transformers import (
    Fact,
    UserTable,
    add_engram,
    engram_disabled,
    remove_engram,
    use_tables,
    write_many,
)

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


def measure(setting: Setting, name: str, owned: list[list[Said]]) -> dict[str, Any]:
    """Write everybody's facts in all ways, and ask everything in all surroundings."""
    add_engram(setting.model, setting.tokenizer, **setting.config_fields)
    asked: list[dict[str, Any]] = []
    written: dict[str, dict[str, Any]] = {}
    unrelated: dict[str, int] = {}
    try:
        for way in WAYS:
            usable = owned if way == "question" else [*map(_distinct_statements, owned)]
            many = write_many(
                setting.model,
                {f"user-{n}": [as_fact(f, way) for f in facts] for n, facts in enumerate(usable)},
                progress=False,
            )
            pairs = [(f"user-{n}", fact) for n, facts in enumerate(usable) for fact in facts]
            failed = {
                (owner, one.fact) for owner, report in many.reports.items() for one in report.failed
            }
            written[way] = {"facts": len(pairs), "left_out": len(failed), "seconds": many.seconds}
            kept = [(owner, as_fact(fact, way)) not in failed for owner, fact in pairs]
            owners = [owner for owner, _ in pairs]
            for surrounding, form, questions in asking(setting, [fact for _, fact in pairs], way):
                found = recall(
                    setting.model,
                    setting.tokenizer,
                    questions,
                    active=_reading(setting, many.tables, owners),
                )
                # What was left out is not recalled, whatever is said.
                flags = ([a and b for a, b in zip(one, kept, strict=True)] for one in found)
                counts = Recall(*flags).counts()
                asked.append({"written_as": way, "asked_as": form, "in": surrounding, **counts})
                print(
                    f"{name}, written as {way}, asked as {form}, {surrounding}:"
                    f" {markdown.counted(counts['whole'], counts['asked'])} whole"
                )
            if way == "question":
                unrelated = compare_unrelated(setting, many.tables)
                print(f"{name}, unrelated questions: {unrelated}")
    finally:
        remove_engram(setting.model)
    return {
        "name": name,
        "tables": len(owned),
        "written": written,
        "asked": asked,
        "unrelated": unrelated,
    }


def _reading(setting: Setting, tables: dict[str, UserTable], owners: list[str]) -> Active:
    """Let every question read its owner's table."""
    return lambda part: use_tables(setting.model, [tables[owners[i]] for i in part])


def _distinct_statements(facts: list[Said]) -> list[Said]:
    return list({fact.statement: fact for fact in reversed(facts) if fact.statement}.values())


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


def compare_unrelated(setting: Setting, tables: dict[str, UserTable]) -> dict[str, int]:
    """Ask what nobody wrote, with each table and without."""
    model, tokenizer = setting.model, setting.tokenizer
    pairs = [(owner, question) for owner in tables for question in unrelated_questions()]
    prompts = [rendered(tokenizer, with_turns(question)) for _, question in pairs]
    # In the same batches: others round differently.
    with engram_disabled(model):
        bare = generate(model, tokenizer, prompts, 24)
    active = _reading(setting, tables, [owner for owner, _ in pairs])
    said = generate(model, tokenizer, prompts, 24, active=active)
    same = sum(a == b for a, b in zip(said, bare, strict=True))
    return {"asked": len(said), "as_the_bare_model": same}


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

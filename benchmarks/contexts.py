"""Facts asked after 0 to 2,000 tokens of unrelated prose, chat, code and text in other languages.

    python -m benchmarks run contexts [--facts 100] [--tokens 0 10 50 200 500 1000 2000]

One table of facts, written once with the default options; none of the texts is used in writing.
Prose is the Python reference manual, code is from Python's standard library, chats and paragraphs
in twelve languages were written for this and repeat where a text is long. A text is cut wherever
its length says, also in the middle of a sentence; the trigger follows after an empty line, a
comment sign or the beginning of the assistant's turn.
"""

from __future__ import annotations

import argparse
import random
from typing import Any

from benchmarks import markdown
from benchmarks.facts import distinct_facts
from benchmarks.methods.memory import Memory
from benchmarks.promises import are_checked, at_least
from benchmarks.setting import Setting
from benchmarks.tally import PROTOCOLS, ask_all, write_all
from benchmarks.texts import LONG_KINDS, length_of, long_context

NEEDS_MODEL = True
TOKENS = (0, 10, 50, 200, 500, 1_000, 2_000)
HELD = 0.99


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS)
    parser.add_argument("--kinds", nargs="+", choices=LONG_KINDS, default=LONG_KINDS)
    parser.add_argument("--budget", type=int, help="tokens to read per text; fewer facts are asked")


def run(setting: Setting) -> dict[str, Any]:
    options = setting.options
    count, lengths = (4, (0, 10)) if setting.quick else (options.facts, options.tokens)
    # A CPU reads some 1,000 tokens a second.
    budget = options.budget or (10**9 if setting.device.type == "cuda" else 8_000)
    facts, source = distinct_facts(count, setting.data, setting.seed)
    memory = Memory(setting)
    asked: list[dict[str, Any]] = []
    try:
        written = write_all(memory, facts)
        window = getattr(setting.model.config, "max_position_embeddings", None) or 1 << 30
        for kind in options.kinds:
            for tokens in lengths:
                if tokens + 100 > window or (tokens == 0 and kind != options.kinds[0]):
                    continue
                asked.append(ask(memory, facts, kind, tokens, budget, setting))
    finally:
        memory.close()
    right, of = (sum(one[key] for one in asked) for key in ("whole", "asked"))
    promises = []
    if are_checked(setting):
        promises.append(
            at_least(f"{count} facts after texts of {len(asked)} kinds", HELD, right, of)
        )
    return {"facts_from": source, **written, "contexts": asked, "promises": promises}


def ask(
    memory: Memory,
    facts: list[tuple[str, str]],
    kind: str,
    tokens: int,
    budget: int,
    setting: Setting,
) -> dict[str, Any]:
    """Ask facts after one text; as many as the budget allows, drawn by lot."""
    context = long_context(setting.tokenizer, kind, tokens)
    allowed = max(10, budget // (tokens + 20))
    some = facts
    if len(facts) > allowed:
        some = random.Random(f"{kind} {tokens} {setting.seed}").sample(facts, allowed)
    found = {
        "kind": kind if tokens else "nothing",
        "tokens": length_of(setting.tokenizer, context),
        "tokens_wanted": tokens,
        **ask_all(memory, some, context).counts(),
    }
    print(
        f"{found['kind']}, {found['tokens']:,} tokens:"
        f" {markdown.counted(found['whole'], found['asked'])} whole"
    )
    return found


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Contexts: asked after something else",
        "",
        "One table, asked after texts that have nothing to do with it and were not used in writing."
        " Prose is the Python reference manual, code is from the standard library; chats and the"
        " paragraphs in twelve languages repeat where a text is long. Whole answers; where fewer"
        " facts were asked than written, they were drawn by lot.",
        "",
    ]
    for run in runs:
        lengths = sorted({one["tokens_wanted"] for one in run["contexts"] if one["tokens_wanted"]})
        cells = {(one["kind"], one["tokens_wanted"]): one for one in run["contexts"]}
        kinds = list(dict.fromkeys(kind for kind, tokens in cells if tokens))
        worst = min(run["contexts"], key=lambda one: one["whole"] / one["asked"])
        totals = {key: sum(one[key] for one in run["contexts"]) for key in ("asked", *PROTOCOLS)}
        shown = [f"{name} {markdown.percent(totals[name] / totals['asked'])}" for name in PROTOCOLS]
        lines += [
            *markdown.heading(
                run,
                f"{run['facts']} facts ({run['facts_from']}), {run['left_out']} left out by"
                f" `write`; {markdown.provenance(run)}. Of {totals['asked']:,} questions:"
                f" {', '.join(shown)}. Worst: {worst['kind']}, {worst['tokens']:,} tokens:"
                f" {markdown.counted(worst['whole'], worst['asked'])}.",
            ),
            *markdown.table(
                ["after", *(f"{tokens:,} tokens" for tokens in lengths)],
                [[kind, *(_cell(cells.get((kind, n))) for n in lengths)] for kind in kinds],
            ),
        ]
        alone = cells.get(("nothing", 0))
        if alone:
            lines += [f"After nothing: {markdown.counted(alone['whole'], alone['asked'])}.", ""]
    return lines


def _cell(one: dict[str, Any] | None) -> str:
    if one is None:
        return ""
    return f"{markdown.percent(one['whole'] / one['asked'])} of {one['asked']}"

"""Ways of giving one model the facts of one user: rows, context, retrieval, LoRA, and controls."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks import markdown
from benchmarks.comparison import Comparison
from benchmarks.facts import distinct_facts
from benchmarks.methods.lora import FAIR
from benchmarks.methods.minilm import encoder_or_none
from benchmarks.promises import Promise, are_checked, promise
from benchmarks.setting import Setting

NEEDS_MODEL = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add options."""
    parser.add_argument("--counts", type=int, nargs="+", default=[100], help="facts of the user")
    parser.add_argument("--repeats", type=int, default=5, help="timed writes")
    parser.add_argument("--sentences", type=int, default=200, help="unrelated ones that are read")
    parser.add_argument("--rounds", type=int, default=4, help="of timing steps")
    parser.add_argument("--encoder", type=Path, help="folder of the encoder for retrieval")
    parser.add_argument("--fitting-steps", type=int, default=60, help="of the addresses' loop")
    parser.add_argument(
        "--published-steps", type=int, default=300, help="of the published LoRA, 1,500 at most"
    )
    parser.add_argument("--lora-epochs", type=int, default=60, help="of the fair LoRA, at most")
    parser.add_argument(
        "--lora-repeats", type=int, default=2, help="timed trainings of the fair LoRA"
    )
    parser.add_argument("--no-lora", action="store_true", help="leave the LoRAs out")


def run(setting: Setting) -> dict[str, Any]:
    """Give every method the same facts, ask the same questions, and see what else moves."""
    options = setting.options
    if setting.quick:
        options.counts, options.repeats, options.sentences, options.rounds = [4], 1, 4, 1
        options.published_steps, options.lora_epochs, options.lora_repeats = 2, 2, 1
        options.fitting_steps = 2
    facts, source = distinct_facts(2 * max(options.counts), setting.data, setting.seed)
    encoder = encoder_or_none(options.encoder, setting.device)
    kept: list[dict[str, Any]] = []
    for number, count in enumerate(options.counts):
        compared = Comparison(setting, facts, count, whole=number == 0)
        kept.append(compared.run(encoder))
    promises = _promises(kept) if are_checked(setting) else []
    return {
        "facts_from": source,
        "published_steps": options.published_steps,
        "counts": kept,
        "promises": promises,
    }


def _promises(kept: list[dict[str, Any]]) -> list[Promise]:
    """Promise that a fair LoRA takes so many times our seconds and bytes, at no better recall."""
    promises: list[Promise] = []
    for one in kept:
        over = one.get("lora_over_ours", {}).get(FAIR)
        if over:
            what = f"{one['facts']:,} facts: a fair LoRA"
            recalls = f"recall {over['recall']:.0%} against our {over['our_recall']:.0%}"
            equal = over["our_recall"] >= over["recall"]
            for key, unit, least in (("seconds", "seconds", 50), ("bytes", "bytes", 1_000)):
                text = f"{what} takes at least {least:,} times our {unit}"
                found = f"{over[key]:,.0f} times, {recalls}"
                promises.append(promise(text, equal and over[key] >= least, found))
    return promises


def section(runs: list[dict[str, Any]]) -> list[str]:
    """Return the part of docs/benchmarks.md."""
    lines = [
        "## Against context, retrieval and LoRA (`compare`)",
        "",
        "One model gets the same facts in different ways and is asked each of them by the words"
        " that lead up to the answer. **In context**: all facts before the question, one per line,"
        " as many as fit the window; the chat form tells them as a user's message and begins the"
        " reply. **Retrieval**: all-MiniLM-L6-v2 finds the nearest facts. **Suffix trigrams**: this"
        " library's rows at the addresses of the paper, fitted by a plain loop that is also run"
        " with our own addresses. The last three controls must fail. **LoRA, fair**: PEFT, rank"
        " 16, stopped as soon as every answer token is won, held by a KL term to what the base"
        " says on unrelated text; learning rate and batch are the quickest of those tried."
        " **As published**: rank 64, one random fact per step, to the end. Seconds to write leave"
        " out asking; ours with asking are in brackets. Nats are per token on sentences of the"
        " Python reference manual, less those of the bare model: where no row is found the logits"
        " are checked to be the same bits. Times are over the bare model's, in the same run, for"
        " batches of 1 and 8; nothing is kept between requests, and a LoRA is not merged, since"
        " others share the model.",
        "",
        *markdown.provenances(runs),
    ]
    for run_ in runs:
        for kept in run_["counts"]:
            lines += [f"### {kept['facts']:,} facts: {markdown.where(run_)}", ""]
            lines += markdown.table(_HEADER, [_row(method) for method in kept["methods"]])
            lines += _over(kept)
    return lines


_HEADER = (
    "",
    "whole",
    "forced",
    "first",
    "seconds to write",
    "bytes",
    "tokens per question",
    "nats, mean (max)",
    "first token",
    "each further token",
)


def _row(method: dict[str, Any]) -> list[str]:
    recall, asked = method["recall"], method["recall"]["asked"]
    seconds = markdown.seconds(method["seconds"])
    if "seconds_with_asking" in method:
        seconds += f" [{method['seconds_with_asking']['median']:.2f}]"
    told = f"{method['context_tokens']:,.0f}"
    if method.get("facts_told", asked) < asked:
        told += f" ({method['facts_told']:,} facts fit)"
    return [
        method["name"],
        *(markdown.percent(recall[key] / asked) for key in ("whole", "forced", "first")),
        seconds,
        f"{method['bytes']:,}",
        told,
        _nats(method.get("nats")),
        *(_ratio(method.get("steps"), key) for key in ("first_token_ratio", "step_ratio")),
    ]


def _nats(found: dict[str, Any] | None) -> str:
    if not found:
        return ""
    if found["bit_identical"] == found["sentences"]:
        return f"0 (same bits in {found['sentences']:,} sentences)"
    shown = f"{found['mean']:+.4f} ({found['max']:+.3f})"
    return shown + (f", rows found in {found['fired']}" if found.get("fired") else "")


def _ratio(cases: list[dict[str, Any]] | None, key: str) -> str:
    return ", ".join(f"{case[key]['median']:.2f}" for case in cases or ())


def _over(kept: dict[str, Any]) -> list[str]:
    taken = {method["name"]: method["seconds"] for method in kept["methods"]}
    lines = [
        f"- {name}: {over['seconds']:,.0f} times our seconds"
        f" ({taken[name]['median'] / taken['memory']['max']:,.0f} times our slowest write: the"
        " first, which finds rows for tokens that are known from then on;"
        f" {over['seconds_asking_included']:,.0f} with our asking), {over['bytes']:,.0f} times our"
        f" bytes ({over['bytes_in_16_bits']:,.0f} if kept in 16 bits), recall"
        f" {markdown.percent(over['recall'])} against {markdown.percent(over['our_recall'])}."
        for name, over in kept.get("lora_over_ours", {}).items()
    ]
    return [*lines, ""] if lines else []

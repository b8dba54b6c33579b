"""How far rows go, with before and after: strength and width, closed form, kinds of answers.

    python -m benchmarks run limits [--parts strength closed_form skipping kinds] [--facts 100]

`strength`: rows in closed form for tokens drawn from the whole vocabulary, in texts that were not
used to find them, by length and width of the rows. `closed_form`: the same facts with rows in
closed form and with rows that are optimised only. `skipping`: no row where the model answers by
itself. `kinds`: each kind of answer, several sentences, numbers, dates, six scripts and code among
them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import torch

from benchmarks import limits_page
from benchmarks.fact_kinds import KINDS, shapes
from benchmarks.facts import distinct_facts, facts_of_kind
from benchmarks.methods.memory import Memory
from benchmarks.setting import Setting
from benchmarks.tally import ask_all, write_all
from benchmarks.texts import unseen_contexts
from engram_transformers import add_engram, remove_engram, token_rows, writing
from engram_transformers.attachment import require_attachment
from engram_transformers.shortcut import runner_for
from engram_transformers.storage import RowDtype, as_stored
from engram_transformers.token_rows import TokenRows, last_positions, token_rows_of

NEEDS_MODEL = True
PARTS = ("strength", "closed_form", "skipping", "kinds")
STRENGTHS = (1.0, 2.0, 4.0, 8.0, 16.0)
WIDTHS = (16, 24, 32, 48, 64, 96)
DTYPES: tuple[RowDtype, ...] = ("int8", "int4")
SKIP_MARGIN = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--facts", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=500)


def run(setting: Setting) -> dict[str, Any]:
    parts = {
        "strength": strength,
        "closed_form": closed_form,
        "skipping": skipping,
        "kinds": kinds,
    }
    return {part: parts[part](setting) for part in setting.options.parts}


def strength(setting: Setting) -> list[dict[str, Any]]:
    """Try rows of random tokens in unseen texts, before and after steps through the model."""
    count = 8 if setting.quick else setting.options.tokens
    found: list[dict[str, Any]] = []
    for width in (16, 64) if setting.quick else WIDTHS:
        add_engram(setting.model, setting.tokenizer, **{**setting.config_fields, "row_dim": width})
        try:
            found += of_width(setting, width, count)
        finally:
            remove_engram(setting.model)
    return found


def of_width(setting: Setting, width: int, count: int) -> list[dict[str, Any]]:
    """Return what rows of one width do, by strength and storage."""
    attachment = require_attachment(setting.model)
    layer = max(attachment.memories)
    runner = runner_for(attachment, layer)
    contexts = [text for text in unseen_contexts(setting.tokenizer).values() if text.strip()]
    batch = last_positions(attachment, runner, contexts)
    generator = torch.Generator().manual_seed(setting.seed)
    tokens = torch.randperm(attachment.canonical.numel(), generator=generator)[:count].tolist()
    with torch.enable_grad():
        plain = token_rows_of(attachment, layer, runner)
        with mock.patch.object(token_rows, "_MORE_ROUNDS", 0):
            before = TokenRows(plain.response, runner, plain.contexts).rows(tokens, "float32")
        after = {dtype: plain.rows(tokens, dtype) for dtype in DTYPES}
    asked = torch.tensor(tokens, device=before.device)
    tried = TokenRows(plain.response, runner, batch)
    found: list[dict[str, Any]] = []

    @torch.no_grad()
    def note(rows: torch.Tensor, length: float, dtype: str, stepped: bool) -> None:
        leads = torch.cat(
            [tried.leads(r, t) for r, t in zip(rows.split(64), asked.split(64), strict=True)]
        )
        share = float((leads > 0).float().mean())
        everywhere = float((leads > 0).all(1).float().mean())
        found.append(
            {
                "row_dim": width,
                "strength": length,
                "dtype": dtype,
                "steps_through_model": stepped,
                "tokens": count,
                "contexts": len(contexts),
                "said": share,
                "said_in_all_contexts": everywhere,
                "median_lead_logits": float(leads.median()),
            }
        )
        print(f"row_dim {width}, strength {length}, {dtype}: {share:.2%} said")

    for length in STRENGTHS:
        note(before * (length / token_rows.STRENGTH), length, "float32", False)
    for dtype in DTYPES:
        note(as_stored(before, dtype), token_rows.STRENGTH, dtype, False)
        note(after[dtype], token_rows.STRENGTH, dtype, True)
    return found


@contextmanager
def optimised_only(skip_margin: float | None = None) -> Iterator[None]:
    """Write as if there were no rows in closed form, perhaps leaving out what needs no row."""
    efforts = writing._EFFORTS
    if skip_margin is not None:
        efforts = tuple(replace(effort, skip_margin=skip_margin) for effort in efforts)
    with (
        mock.patch.object(TokenRows, "reliable", False),
        mock.patch.object(writing, "_EFFORTS", efforts),
    ):
        yield


def closed_form(setting: Setting) -> list[dict[str, Any]]:
    """Write the same facts without and with rows in closed form."""
    counts = (4,) if setting.quick else (setting.options.facts, 10 * setting.options.facts)
    found: list[dict[str, Any]] = []
    for count in counts if setting.device.type == "cuda" else counts[:1]:
        facts, source = distinct_facts(count, setting.data, setting.seed)
        with optimised_only():
            found.append({"how": "optimised", "from": source, **in_contexts(setting, facts)})
        found.append({"how": "closed form first", "from": source, **in_contexts(setting, facts)})
    return found


def skipping(setting: Setting) -> list[dict[str, Any]]:
    """Write facts with and without rows for what the model says by itself with margin."""
    count = 4 if setting.quick else setting.options.facts
    facts, source = distinct_facts(count, setting.data, setting.seed)
    found: list[dict[str, Any]] = []
    for margin in (None, SKIP_MARGIN):
        with optimised_only(margin):
            found.append({"skip_margin": margin, "from": source, **in_contexts(setting, facts)})
    return found


def in_contexts(setting: Setting, facts: list[tuple[str, str]]) -> dict[str, Any]:
    """Write facts, and ask them alone and after unseen texts."""
    memory = Memory(setting)
    try:
        result = write_all(memory, facts)
        contexts = unseen_contexts(setting.tokenizer)
        names = list(contexts)[: 2 if setting.quick or setting.device.type != "cuda" else 8]
        result["whole"] = {
            name: sum(ask_all(memory, facts, contexts[name]).whole) for name in names
        }
    finally:
        memory.close()
    print(f"{len(facts)} facts in {result['seconds']:.2f} s, {result['whole']}")
    return result


def kinds(setting: Setting) -> list[dict[str, Any]]:
    """Write and ask a table of each kind of answer."""
    count = 2 if setting.quick else min(setting.options.facts, 100)
    found: list[dict[str, Any]] = []
    for kind in KINDS[-2:] if setting.quick else KINDS:
        available = sum(1 for _ in shapes(kind))
        made = facts_of_kind(kind, min(count, available), setting.seed)
        facts = [(fact.trigger, fact.answer) for fact in made]
        memory = Memory(setting)
        try:
            result = {"kind": kind, "example": " → ".join(facts[0]), **write_all(memory, facts)}
            result["whole"] = sum(ask_all(memory, facts).whole)
        finally:
            memory.close()
        ids = setting.tokenizer([a for _, a in facts], add_special_tokens=False)["input_ids"]
        result["tokens_per_answer"] = sum(map(len, ids)) / len(ids)
        found.append(result)
        print(f"{kind}: {result['whole']} of {len(facts)} answered whole")
    return found


def section(runs: list[dict[str, Any]]) -> list[str]:
    """Return this benchmark's part of docs/benchmarks.md."""
    return limits_page.section(runs)

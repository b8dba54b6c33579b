"""What memories cost a model that runs: nothing active, one table, many owners in one batch.

Every round times the bare model and the patched one (the same weights) piece by piece, in random
order; a round's ratio is that of the medians of its pieces, and the median over all rounds is
reported, beside that of the bare model over itself: the noise. What is claimed is checked first:
with nothing active and in samples that read nothing the logits are the bare model's bit for bit, a
row that is found changes them, and cached steps are those of the whole sequence computed anew.

    python -m benchmarks run overhead --device cpu
    python -m benchmarks run overhead --device cuda --compile
"""

from __future__ import annotations

import argparse
import copy
import functools
import random
import statistics
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from transformers import DynamicCache, StaticCache

from benchmarks import markdown
from benchmarks.common import require, spread, timed
from benchmarks.setting import Setting
from engram_transformers import UserTable, add_engram, use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.binding import Binding
from engram_transformers.index import Rows
from engram_transformers.storage import as_stored

PROMPT = 128
STEPS = 32
ROWS = 100


NEEDS_MODEL = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="compiled steps as well")


def run(setting: Setting) -> dict[str, Any]:
    options, bare = setting.options, setting.model
    batches, rounds = ([1], 1) if setting.quick else (options.batch, options.rounds)
    # Another object with the same weights.
    weights = [*bare.parameters(), *bare.buffers()]
    patched = copy.deepcopy(bare, {id(weight): weight for weight in weights})
    add_engram(patched, setting.tokenizer, **setting.config_fields)

    cases: list[dict[str, Any]] = []
    for batch in batches:
        ids = random_ids(patched, batch, PROMPT + STEPS, setting.seed)
        tables = [random_table(patched, ids[n], owner=n) for n in range(batch)]
        check(bare, patched, ids, tables)
        kinds: list[tuple[str, Callable[[Any], list[Callable[[], None]]]]] = [
            ("forward", lambda model, ids=ids: forwards(model, ids)),
            ("step", lambda model, ids=ids: steps(model, model, ids, static=False)),
        ]
        if options.compile:
            compiled = {id(model): torch.compile(model) for model in (bare, patched)}
            kinds.append(
                (
                    "compiled step",
                    lambda model, ids=ids, compiled=compiled: steps(
                        model, compiled[id(model)], ids, static=True
                    ),
                )
            )
        for kind, prepare in kinds:
            ratios, seconds = measure(bare, patched, prepare, tables, setting, rounds)
            cases.append({"kind": kind, "batch": batch, "ratio": ratios, "bare_seconds": seconds})
            shown = ", ".join(f"{name} {value['median']:.4f}" for name, value in ratios.items())
            print(f"{kind}, batch {batch}: bare {seconds['median'] * 1e3:.2f} ms; {shown}")
    return {
        "prompt_tokens": PROMPT,
        "steps": STEPS,
        "rows_per_table": ROWS,
        "cases": cases,
    }


def measure(
    bare: Any,
    patched: Any,
    prepare: Callable[[Any], list[Callable[[], None]]],
    tables: list[UserTable],
    setting: Setting,
    rounds: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return, for each state of the tables, the spread of patched over bare; and bare seconds.

    In a round every state does its pieces of work, piece by piece in turn, so that whatever else
    the machine does meets all of them; a round's ratio is that of the medians of its pieces.
    """
    states: dict[str, Any] = {
        "bare": (bare, None),
        "bare again": (bare, None),
        "nothing active": (patched, None),
        "one table": (patched, tables[0]),
        "a table for each sample": (patched, tables),
    }
    order = random.Random(setting.seed)
    medians: dict[str, list[float]] = {name: [] for name in states}
    for number in range(rounds + 1):
        some = 3 if setting.quick else None
        pieces = {name: prepare(model)[:some] for name, (model, _) in states.items()}
        seconds: dict[str, list[float]] = {name: [] for name in states}
        for place in range(len(pieces["bare"])):
            names = list(states)
            order.shuffle(names)
            for name in names:
                active = states[name][1]
                with use_tables(patched, active) if active is not None else nullcontext():
                    seconds[name].append(timed(setting.device, pieces[name][place])[0])
        if number:  # the first round warms up
            for name, taken in seconds.items():
                medians[name].append(statistics.median(taken))
    ratios = {
        name: spread([t / b for t, b in zip(times, medians["bare"], strict=True)])
        for name, times in medians.items()
        if name != "bare"
    }
    return ratios, spread(medians["bare"])


def forwards(model: Any, ids: torch.Tensor) -> list[Callable[[], None]]:
    mask = torch.ones_like(ids[:, :PROMPT])

    @torch.inference_mode()
    def work() -> None:
        model(input_ids=ids[:, :PROMPT], attention_mask=mask, use_cache=False)

    return [work] * (STEPS if ids.is_cuda else STEPS // 4)


def steps(model: Any, step: Any, ids: torch.Tensor, *, static: bool) -> list[Callable[[], None]]:
    """Return some steps of one token each, after a prompt."""
    cache = StaticCache(model.config, PROMPT + STEPS) if static else DynamicCache()
    mask = torch.ones_like(ids)
    positions = torch.arange(ids.shape[1], device=ids.device).expand(ids.shape[0], -1)
    with torch.inference_mode():
        model(input_ids=ids[:, :PROMPT], past_key_values=cache, logits_to_keep=1)

    @torch.inference_mode()
    def work(place: int) -> None:
        arguments = {} if static else {"attention_mask": mask[:, : place + 1]}
        step(
            input_ids=ids[:, place : place + 1],
            position_ids=positions[:, place : place + 1],
            past_key_values=cache,
            **arguments,
        )

    return [functools.partial(work, place) for place in range(PROMPT, PROMPT + STEPS)]


def random_ids(model: Any, batch: int, length: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    vocab = model.get_input_embeddings().weight.shape[0]
    return torch.randint(vocab // 2, vocab, (batch, length), generator=generator).to(model.device)


def random_table(model: Any, ids: torch.Tensor, *, owner: int) -> UserTable:
    """Return a table of random rows of orders 3 to 8, of which some are met in a text."""
    attachment = require_attachment(model)
    generator = torch.Generator().manual_seed(owner)
    known = attachment.canonical[ids.cpu()].tolist()
    ngrams = {tuple(known[place - 4 : place]) for place in range(8, len(known), 16)}
    vocab = attachment.canonical.numel()
    while len(ngrams) < ROWS:
        order = 3 + len(ngrams) % 6
        ngrams.add(tuple(torch.randint(vocab, (order,), generator=generator).tolist()))
    addresses = torch.tensor(sorted(attachment.hasher.address(ngram) for ngram in ngrams))
    values = torch.randn(ROWS, attachment.config.row_dim, generator=generator)
    rows = Rows(addresses, torch.arange(ROWS), as_stored(values, "int8"), tuple(range(3, 9)))
    layer = max(attachment.memories)
    binding = Binding.of(attachment)
    return UserTable._restore(attachment, f"owner-{owner}", layer, "int8", binding, rows, (), 0)


@torch.no_grad()
def check(bare: Any, patched: Any, ids: torch.Tensor, tables: list[UserTable]) -> None:
    """Stop unless the patched model computes what it should."""
    expected = bare(input_ids=ids, use_cache=False).logits
    seen = patched(input_ids=ids, use_cache=False).logits
    require(torch.equal(seen, expected), "with nothing active no bit of the logits changes")
    with use_tables(patched, [tables[0], *[None] * (len(ids) - 1)]):
        one = patched(input_ids=ids, use_cache=False).logits
    require(torch.equal(one[1:], expected[1:]), "samples without a table are the bare model's")
    require(not torch.equal(one[0], expected[0]), "a sample with a table reads it")
    with use_tables(patched, tables):
        whole = patched(input_ids=ids, use_cache=False).logits
        cache = DynamicCache()
        patched(input_ids=ids[:, :PROMPT], past_key_values=cache)
        found = [
            patched(input_ids=ids[:, n : n + 1], past_key_values=cache).logits
            for n in range(PROMPT, PROMPT + STEPS)
        ]
    require(
        bool((torch.cat(found, 1).argmax(-1) == whole[:, PROMPT:].argmax(-1)).float().mean() > 0.9)
        if whole.dtype != torch.float32
        else torch.allclose(torch.cat(found, 1), whole[:, PROMPT:], atol=2e-2, rtol=1e-2),
        "cached steps are those of the whole sequence",
    )


def section(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Running a patched model",
        "",
        "Time over the bare model's, median (min to max of the rounds); the bare model over itself"
        " shows the noise.",
        "",
    ]
    for run in runs:
        lines += [
            *markdown.heading(
                run,
                f"Texts of {run['prompt_tokens']} tokens, tables of {run['rows_per_table']} rows;"
                f" {markdown.provenance(run)}.",
            ),
        ]
        lines += markdown.table(
            ["", "batch", "bare, ms", *run["cases"][0]["ratio"]],
            [
                [
                    case["kind"],
                    case["batch"],
                    f"{case['bare_seconds']['median'] * 1e3:.1f}",
                    *map(_ratio, case["ratio"].values()),
                ]
                for case in run["cases"]
            ],
        )
    return lines


def _ratio(spread: dict[str, Any]) -> str:
    return f"{spread['median']:.3f} ({spread['min']:.3f} to {spread['max']:.3f})"

"""What memories cost a model that runs: nothing active, one table, many owners in one batch.

Every round times the bare model and the patched one (the same weights) piece by piece, in random
order; a round's ratio is that of the medians of its pieces, and the median over all rounds is
reported, beside that of the bare model over itself: the noise. What is claimed is checked first:
with nothing active and in samples that read nothing the logits are the bare model's bit for bit, a
row that is found changes them, and cached steps are those of the whole sequence computed anew.

    python benchmarks/overhead.py --device cpu
    python benchmarks/overhead.py --device cuda --compile
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
from common import environment, require, spread, timed, write_results
from transformers import DynamicCache, StaticCache

from engram_transformers import UserTable, add_engram, use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.binding import Binding
from engram_transformers.index import Rows
from engram_transformers.pretrained import load_pretrained
from engram_transformers.storage import as_stored

PROMPT = 128
STEPS = 32
ROWS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=None, help="folder or Hub id; default SmolLM2-135M")
    parser.add_argument("--label", default=None, help="the model's name in the results")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compile", action="store_true", help="compiled steps as well")
    options = parser.parse_args()

    device = torch.device(options.device)
    loaded, tokenizer = load_pretrained(options.model) if options.model else load_pretrained()
    bare = loaded.to(device=device, dtype=getattr(torch, options.dtype)).eval()
    # Another object with the same weights.
    weights = [*bare.parameters(), *bare.buffers()]
    patched = copy.deepcopy(bare, {id(weight): weight for weight in weights})
    add_engram(patched, tokenizer)

    cases: list[dict[str, Any]] = []
    for batch in options.batch:
        ids = random_ids(patched, batch, PROMPT + STEPS, options.seed)
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
            ratios, seconds = measure(bare, patched, prepare, tables, device, options)
            cases.append({"kind": kind, "batch": batch, "ratio": ratios, "bare_seconds": seconds})
            shown = ", ".join(f"{name} {value['median']:.4f}" for name, value in ratios.items())
            print(f"{kind}, batch {batch}: bare {seconds['median'] * 1e3:.2f} ms; {shown}")
    kept = {
        "script": "benchmarks/overhead.py",
        "model": options.label or options.model or "HuggingFaceTB/SmolLM2-135M-Instruct",
        "dtype": options.dtype,
        "prompt_tokens": PROMPT,
        "steps": STEPS,
        "rows_per_table": ROWS,
        "seed": options.seed,
        "environment": environment(device),
        "cases": cases,
    }
    write_results(f"overhead-{device.type}-{options.dtype}", kept)


def measure(
    bare: Any,
    patched: Any,
    prepare: Callable[[Any], list[Callable[[], None]]],
    tables: list[UserTable],
    device: torch.device,
    options: argparse.Namespace,
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
    order = random.Random(options.seed)
    medians: dict[str, list[float]] = {name: [] for name in states}
    for number in range(options.rounds + 1):
        pieces = {name: prepare(model) for name, (model, _) in states.items()}
        seconds: dict[str, list[float]] = {name: [] for name in states}
        for place in range(len(pieces["bare"])):
            names = list(states)
            order.shuffle(names)
            for name in names:
                active = states[name][1]
                with use_tables(patched, active) if active is not None else nullcontext():
                    seconds[name].append(timed(device, pieces[name][place])[0])
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


if __name__ == "__main__":
    main()

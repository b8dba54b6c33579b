"""Carrying out fuzzed plans: with the reader alone, and with a whole model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import tiny
import torch
import versions
from fuzz_plans import (
    Batch,
    CacheKind,
    Crop,
    Feed,
    Plan,
    Read,
    Reorder,
    Repeat,
    Select,
    Step,
    Style,
    expected,
    tell,
)
from fuzz_strategies import plans
from hypothesis import strategies as st
from tables import LAYERS, ROW_DIM, Reads, watching
from transformers import Cache, DynamicCache, LlamaConfig, MistralConfig, StaticCache

from engram_transformers import UserTable, add_engram, use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.binding import Binding
from engram_transformers.index import Rows

ROOM = 64
"""Tokens that a static cache holds."""
_SMALL = {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1}
_FULL = LlamaConfig(hidden_size=1, head_dim=1, **_SMALL)
_SLIDING = MistralConfig(hidden_size=1, head_dim=1, sliding_window=5, **_SMALL)


_FAMILIES: dict[CacheKind, str] = {"sliding": "mistral", "static sliding": "gemma3"}


class MismatchError(AssertionError):
    """The library and the slow reader do not agree."""


@dataclass
class Tally:
    """How much has been compared.

    Attributes:
        batches: Plans that were carried out.
        calls: Their forwards.
        positions: Positions of all forwards at all layers, padding included.
        rows: At how many of them the slow reader reads a row.
    """

    batches: int = 0
    calls: int = 0
    positions: int = 0
    rows: int = 0

    def compare(self, layer: int, wanted: list[list[Read]], seen: list[list[Read]]) -> None:
        """Compare one layer of one call.

        Raises:
            MismatchError: If they differ.
        """
        self.positions += sum(len(line) for line in wanted)
        self.rows += sum(read is not None for line in wanted for read in line)
        if wanted != seen:
            raise MismatchError(f"At layer {layer}, call {self.calls}: {wanted} but read {seen}")

    def __str__(self) -> str:
        return (
            f"{self.batches} batches, {self.calls} calls, {self.positions} positions,"
            f" {self.rows} rows read"
        )


def tables_of(model: Any, plan: Plan) -> list[UserTable]:
    """Return a plan's tables, whose rows begin with their owner's and their own number."""
    attachment = require_attachment(model)
    made = []
    for owner, owned in enumerate(plan.tables):
        entries = sorted((attachment.hasher.address(key), row) for key, row in owned.rows.items())
        values = torch.randn(6, attachment.config.row_dim)
        values[:, 0], values[:, 1] = owner, torch.arange(6)
        rows = Rows(
            torch.tensor([address for address, _ in entries], dtype=torch.int64),
            torch.tensor([row for _, row in entries], dtype=torch.int64),
            values,
            tuple(sorted({len(key) for key in owned.rows})),
        )
        binding = Binding.of(attachment)
        made.append(
            UserTable._restore(
                attachment, f"owner {owner}", owned.layer, "float32", binding, rows, (), 1
            )
        )
    return made


def _as_read(reads: Reads, batch: Batch, new: int) -> list[list[Read]]:
    """Return the owner and the number of each row that a memory read in one call."""
    if not reads.found:  # no table has rows there
        return [[None] * new for _ in batch.lines]
    named = reads.rows[0][..., :2].round().int().tolist()
    return [
        [tuple(name) if hit else None for name, hit in zip(names, hits, strict=True)]
        for names, hits in zip(named, reads.found[0].tolist(), strict=True)
    ]


def active(plan: Plan, tables: Sequence[UserTable], samples: Sequence[int] | None = None) -> Any:
    """Return what `use_tables` takes: for a plan's samples, or for rows of these samples."""
    if plan.samples is None:
        return tables[0]
    numbers = range(len(plan.samples)) if samples is None else samples
    return [[tables[owner] for owner in plan.samples[number]] for number in numbers]


@functools.cache
def patched_model(family: str, max_order: int) -> Any:
    """Return a patched tiny model. Nobody changes it: it is the same for every batch."""
    return add_engram(
        tiny.tiny_model(family),
        tiny.tiny_tokenizer(),
        layers=LAYERS,
        row_dim=ROW_DIM,
        max_order=max_order,
        gate_type="content" if family == "gpt2" else "fixed",
    )


def canonical() -> list[int]:
    """Return token id -> canonical id of the tiny tokenizer."""
    return require_attachment(patched_model("llama", 64)).canonical_list


def tokens() -> list[int]:
    """Return the few ids that texts are made of: five, and other spellings of two of them.

    Those of padding and of the id that padding is hashed as, 0, are among them.
    """
    spellings: dict[int, list[int]] = {}
    for token, meaning in enumerate(canonical()):
        spellings.setdefault(meaning, []).append(token)
    several = [ids for ids in spellings.values() if len(ids) > 1][:2]
    single = next(ids for ids in spellings.values() if len(ids) == 1 and ids[0] > 10)
    return [several[0][0], several[1][0], single[0], several[0][1], several[1][1], 0, 2]


def reader_plans(style: Style, cache: CacheKind) -> st.SearchStrategy[Plan]:
    """Return plans for `run_reader`."""
    options = {"tokens": tokens(), "canonical": canonical(), "layers": LAYERS}
    return plans(style, cache, max_orders=(1, 3, 8, 64), most_steps=6, **options)


def model_plans(style: Style, cache: CacheKind) -> st.SearchStrategy[Plan]:
    """Return plans for `run_model`."""
    options = {"tokens": tokens(), "canonical": canonical(), "layers": LAYERS}
    return plans(style, cache, max_orders=(64,), most_steps=4, **options)


def run_reader(plan: Plan, tally: Tally) -> None:
    """Carry out a plan with all hooks but without the model's own computation: no block runs.

    Args:
        plan: Of `reader_plans`.
        tally: To count in.

    Raises:
        MismatchError: If anything is read that should not, or not read that should.
    """
    model = patched_model("llama", plan.max_order)
    batch, cache = Batch.before(plan), _small_cache(plan.cache)
    tally.batches += 1
    with ExitStack() as stack:
        stack.enter_context(use_tables(model, active(plan, tables_of(model, plan))))
        for step in plan.steps:
            batch.apply(step)
            if not isinstance(step, Feed):
                _apply(cache, step)
                continue
            tally.calls += 1
            new = len(step.cells[0])
            told = tell(plan.style, batch.lines, new, _room(plan.cache))
            for layer, reads in _hooks_alone(model, {**told, "past_key_values": cache}).items():
                wanted = expected(plan, batch, canonical(), layer, new)
                tally.compare(layer, wanted, _as_read(reads, batch, new))
            if cache is not None:
                versions.fill(cache, len(batch.lines), 1, new, 1)


def _hooks_alone(model: Any, arguments: dict[str, Any]) -> dict[int, Reads]:
    """Run the hooks of one forward, without the forward; return what each memory read."""
    attachment = require_attachment(model)
    hidden_states = torch.ones(*arguments["input_ids"].shape, tiny.HIDDEN_SIZE)
    output: object = None  # as after an error
    attachment.before_model(model, (), arguments)
    try:
        with ExitStack() as stack:
            seen = {n: stack.enter_context(watching(model, n)) for n in attachment.memories}
            for layer in seen:
                attachment.before_block(attachment.block_list[layer], (hidden_states,), {})
        output = arguments
    finally:
        attachment.after_model(model, (), output)
    return seen


@torch.no_grad()
def run_model(plan: Plan, tally: Tally) -> None:
    """Carry out a plan with a whole model, and compare its logits with those without a cache.

    Args:
        plan: Of `model_plans`.
        tally: To count in.

    Raises:
        MismatchError: If anything is read that should not, or not read that should, or if logits of
            tokens that are no padding differ.
    """
    # Full attention comes with both kinds of positions and of gates.
    family = _FAMILIES.get(plan.cache, ("llama", "gpt2")[len(plan.steps) % 2])
    model = patched_model(family, plan.max_order)
    attachment = require_attachment(model)
    batch, cache = Batch.before(plan), _cache_for(model, plan.cache)
    tables = tables_of(model, plan)
    tally.batches += 1
    for step in plan.steps:
        batch.apply(step)
        if not isinstance(step, Feed):
            _apply(cache, step)
            continue
        tally.calls += 1
        new = len(step.cells[0])
        told = tell(plan.style, batch.lines, new, _room(plan.cache))
        with ExitStack() as stack:
            stack.enter_context(use_tables(model, active(plan, tables)))
            seen = {n: stack.enter_context(watching(model, n)) for n in attachment.memories}
            options = {"past_key_values": cache, "use_cache": cache is not None}
            logits = model(**told, **options).logits
        for layer, reads in seen.items():
            wanted = expected(plan, batch, canonical(), layer, new)
            tally.compare(layer, wanted, _as_read(reads, batch, new))
        if plan.style == "packed" or cache is None:  # with a cache, packed texts see each other
            continue
        whole = tell(plan.style, batch.lines, len(batch.lines[0]))
        with use_tables(model, active(plan, tables, batch.samples)):
            full = model(**whole, use_cache=False).logits[:, -new:]
        real = torch.tensor([[not cell.is_padding for cell in line] for line in step.cells])
        if not torch.allclose(logits[real], full[real], rtol=1e-3, atol=1e-3):
            raise MismatchError(f"Logits of call {tally.calls} differ.")


def _room(kind: CacheKind) -> int:
    return ROOM if "static" in kind else 0


def _small_cache(kind: CacheKind) -> Cache | None:
    """Return a cache of one layer and one number per token."""
    config = _SLIDING if "sliding" in kind else _FULL
    if "static" in kind:
        return StaticCache(config=config, max_cache_len=ROOM)
    return None if kind == "none" else DynamicCache(config=config)


def _cache_for(model: Any, kind: CacheKind) -> Cache | None:
    if "static" in kind:
        return StaticCache(config=model.config, max_cache_len=ROOM)
    return None if kind == "none" else DynamicCache(config=model.config)


def _apply(cache: Cache | None, step: Step) -> None:
    if cache is None:
        raise ValueError("Without a cache there is nothing between the calls.")
    if isinstance(step, Repeat):
        cache.batch_repeat_interleave(step.times)
    elif isinstance(step, Crop):
        cache.crop(-step.tokens)
    elif isinstance(step, Reorder):
        cache.reorder_cache(torch.tensor(step.rows))
    elif isinstance(step, Select):
        cache.batch_select_indices(torch.tensor(step.rows))

"""Writing facts: several tries, of which only what is answered whole is kept."""

from __future__ import annotations

import gc
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from engram_transformers.evaluation import ask
from engram_transformers.facts import Fact
from engram_transformers.optimise import Effort
from engram_transformers.sequences import Encoder
from engram_transformers.shortcut import runner_for
from engram_transformers.stepwise import find_by_steps
from engram_transformers.tail import Tail
from engram_transformers.token_rows import TokenRows, token_rows_of
from engram_transformers.whole import WholeModel
from engram_transformers.write_options import WriteOptions
from engram_transformers.writer import Writer, Written

if TYPE_CHECKING:
    from engram_transformers.table import UserTable

_EFFORTS = (
    Effort(),
    Effort(learning_rate=0.1, start=0.25, margin=4.0, steps=120),
    Effort(learning_rate=0.05, start=1.0, margin=4.0, steps=240),
)
"""One try each, for what rows in closed form do not answer: more steps, another start; from the
second on, the longest addresses and no row shared for stops."""
_LEAST_MARGIN = 1.0
"""By how many logits each token of an answer must lead, except at the last try."""


def write_facts(table: UserTable, facts: Sequence[Fact], options: WriteOptions) -> Written:
    """Compute what a table will be with facts written to it; the table itself is not changed.

    Args:
        table: The table.
        facts: The facts.
        options: How.

    Returns:
        The new state.

    Raises:
        LedgerMissingError: If the table has no ledger.
        FactError: If a fact can't be written as it is given; see its subclasses.
        ContradictionError: If two of the facts contradict each other.
    """
    (written,) = write_together([(table, facts)], options)
    return written


def write_together(
    parts: Sequence[tuple[UserTable, Sequence[Fact]]], options: WriteOptions
) -> list[Written]:
    """Compute what several tables of one model and layer will be; see `write_facts`.

    Args:
        parts: Tables of one kind of addressing, each with its facts. Those of exact addresses are
            all asked in the same batches.
        options: How.
    """
    started = time.perf_counter()
    attachment, layer = parts[0][0].attachment, parts[0][0].layer
    if parts[0][0].binding.lora is not None:
        parts = [(table, _recallable(table, facts)) for table, facts in parts]
    if parts[0][0].addressing == "bucket":
        from engram_transformers.buckets.writing import write_buckets

        return [write_buckets(table, facts, options) for table, facts in parts]
    with _without_collecting():
        writers = _begin(parts, options)
    count = sum(len(writer.pending) for writer in writers)
    disable = None if options.progress is None else not options.progress
    bar: Any = tqdm(total=count, unit="fact", desc="writing", delay=2, disable=disable)
    # Whatever the caller has switched off, rows are found with gradients.
    with torch.inference_mode(False), torch.enable_grad(), bar, attachment.evaluating():
        runner = runner_for(attachment, layer)
        token_rows = token_rows_of(attachment, layer, runner)
        asking = 0.0
        if token_rows.reliable:
            asking += _write_directly(writers, token_rows)
            going_on = [writer for writer in writers if writer.begin_with_ends()]
            if going_on:
                asking += _write_directly(going_on, token_rows)
        for number, effort in enumerate(_EFFORTS):
            waiting = [writer for writer in writers if writer.waiting]
            if waiting:
                bar.n = count - sum(len(writer.waiting) for writer in waiting)
                asking += _write_by_steps(waiting, runner, number, effort, bar)
        bar.n = count - sum(len(writer.waiting) for writer in writers)
    spent = time.perf_counter() - started - asking
    shares = [len(writer.pending) / count for writer in writers]
    with _without_collecting():
        return [w.finish(spent * s, asking * s) for w, s in zip(writers, shares, strict=True)]


def _recallable(table: UserTable, facts: Sequence[Fact]) -> list[Fact]:
    """Give facts the triggers that the skill recites, beside their own."""
    from engram_transformers.skill.statements import with_recall_keys

    asked = {prompt for fact in facts for prompt in fact.prompts}
    kept = [one.fact for one in table.entries or () if asked.isdisjoint(one.fact.prompts)]
    return with_recall_keys(facts, kept)


@contextmanager
def _without_collecting() -> Generator[None]:
    """Do not look for cyclic garbage meanwhile.

    Plans are many small objects, none of them garbage: going through them again and again is lost
    time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _begin(
    parts: Sequence[tuple[UserTable, Sequence[Fact]]], options: WriteOptions
) -> list[Writer]:
    """Take all facts in, and plan the first try."""
    attachment = parts[0][0].attachment
    encoder = Encoder(attachment.tokenizer)
    asked = ((fact, options.stop) for _, facts in parts for fact in facts)
    encoder.preload(asked, attachment.canonical_list)
    writers = [Writer(table, options, encoder) for table, _ in parts]
    for writer, (_, facts) in zip(writers, parts, strict=True):
        writer.begin(facts)
    return writers


def _write_directly(writers: Sequence[Writer], token_rows: TokenRows) -> float:
    """Write all facts with rows in closed form; return the seconds of asking."""
    # All at once, so that each writer finds its tokens' rows there.
    targets = {target for writer in writers for target in writer.attempt.plan.targets}
    token_rows.rows(sorted(targets), writers[0].table.dtype)
    for writer in writers:
        writer.attempt.find_directly(token_rows)
    return _ask(writers, _LEAST_MARGIN)


def _write_by_steps(
    writers: Sequence[Writer], runner: Tail | WholeModel, number: int, effort: Effort, bar: Any
) -> float:
    """Optimise rows for what is not answered yet; return the seconds of asking."""
    done = bar.n
    left_at_first = sum(len(writer.waiting) for writer in writers)

    def show(step: int, left: int) -> None:
        bar.set_postfix_str(f"step {step}", refresh=False)
        bar.n = max(done, done + left_at_first - left)
        bar.refresh()

    for writer in writers:
        writer.begin_again(harder=number > 0)
    attempts = [writer.attempt for writer in writers]
    steps = find_by_steps(attempts, runner, writers[0].table.dtype, effort, show)
    for writer in writers:
        writer.steps += steps
    return _ask(writers, 0.0 if number == len(_EFFORTS) - 1 else _LEAST_MARGIN)


def _ask(writers: Sequence[Writer], least_margin: float) -> float:
    """Ask what was tried, of all tables in the same batches; return the seconds it took."""
    questions = [question for writer in writers for question in writer.attempt.questions]
    tables = [writer.attempt.table for writer in writers for _ in writer.attempt.questions]
    started = time.perf_counter()
    model = writers[0].attachment.model
    said = iter(ask(model, tables[0] if len(writers) == 1 else tables, questions))
    seconds = time.perf_counter() - started
    for writer in writers:
        writer.take([next(said) for _ in writer.attempt.questions], least_margin)
    return seconds

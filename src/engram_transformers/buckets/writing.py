"""Writing facts by replacing the rows that a memory reads at their answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from engram_transformers.active import is_disabled
from engram_transformers.buckets.errors import BucketReadError
from engram_transformers.buckets.optimise import BucketEffort
from engram_transformers.buckets.writer import BucketWriter
from engram_transformers.errors import ConfigError
from engram_transformers.facts import Fact
from engram_transformers.sequences import Encoder
from engram_transformers.write_options import WriteOptions
from engram_transformers.writer import Written

if TYPE_CHECKING:
    from engram_transformers.table import UserTable

_EFFORTS = (
    BucketEffort(learning_rate=1.0, margin=3.0, steps=60),
    BucketEffort(learning_rate=0.3, margin=4.0, steps=150),
    BucketEffort(learning_rate=3.0, margin=4.0, steps=150),
)
_LEAST_MARGIN = 1.0
"""By how many logits each token of an answer must lead, except at the last try."""


def write_buckets(table: UserTable, facts: Sequence[Fact], options: WriteOptions) -> Written:
    """Compute what a table of buckets will be with facts written to it; see `write_facts`.

    Args:
        table: The table, bound to the model as it is.
        facts: The facts.
        options: How.

    Returns:
        The new state.

    Raises:
        BucketReadError: If the memory is switched off here.
        ConfigError: If an option has to do with exact addresses.
        LedgerMissingError: If the table has no ledger.
        FactError: If a fact can't be written as it is given; see its subclasses.
    """
    started = time.perf_counter()
    _require_options(options)
    attachment = table.attachment
    if is_disabled(attachment):
        advice = "Write outside of that block."
        raise BucketReadError(table.layer, "which engram_disabled has switched off here", advice)
    encoder = Encoder(attachment.tokenizer)
    encoder.preload(((fact, options.stop) for fact in facts), attachment.canonical_list)
    writer = BucketWriter(table, options, encoder)
    writer.take_in(facts)
    disable = None if options.progress is None else not options.progress
    count = len(writer.pending)
    bar: Any = tqdm(total=count, unit="fact", desc="writing", delay=2, disable=disable)
    with torch.inference_mode(False), torch.enable_grad(), bar, attachment.evaluating():
        for number, effort in enumerate(_EFFORTS):
            if writer.waiting:
                margin = 0.0 if number == len(_EFFORTS) - 1 else _LEAST_MARGIN
                writer.attempt_again(number, effort, margin, bar)
            bar.n = count - len(writer.waiting)
            bar.refresh()
    spent = time.perf_counter() - started
    return writer.written(spent - writer.asking, writer.asking)


def _require_options(options: WriteOptions) -> None:
    """Refuse what only exact addresses can follow."""
    defaults = WriteOptions()
    for name in ("min_order", "context", "guard"):
        value = getattr(options, name)
        if value != getattr(defaults, name):
            expected = 'left out with addressing="bucket": the memory\'s own hash decides'
            raise ConfigError(name, value, expected)

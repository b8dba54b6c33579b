"""The contract, promise by promise, for one class of models.

Where transformers itself breaks a promise without us (cached decoding that differs from
recomputation, say), ours can't be kept either: the promise then ends in a note that says so.
"""

from __future__ import annotations

import copy
import functools
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import torch
from architecture_runs import (
    cached_or_not,
    difference,
    generate,
    logits_of,
    saved_keys,
    steps_differ,
    traces_of,
)
from architecture_subject import FACT, OTHER_TEXT, PROMPTS, TEXT, Subject
from banked import BANK, fill_banks
from reference import added, expected_reads
from tables import frequent_ngrams, make_table
from torch import Tensor

from engram_transformers import (
    UserTable,
    add_engram,
    engram_disabled,
    remove_engram,
    use_tables,
)
from engram_transformers.architectures import find_blocks, hidden_size_of
from engram_transformers.attachment import require_attachment

# Writing, first: on a model that has never run


def a_written_fact_is_answered(subject: Subject) -> None:
    """A fact is written, answered by generation, saved and loaded bit for bit, and erased."""
    model, (prompt, answer) = subject.model, FACT
    table = UserTable(model, owner="ann")
    report = table.write([FACT], progress=False)
    assert not report.failed, f"not written: {report.failed}"
    ids = subject.encode(prompt)
    start, count = ids.shape[1], len(subject.tokenizer(answer)["input_ids"]) + 4
    said = generate(model, table, ids, max_new_tokens=count)
    text = subject.tokenizer.decode(said.sequences[0, start:])
    assert text.strip().startswith(answer), f"said {text!r}"
    with tempfile.TemporaryDirectory() as folder:
        table.save_pretrained(folder)
        loaded = UserTable.from_pretrained(folder, model)
    for name in ("addresses", "row_index", "values"):
        assert torch.equal(getattr(loaded.rows, name), getattr(table.rows, name)), name
    again = generate(model, loaded, ids, max_new_tokens=count)
    assert torch.equal(again.sequences, said.sequences)
    table.erase(all=True)
    with use_tables(model, table):
        assert torch.equal(logits_of(model, ids), logits_of(subject.base, ids))


# What holds bit for bit


def nothing_written_changes_nothing(subject: Subject) -> None:
    """With nothing written, logits are those of the base, bit for bit."""
    for text in (TEXT, OTHER_TEXT):
        ids = subject.encode(text)
        assert torch.equal(logits_of(subject.model, ids), logits_of(subject.base, ids))


def other_text_is_untouched(subject: Subject) -> None:
    """With tables active, text without an address gives the base's logits, bit for bit."""
    ids, trigger = subject.encode(OTHER_TEXT), subject.encode(PROMPTS[0])
    for layer in subject.layers:
        made = subject.at_trigger(layer)
        with use_tables(subject.model, made.table):
            assert torch.equal(logits_of(subject.model, ids), logits_of(subject.base, ids))
            fired = logits_of(subject.model, trigger)
        assert not torch.equal(fired, logits_of(subject.base, trigger)), f"layer {layer} is asleep"


def rows_change_what_follows_only(subject: Subject) -> None:
    """A row changes logits from its position on, in its own sample only, bit for bit."""
    batch = subject.encode(TEXT).repeat(2, 1)
    hit = subject.encode(PROMPTS[0]).shape[1] - 1
    base = logits_of(subject.base, batch)
    changed = batch.clone()
    changed[1, hit] = 7

    def other_sample(seen: Tensor) -> str:
        return "" if torch.equal(seen[0], base[0]) else "another sample changes"

    def earlier(seen: Tensor) -> str:
        return "" if torch.equal(seen[1, :hit], base[1, :hit]) else "earlier positions change"

    for layer in subject.layers:
        made = subject.at_trigger(layer)
        with use_tables(subject.model, [None, made.table]):
            seen = logits_of(subject.model, batch)
        assert not torch.equal(seen[1, hit], base[1, hit]), f"layer {layer}: nothing at the row"
        for what, compare in (("independence of samples", other_sample), ("causality", earlier)):
            subject.same_or_noted(
                what,
                functools.partial(compare, seen),
                lambda compare=compare: compare(logits_of(subject.base, changed)),
            )


def logits_are_those_of_the_reference(subject: Subject) -> None:
    """Where blocks take one vector per token, rows are read and added as a plain reader says."""
    ids = subject.encode(OTHER_TEXT)
    shape = (*ids.shape, hidden_size_of(subject.base))
    config = require_attachment(subject.model).config
    for layer in subject.layers:
        made = make_table(
            subject.model, frequent_ngrams(subject.model), distinct_rows=16, layer=layer
        )
        found, rows = expected_reads(subject.model, ids, None, [[made]])
        assert bool(found.any())
        plain: list[bool] = []

        def add(
            module: Any,
            args: Any,
            kwargs: Any,
            found: Tensor = found,
            rows: Tensor = rows,
            plain: list[bool] = plain,
        ) -> Any:
            hidden = args[0] if args else kwargs["hidden_states"]
            plain.append(tuple(hidden.shape) == shape)
            if not plain[-1]:
                return None
            moved = torch.where(found.unsqueeze(-1), hidden + added(config, hidden, rows), hidden)
            return (
                ((moved, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": moved})
            )

        by_hand = copy.deepcopy(subject.base)
        find_blocks(by_hand)[1][layer].register_forward_pre_hook(add, with_kwargs=True)
        expected = logits_of(by_hand, ids)
        if plain != [True]:
            return
        with use_tables(subject.model, made.table):
            off = difference(logits_of(subject.model, ids), expected)
        assert not off, f"layer {layer}: {off}"


# Decoding


def rows_change_what_is_said(subject: Subject) -> None:
    """Generation with tables says something else than without."""
    ids = subject.encode(PROMPTS[0])
    said = generate(subject.model, subject.frequent().table, ids, use_cache=False)
    plain = generate(subject.base, None, ids, use_cache=False)
    start = ids.shape[1]
    assert steps_differ(said, 0, plain, 0, start, start)


def cached_generation_is_recomputation(subject: Subject) -> None:
    """Greedy generation with tables says the same with and without a cache."""
    _require_recomputation(subject, "cached generation")


def beams_say_the_same_without_a_cache(subject: Subject) -> None:
    """Three beams with tables say the same with and without a cache."""
    _require_recomputation(subject, "beam search with a cache", num_beams=3)


def _require_recomputation(subject: Subject, what: str, **options: Any) -> None:
    table = subject.frequent().table

    def ours() -> str:
        return cached_or_not(subject.model, table, subject.encode(PROMPTS[0]), **options)

    def bare() -> str:
        # One prompt may agree by luck where nothing guarantees it.
        prompts = map(subject.encode, (*PROMPTS, OTHER_TEXT))
        found = (cached_or_not(subject.base, None, prompt, **options) for prompt in prompts)
        return next(filter(None, found), "")

    subject.same_or_noted(what, ours, bare)


def padded_batches_say_what_each_says_alone(subject: Subject) -> None:
    """In a left-padded batch, each sample reads its own table and says what it says alone."""
    tables = [subject.frequent(0).table, None, subject.frequent(1).table]
    subject.same_or_noted(
        "left padding",
        lambda: _padded_or_alone(subject, subject.model, tables),
        lambda: _padded_or_alone(subject, subject.base, None),
    )


def _padded_or_alone(subject: Subject, model: Any, tables: Any) -> str:
    """Say how a left-padded batch differs from its samples alone; empty if it doesn't."""
    batch = subject.tokenizer(list(PROMPTS), return_tensors="pt", padding=True, padding_side="left")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    together = generate(model, tables, ids, attention_mask=mask)
    for sample, text in enumerate(PROMPTS):
        own = subject.encode(text)
        own_tables = None if tables is None else [tables[sample]]
        alone = generate(model, own_tables, own)
        found = steps_differ(together, sample, alone, 0, ids.shape[1], own.shape[1])
        if found:
            return found
    return ""


# Banks


def banks_decode_as_they_recompute(subject: Subject) -> None:
    """A new bank changes nothing; a trained one says the same with and without a cache."""
    ids = subject.encode(PROMPTS[0])
    base, model = subject.base, copy.deepcopy(subject.base)
    add_engram(model, subject.tokenizer, layers=[0, -1], **BANK)
    assert torch.equal(logits_of(model, ids), logits_of(base, ids))
    fill_banks(model)
    assert not torch.equal(logits_of(model, ids), logits_of(base, ids))
    subject.same_or_noted(
        "cached generation",
        lambda: cached_or_not(model, None, ids),
        lambda: cached_or_not(base, None, ids),
    )
    with engram_disabled(model):
        assert torch.equal(logits_of(model, ids), logits_of(base, ids))


# Copies, files and traces


def saving_the_model_saves_the_base(subject: Subject) -> None:
    """`save_pretrained` of a patched model writes the base's weights only."""
    assert saved_keys(subject.model) == saved_keys(subject.base)


def copies_are_whole_and_their_own(subject: Subject) -> None:
    """A deep copy reads the same rows, and loses its memories alone."""
    ids = subject.encode(PROMPTS[0])
    made = subject.at_trigger(subject.layers[0])
    twin = copy.deepcopy(subject.model)
    with use_tables(subject.model, made.table), use_tables(twin, made.table):
        expected = logits_of(subject.model, ids)
        assert torch.equal(logits_of(twin, ids), expected)
        remove_engram(twin)
        assert torch.equal(logits_of(twin, ids), logits_of(subject.base, ids))
        assert torch.equal(logits_of(subject.model, ids), expected)


def removing_leaves_nothing_behind(subject: Subject) -> None:
    """After `remove_engram` the model is as it was, to the last hook, key and bit."""
    ids = subject.encode(TEXT)
    model = subject.model
    assert traces_of(model) != traces_of(subject.base)
    remove_engram(model)
    assert traces_of(model) == traces_of(subject.base)
    weights = subject.base.state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert torch.equal(logits_of(model, ids), logits_of(subject.base, ids))


PROMISES: Sequence[Callable[[Subject], None]] = (
    a_written_fact_is_answered,
    nothing_written_changes_nothing,
    other_text_is_untouched,
    rows_change_what_follows_only,
    logits_are_those_of_the_reference,
    rows_change_what_is_said,
    cached_generation_is_recomputation,
    beams_say_the_same_without_a_cache,
    padded_batches_say_what_each_says_alone,
    banks_decode_as_they_recompute,
    saving_the_model_saves_the_base,
    copies_are_whole_and_their_own,
    removing_leaves_nothing_behind,  # last: it takes the memories off
)

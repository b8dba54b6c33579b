"""Tables that replace a bank's own rows: read as if the bank had them, for their owner alone."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from functools import partial
from typing import Any

import pytest
import tiny
import torch
from banked import with_banks
from bucketed import edited, make_buckets
from decoding import PROMPTS, generate, padded
from patched import at_trigger
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.testing import assert_close

from engram_transformers import (
    UserTable,
    add_engram,
    engram_disabled,
    explain,
    load_engram,
    offload_banks,
    save_engram,
    use_tables,
)
from engram_transformers.attachment import require_attachment
from engram_transformers.buckets.bank_rows import BankRows
from engram_transformers.buckets.errors import (
    BucketExplanationError,
    BucketNumberError,
    NoBucketsError,
)
from engram_transformers.compiled import read_buckets
from engram_transformers.errors import (
    ConfigError,
    HistoryError,
    TableCountError,
    TableMismatchError,
)
from engram_transformers.table import _subset


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return with_banks(tiny_llama, tokenizer)


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return torch.tensor([tokenizer(PROMPTS[1])["input_ids"]])


@torch.no_grad()
def logits_of(model: Any, ids: torch.Tensor, tables: Any = None, **given: Any) -> torch.Tensor:
    with use_tables(model, tables):
        return model(ids, **given).logits


# What is read


@pytest.mark.parametrize("layer", [1, 3])
def test_a_table_is_read_as_if_the_bank_had_its_rows(llama, ids, layer):
    table = make_buckets(llama, layer=layer)
    expected = logits_of(edited(llama, table), ids)
    assert torch.equal(logits_of(llama, ids, table), expected)
    assert not torch.allclose(expected, logits_of(llama, ids), atol=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_where_nothing_is_written_no_bit_changes(llama, tokenizer, ids, dtype):
    model = llama.to(dtype)
    base, said = logits_of(model, ids), generate(model, ids)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    empty = UserTable(model, "ann", addressing="bucket")
    full = make_buckets(model, share=1.0)
    for tables in (empty, [None], [[empty]]):
        assert torch.equal(logits_of(model, ids, tables), base)
        with use_tables(model, tables):
            assert torch.equal(generate(model, ids), said)
    with use_tables(model, full):
        assert not torch.equal(model(ids).logits, base)
        with engram_disabled(model):
            bare = model(ids).logits
    assert torch.equal(logits_of(model, ids), base)
    with engram_disabled(model):
        assert torch.equal(logits_of(model, ids), bare)
    assert all(torch.equal(weights[name], weight) for name, weight in model.state_dict().items())


def test_texts_that_read_none_of_its_rows_keep_every_bit(llama, ids):
    read = BankRows(require_attachment(llama), 1).rows_read(ids)[0]
    before, table = read[:6].flatten(), make_buckets(llama, share=1.0)
    table._replace(_subset(table.rows, ~torch.isin(table.rows.addresses, before)), None)
    first = int((~torch.isin(read, before)).any(-1).nonzero()[0])
    assert first == 6
    base, found = logits_of(llama, ids), logits_of(llama, ids, table)
    assert torch.equal(found[:, :first], base[:, :first])
    assert not torch.allclose(found[:, first], base[:, first], atol=1e-3)


def test_each_sample_of_a_batch_reads_its_own(llama, tokenizer):
    ann, bob = make_buckets(llama), make_buckets(llama, seed=2, owner="bob")
    ids = torch.tensor([tokenizer(PROMPTS[1])["input_ids"]] * 4)
    found = logits_of(llama, ids, [ann, None, bob, [bob, ann]])
    models = [edited(llama, ann), llama, edited(llama, bob), edited(edited(llama, ann), bob)]
    for sample, model in enumerate(models):
        assert torch.equal(found[sample], logits_of(model, ids)[sample])
    with pytest.raises(TableCountError):
        logits_of(llama, ids, [ann, bob, None])


def test_the_strongest_table_of_a_sample_wins(llama, ids):
    ann, bob = make_buckets(llama), make_buckets(llama, seed=2, owner="bob")
    assert torch.equal(
        logits_of(llama, ids, [[ann, bob]]), logits_of(edited(edited(llama, bob), ann), ids)
    )
    assert not torch.equal(logits_of(llama, ids, [[ann, bob]]), logits_of(llama, ids, [[bob, ann]]))


def test_exact_tables_lie_over_replaced_rows_in_one_sample(llama, ids):
    bucket, exact = make_buckets(llama), at_trigger(llama, ids).table
    with torch.no_grad():
        expected_model = edited(llama, bucket)
    over = at_trigger(expected_model, ids).table  # the same rows, bound to the edited bank
    expected = logits_of(expected_model, ids, over)
    for order in ([bucket, exact], [exact, bucket]):
        assert torch.equal(logits_of(llama, ids, [order]), expected)
    assert not torch.allclose(expected, logits_of(llama, ids, bucket), atol=0.1)


def test_left_padding_reads_as_each_text_does_alone(llama, tokenizer):
    table = make_buckets(llama)
    batch = padded(tokenizer, "left")
    found = logits_of(llama, batch.input_ids, table, attention_mask=batch.attention_mask)
    for sample, text in enumerate(PROMPTS):
        alone = logits_of(llama, torch.tensor([tokenizer(text)["input_ids"]]), table)
        real = batch.attention_mask[sample] == 1
        assert_close(found[sample][real], alone[0], rtol=1e-4, atol=1e-4)


# Ways of running


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}])
def test_cached_decoding_says_what_recomputation_says(llama, ids, options):
    table = make_buckets(llama)
    with use_tables(llama, table):
        cached = generate(llama, ids, **options)
    plain = {k: v for k, v in options.items() if k != "cache_implementation"}
    expected = generate(edited(llama, table), ids, use_cache=False, **plain)
    assert torch.equal(cached, expected)
    assert not torch.equal(cached, generate(llama, ids, **options))


def test_beams_keep_the_table_of_their_sample(llama, tokenizer):
    ann, bob = make_buckets(llama), make_buckets(llama, seed=2, owner="bob")
    ids = torch.tensor([tokenizer(PROMPTS[1])["input_ids"]] * 2)
    with use_tables(llama, [ann, bob]):
        both = generate(llama, ids, num_beams=2)
    for sample, table in enumerate((ann, bob)):
        expected = generate(edited(llama, table), ids[:1], num_beams=2)
        assert torch.equal(both[sample], expected[0])


@pytest.mark.parametrize("place", ["host", "disk"])
def test_offloaded_banks_are_read_alike(llama, tokenizer, ids, tmp_path, place):
    table = make_buckets(llama)
    expected = logits_of(llama, ids, table)
    with use_tables(llama, table):
        said = generate(llama, ids)
    if place == "disk":
        save_engram(llama, tmp_path)
        model = load_engram(tiny.tiny_model("llama"), tmp_path, tokenizer, offload="disk")
        table.bind(model)
    else:
        model = offload_banks(llama)
    assert torch.equal(logits_of(model, ids, table), expected)
    with use_tables(model, table):
        assert torch.equal(generate(model, ids), said)


def test_compiled_code_reads_the_same_and_compiles_once(llama, ids):
    ann, bob = make_buckets(llama), make_buckets(llama, seed=2, owner="bob")
    expected = [logits_of(llama, ids, table) for table in (ann, bob, None)]
    torch.compiler.reset()
    compiled = torch.compile(llama, backend="eager", fullgraph=True)
    with torch.no_grad():
        for table, wanted in zip((ann, bob, None), expected, strict=True):
            with use_tables(llama, table):
                assert_close(compiled(ids, use_cache=False).logits, wanted)


def test_compiled_reading_is_refused_within_a_backward_pass(llama, ids):
    """There the tables of the forward may not be active any more, nor on a GPU in that thread."""
    table, numbers = make_buckets(llama), torch.zeros(*ids.shape, 4, dtype=torch.int64)
    arguments = (ids, numbers, require_attachment(llama).number, 1, 4, 1, "")
    for tables in (table, None):
        leaf = torch.zeros(1, requires_grad=True)
        leaf.register_hook(lambda _: read_buckets(*arguments)[0].sum())
        with (
            use_tables(llama, tables),
            pytest.raises(HistoryError, match="without torch"),
        ):
            leaf.backward()


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
@pytest.mark.filterwarnings("ignore:Please specify CheckpointImpl:FutureWarning")
@pytest.mark.parametrize("checkpointing", ["transformers", *CheckpointImpl])
def test_gradients_flow_through_checkpointed_blocks(llama, ids, checkpointing):
    table = make_buckets(llama)
    gradients = []
    for checkpoints in (False, True):
        model = copy.deepcopy(llama).train()
        own = copy.copy(table).bind(model)
        if checkpoints:
            checkpoint_blocks(model, checkpointing)
        with use_tables(model, own):
            loss = model(ids, labels=ids, use_cache=False).loss
        loss.backward()
        gradients.append(model.model.embed_tokens.weight.grad)
    assert_close(*gradients)
    model = edited(llama, table).train()
    model(ids, labels=ids, use_cache=False).loss.backward()
    assert_close(gradients[0], model.model.embed_tokens.weight.grad)


def checkpoint_blocks(model: Any, how: Any) -> None:
    if how == "transformers":
        model.gradient_checkpointing_enable()
        return
    blocks = tuple(require_attachment(model).block_list)
    apply_activation_checkpointing(
        model,
        checkpoint_wrapper_fn=partial(checkpoint_wrapper, checkpoint_impl=how),
        check_fn=lambda part: part in blocks,
    )


def test_replaced_rows_are_not_trained(llama, ids):
    table = make_buckets(llama, share=1.0)
    bank = require_attachment(llama).banks[1].requires_grad_()
    with use_tables(llama, table):
        llama(ids, labels=ids).loss.backward()
    gradient = bank.table.weight.grad
    assert gradient is None or not gradient.to_dense().any()
    assert bank.value_projection.weight.grad.any()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_of_a_model_read_tables_of_their_own(llama, ids, copied):
    table = make_buckets(llama)
    expected, base = logits_of(llama, ids, table), logits_of(llama, ids)
    other = copied(llama)
    with use_tables(llama, table):
        assert torch.equal(logits_of(other, ids), base)
    moved = pickle.loads(pickle.dumps(table)).bind(other)
    assert torch.equal(logits_of(other, ids, moved), expected)
    assert torch.equal(logits_of(llama, ids), base)


# What is refused


def test_models_without_trained_rows_are_refused_by_name(tiny_llama, tokenizer):
    model = add_engram(tiny_llama, tokenizer)
    with pytest.raises(NoBucketsError, match="has no bank, and no n-gram memory of its own"):
        UserTable(model, "ann", addressing="bucket")
    silent = add_engram(tiny.tiny_model("llama"), tokenizer, memory_size=1000)
    with pytest.raises(NoBucketsError, match="the bank of decoder block 3 adds nothing yet"):
        UserTable(silent, "ann", addressing="bucket")
    assert issubclass(NoBucketsError, LookupError)


def test_other_bad_input_is_refused_by_name(llama, ids, tokenizer):
    with pytest.raises(ConfigError, match="`addressing` is 'hash', but must be one of"):
        UserTable(llama, "ann", addressing="hash")  # pyright: ignore[reportArgumentType]
    with pytest.raises(NoBucketsError, match=r"decoder block 2 has none, .* are \[1, 3\]"):
        UserTable(llama, "ann", addressing="bucket", layer=2)
    assert UserTable(llama, "ann", addressing="bucket", layer=-3).layer == 1
    assert UserTable(llama, "ann", addressing="bucket").layer == 3
    buckets = make_buckets(llama).buckets
    assert buckets is not None
    for row in (-1, buckets.rows):
        with pytest.raises(BucketNumberError, match=f"There is no row {row}: the memory has"):
            buckets.bucket(row)
    assert buckets.bucket(buckets.rows - 1).bucket == buckets.sizes[-1] - 1
    assert issubclass(BucketNumberError, IndexError)
    with pytest.raises(BucketExplanationError, match="explain shows exact addresses only"):
        explain(llama, PROMPTS[0], make_buckets(llama))


def test_a_table_belongs_to_the_bank_it_was_written_for(llama, tokenizer, ids):
    table = make_buckets(llama)
    bank = require_attachment(llama).banks[3]
    with torch.no_grad():
        bank.table.weight[5, 0] += 1
    with pytest.raises(TableMismatchError, match="it was written over banks with weights"):
        use_tables(llama, table).__enter__()
    plain = add_engram(tiny.tiny_model("llama"), tokenizer, layers=[1, 3], row_dim=16)
    with pytest.raises(TableMismatchError, match="hashed rows at layer 1, this model has none"):
        use_tables(plain, table).__enter__()
    wider = with_banks(tiny.tiny_model("llama"), tokenizer, bank_dim=32)
    with pytest.raises(TableMismatchError, match="width of the rows it replaces is 4"):
        use_tables(wider, table).__enter__()
    hashed_otherwise = make_buckets(wider)
    buckets = BankRows(require_attachment(wider), 3).layout
    binding = dataclasses.replace(hashed_otherwise.binding, buckets=buckets)
    hashed_otherwise._binding = binding
    with pytest.raises(TableMismatchError, match="the digest of the rows it replaces"):
        use_tables(wider, hashed_otherwise).__enter__()

"""Tables that replace rows of the n-gram memory that a model's own class brings."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
import zoo
from banked import fill_banks
from bucketed import edited, make_buckets
from decoding import PROMPTS, generate, padded
from patched import at_trigger
from peft import LoraConfig, get_peft_model
from torch.testing import assert_close

from engram_transformers import (
    UserTable,
    add_engram,
    engram_disabled,
    remove_engram,
    use_tables,
)
from engram_transformers.attachment import require_attachment
from engram_transformers.buckets.errors import BucketReadError, NoBucketsError
from engram_transformers.buckets.hashed_rows import hashed_rows_of
from engram_transformers.errors import (
    CacheHistoryError,
    DamagedPatchError,
    HistoryError,
    TableMismatchError,
)

NAME = "Qwen4ExpForCausalLM"
pytestmark = pytest.mark.skipif(NAME not in zoo.species(), reason="transformers has no such class")
FACTS = [("Where do I live?", "Rex"), ("My number is", "27")]
QUICK: Any = {"stop": None, "contexts": 0}


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


def built(seed: int = 0) -> Any:
    """Return a fresh model whose memory's convolution is not zero, as a new one's is."""
    model: Any = zoo.species()[NAME].build(seed)
    assert model.model.layers[0].ple.conv1d.weight.any()
    return model


@pytest.fixture
def qwen(tokenizer):
    return add_engram(built(), tokenizer)


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return torch.tensor([tokenizer(PROMPTS[1])["input_ids"]])


@torch.no_grad()
def logits_of(model: Any, ids: torch.Tensor, tables: Any = None, **given: Any) -> torch.Tensor:
    with use_tables(model, tables):
        return model(ids, **given).logits


def test_a_table_is_read_as_if_the_model_had_its_rows(qwen, ids):
    table = make_buckets(qwen, layer=0)
    expected = logits_of(edited(qwen, table), ids)
    assert torch.equal(logits_of(qwen, ids, table), expected)
    assert not torch.allclose(expected, logits_of(qwen, ids), atol=0.1)


def test_where_nothing_is_written_no_bit_changes(tokenizer, ids):
    model = built()
    base, said = logits_of_bare(model, ids), generate(model, ids)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    add_engram(model, tokenizer)
    table = make_buckets(model, share=1.0, layer=0)
    for tables in (None, UserTable(model, "ann", addressing="bucket"), [None]):
        assert torch.equal(logits_of(model, ids, tables), base)
        with use_tables(model, tables):
            assert torch.equal(generate(model, ids), said)
    with use_tables(model, table):
        assert not torch.equal(logits_of_bare(model, ids), base)
        with engram_disabled(model):
            assert torch.equal(logits_of_bare(model, ids), base)
    state = model.state_dict()
    assert all(torch.equal(state[name], weight) for name, weight in weights.items())
    remove_engram(model)
    assert torch.equal(logits_of_bare(model, ids), base)
    assert not any(module._forward_hooks for module in model.modules())


@torch.no_grad()
def logits_of_bare(model: Any, ids: torch.Tensor) -> torch.Tensor:
    return model(ids).logits


def test_each_sample_of_a_batch_reads_its_own(qwen, tokenizer):
    ann, bob = make_buckets(qwen, layer=0), make_buckets(qwen, layer=0, seed=2, owner="bob")
    ids = torch.tensor([tokenizer(PROMPTS[1])["input_ids"]] * 4)
    found = logits_of(qwen, ids, [ann, None, bob, [bob, ann]])
    models = [edited(qwen, ann), qwen, edited(qwen, bob), edited(edited(qwen, ann), bob)]
    for sample, model in enumerate(models):
        assert_close(found[sample], logits_of(model, ids)[sample], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[0], found[2], atol=0.1)


def test_left_padding_reads_as_each_text_does_alone(qwen, tokenizer):
    table = make_buckets(qwen, layer=0)
    batch = padded(tokenizer, "left")
    found = logits_of(qwen, batch.input_ids, table, attention_mask=batch.attention_mask)
    expected = edited(qwen, table)(batch.input_ids, attention_mask=batch.attention_mask).logits
    assert torch.equal(found, expected)
    for sample, text in enumerate(PROMPTS):
        alone = logits_of(qwen, torch.tensor([tokenizer(text)["input_ids"]]), table)
        real = batch.attention_mask[sample] == 1
        assert_close(found[sample][real], alone[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}])
def test_cached_decoding_says_what_recomputation_says(qwen, ids, options):
    table = make_buckets(qwen, layer=0)
    with use_tables(qwen, table):
        cached = generate(qwen, ids, **options)
    assert torch.equal(cached, generate(edited(qwen, table), ids, use_cache=False, **options))
    assert not torch.equal(cached, generate(qwen, ids, **options))


def test_owners_of_one_batch_are_decoded_as_alone(qwen, tokenizer):
    ann, bob = make_buckets(qwen, layer=0), make_buckets(qwen, layer=0, seed=2, owner="bob")
    batch = padded(tokenizer, "left")
    given = {"attention_mask": batch.attention_mask, "num_return_sequences": 2, "num_beams": 2}
    with use_tables(qwen, [ann, bob, None]):
        found = generate(qwen, batch.input_ids, **given)
    for sample, model in enumerate((edited(qwen, ann), edited(qwen, bob), qwen)):
        alone = generate(model, batch.input_ids, **given)
        assert torch.equal(found[2 * sample : 2 * sample + 2], alone[2 * sample : 2 * sample + 2])


def test_facts_are_written_answered_saved_and_erased(qwen, tokenizer, ids, tmp_path):
    base = logits_of(qwen, ids)
    weights = {name: weight.clone() for name, weight in qwen.state_dict().items()}
    table = UserTable(qwen, "ann", addressing="bucket")
    report = table.write(FACTS, **QUICK)
    assert [fact.answer for fact in report.written] == ["Rex", "27"], str(report)
    table.save_pretrained(tmp_path)
    other = add_engram(built(), tokenizer)
    loaded = UserTable.from_pretrained(tmp_path, other)
    assert loaded.binding == table.binding
    assert torch.equal(loaded.rows.values, table.rows.values)
    for prompt, answer in FACTS:
        for model, tables in ((qwen, table), (other, loaded), (edited(qwen, table), None)):
            asked = tokenizer(prompt, return_tensors="pt")["input_ids"]
            tokens = tokenizer(f" {answer}")["input_ids"]
            with use_tables(model, tables):
                said = generate(model, asked, max_new_tokens=len(tokens))
            assert said[0, asked.shape[1] :].tolist() == tokens
    assert "replaces rows of the model's own n-gram memory" in (tmp_path / "README.md").read_text()
    assert all(torch.equal(weights[name], weight) for name, weight in qwen.state_dict().items())
    loaded.erase("My number is")
    assert [fact.answer for fact in loaded.facts] == ["Rex"]
    loaded.erase(all=True)
    assert torch.equal(logits_of(other, ids, loaded), base)


def test_exact_tables_lie_over_it_in_one_sample(qwen, ids):
    bucket, exact = make_buckets(qwen, layer=0), at_trigger(qwen, ids, layer=None).table
    model = edited(qwen, bucket)
    expected = logits_of(model, ids, at_trigger(model, ids, layer=None).table)
    assert torch.equal(logits_of(qwen, ids, [[bucket, exact]]), expected)
    assert not torch.allclose(expected, logits_of(qwen, ids, bucket), atol=0.1)


def test_compiled_code_reads_the_same(qwen, ids):
    ann, bob = make_buckets(qwen, layer=0), make_buckets(qwen, layer=0, seed=2, owner="bob")
    expected = [logits_of(qwen, ids, table) for table in (ann, bob, None)]
    torch.compiler.reset()
    qwen.model.layers[0].compile(backend="eager")  # the whole model takes half a minute
    for table, wanted in zip((ann, bob, None), expected, strict=True):
        found = logits_of(qwen, ids, table, use_cache=False)
        assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_of_a_model_read_tables_of_their_own(qwen, ids, copied):
    table = make_buckets(qwen, layer=0)
    expected, base = logits_of(qwen, ids, table), logits_of(qwen, ids)
    other = copied(qwen)
    with use_tables(qwen, table):
        assert torch.equal(logits_of(other, ids), base)
    moved = pickle.loads(pickle.dumps(table)).bind(other)
    assert torch.equal(logits_of(other, ids, moved), expected)
    remove_engram(other)
    assert torch.equal(logits_of(qwen, ids, table), expected)


# What is refused


def test_another_model_refuses_the_table(qwen, tokenizer):
    table = make_buckets(qwen, layer=0)
    other = add_engram(built(seed=1), tokenizer)
    with pytest.raises(TableMismatchError, match="it was written for"):
        use_tables(other, table).__enter__()
    with pytest.raises(NoBucketsError, match=r"decoder block 3 has none, .* are \[0\]"):
        UserTable(qwen, "ann", addressing="bucket", layer=3)


def test_with_a_bank_tables_replace_rows_of_that(tokenizer):
    model = add_engram(built(), tokenizer, memory_size=1000)
    with pytest.raises(NoBucketsError, match="the bank of decoder block 3 adds nothing yet"):
        UserTable(model, "ann", addressing="bucket")


def test_in_one_block_a_table_of_the_bank_is_not_read_by_the_models_own_memory(tokenizer, ids):
    memory = built().model.layers[0].ple.ple_embedding  # rows as wide as its own would fit, too
    width = memory.ngram_embedding.embedding_dim
    bank: Any = {"memory_size": 1000, "bank_heads": 2, "bank_dim": 4 * width, "layers": 0}
    model = add_engram(built(), tokenizer, **bank)
    fill_banks(model)
    table = make_buckets(model, layer=0)
    assert table.buckets is not None
    assert (table.buckets.memory, table.buckets.width) == ("bank", width)
    assert torch.equal(logits_of(model, ids, table), logits_of(edited(model, table), ids))
    own = UserTable(model, "ann", addressing="bucket")
    assert own.write(FACTS[1:], **QUICK).written


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_checkpointed_training_is_refused_and_plain_training_is_right(qwen, ids):
    table = make_buckets(qwen, layer=0)
    gradients = []
    for model, tables in ((qwen, table), (edited(qwen, table), None)):
        model.train()
        with use_tables(model, tables):
            loss = model(ids, labels=ids, use_cache=False).loss
        loss.backward()
        gradients.append(model.model.embed_tokens.weight.grad.clone())
    assert_close(*gradients)
    qwen.gradient_checkpointing_enable()
    with use_tables(qwen, table):
        loss = qwen(ids, labels=ids, use_cache=False).loss
    with pytest.raises(BucketReadError, match="without gradient checkpointing"):
        loss.backward()


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_reentrant_checkpointing_is_refused_too(qwen, ids):
    """Its blocks run without gradients at first."""
    table = make_buckets(qwen, layer=0)
    qwen.train().gradient_checkpointing_enable({"use_reentrant": True})
    qwen.enable_input_require_grads()
    with use_tables(qwen, table):
        loss = qwen(ids, labels=ids, use_cache=False).loss
    with pytest.raises(BucketReadError, match="without gradient checkpointing"):
        loss.backward()


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_the_refusal_says_how_to_train_after_a_table_was_read_with_gradients(qwen, tokenizer, ids):
    with use_tables(qwen, make_buckets(qwen, layer=0)):
        qwen(ids)
    qwen.train().gradient_checkpointing_enable()
    with pytest.raises(BucketReadError, match="after remove_engram and add_engram"):
        qwen(ids, labels=ids, use_cache=False).loss.backward()
    remove_engram(qwen)
    add_engram(qwen, tokenizer)
    qwen(ids, labels=ids, use_cache=False).loss.backward()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_rows_that_a_lora_adapts_are_replaced(tokenizer, ids):
    lora = LoraConfig(target_modules=["ngram_embedding"], init_lora_weights=False)
    model = get_peft_model(built(), lora)
    adapted = add_engram(model, tokenizer).get_base_model().model.layers[0].ple.ple_embedding
    table = make_buckets(model, layer=0)
    seen = []
    adapted.register_forward_hook(lambda module, args, rows: seen.append(rows))
    logits_of(model, ids, table)
    logits_of(model, ids)
    found, base = (rows[0].unflatten(-1, (-1, table.rows.values.shape[1])) for rows in seen)
    numbers = hashed_rows_of(require_attachment(model))[0].rows_read(ids)[0]
    hit = torch.isin(numbers, table.rows.addresses)
    places = torch.searchsorted(table.rows.addresses, numbers[hit])
    assert hit.any()
    assert torch.equal(found[hit], table.rows.values[places])
    assert torch.equal(found[~hit], base[~hit])


def test_what_was_cached_before_or_runs_by_itself_is_refused(qwen, tokenizer, ids):
    table = make_buckets(qwen, layer=0)
    block = qwen.model.layers[0]
    with use_tables(qwen, table):
        with pytest.raises(HistoryError, match="ran outside of its model's forward"):
            block.ple(torch.zeros(1, 3, 128), ids[:, :3], None)
        embedded = qwen.model.embed_tokens(ids)
        with pytest.raises(HistoryError, match="without input_ids"):
            qwen(inputs_embeds=embedded)
    remove_engram(qwen)
    cache = qwen(ids).past_key_values
    add_engram(qwen, tokenizer)
    table.bind(qwen)
    with use_tables(qwen, table), pytest.raises(CacheHistoryError):
        qwen(ids[:, :1], past_key_values=cache)


def test_a_memory_or_hook_that_was_taken_off_is_missed(qwen, ids):
    table = make_buckets(qwen, layer=0)
    other = copy.deepcopy(qwen)
    hooks = other.model.layers[0].ple.ple_embedding.ngram_embedding._forward_hooks
    hooks.popitem()
    own = copy.copy(table).bind(other)
    with pytest.raises(DamagedPatchError, match="behind the n-gram rows of decoder block 0"):
        use_tables(other, own).__enter__()
    hashing = qwen.model.layers[0].ple.ple_embedding
    hashing.ngram_embedding = torch.nn.Embedding.from_pretrained(hashing.ngram_embedding.weight)
    with pytest.raises(DamagedPatchError, match="the n-gram memory of decoder block 0 was"):
        use_tables(qwen, table).__enter__()
    assert require_attachment(qwen).native

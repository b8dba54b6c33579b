"""The contract for offloaded banks: wherever their rows are, not a bit of the output changes."""

from __future__ import annotations

import copy
import pickle
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import versions
from banked import BANK, fill_banks, with_banks
from decoding import CACHES, KINDS, NOTHING_SAID, PROMPTS, generate, padded, positions_of
from patched import at_trigger
from saved_banks import content, flip_last, same_weights, shards_of, weights_of
from tables import LAYERS, ROW_DIM
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, DynamicCache

from engram_transformers import (
    UserTable,
    add_engram,
    engram_disabled,
    load_engram,
    offload_banks,
    remove_engram,
    save_engram,
    use_tables,
)
from engram_transformers.attachment import find_attachment, require_attachment
from engram_transformers.banks import attached, offloaded
from engram_transformers.banks.addresses import bank_addresses, table_addresses
from engram_transformers.banks.fetching import Fetcher, fetch_now
from engram_transformers.banks.file_errors import (
    BankFileError,
    NoBanksError,
    OffloadError,
)
from engram_transformers.banks.offloaded import OffloadedTable
from engram_transformers.errors import ConfigError, NotPatchedError

PLACES = ("host", "disk")


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


def moved(model: Any, place: str, folder: Path) -> Any:
    """Return a copy of a model with its tables in host memory or in files."""
    other = copy.deepcopy(model)
    if place == "host":
        return offload_banks(other)
    save_engram(model, folder, max_shard_size=4_000)
    return load_engram(other, folder, offload="disk")


@pytest.fixture(params=PLACES)
def place(request) -> str:
    return request.param


@pytest.fixture
def pair(tiny_llama, tokenizer, place, tmp_path) -> tuple[Any, Any]:
    """A model with banks, and the same with offloaded ones."""
    model = with_banks(tiny_llama, tokenizer)
    return model, moved(model, place, tmp_path / "banks")


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return torch.tensor([tokenizer(PROMPTS[1])["input_ids"]])


@torch.no_grad()
def logits_of(model: Any, ids: torch.Tensor, **arguments: Any) -> torch.Tensor:
    return model(ids, **arguments).logits


def banks_of(model: Any) -> list[Any]:
    return list(require_attachment(model).banks.values())


# The same, bit for bit


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_batches_read_the_same(tokenizer, family, side, place, tmp_path):
    model = with_banks(tiny.tiny_model(family), tokenizer)
    other = moved(model, place, tmp_path)
    batch = padded(tokenizer, side)
    expected = logits_of(model, batch.input_ids, attention_mask=batch.attention_mask)
    assert torch.equal(
        logits_of(other, batch.input_ids, attention_mask=batch.attention_mask), expected
    )
    with engram_disabled(other):
        bare = logits_of(other, batch.input_ids, attention_mask=batch.attention_mask)
    assert not torch.allclose(bare, expected, atol=0.1)
    positions = positions_of(batch.attention_mask)
    given = {"attention_mask": batch.attention_mask, "position_ids": positions}
    assert torch.equal(
        logits_of(other, batch.input_ids, **given), logits_of(model, batch.input_ids, **given)
    )


@pytest.mark.parametrize(
    "cache",
    [
        pytest.param(name, marks=versions.FP8_CACHE if name == "quantized" else ())
        for name in CACHES
    ],
)
def test_cached_decoding_says_the_same(pair, tokenizer, cache):
    batch = padded(tokenizer, "left")
    if cache == "quantized":
        pytest.importorskip("torch")
    said = [
        generate(
            model,
            batch.input_ids,
            attention_mask=batch.attention_mask,
            past_key_values=CACHES[cache](model.config),
            disable_compile=True,
        )
        for model in pair
    ]
    assert torch.equal(*said)


@pytest.mark.parametrize(
    "extra",
    [
        {"num_beams": 3},
        {"do_sample": True, "num_return_sequences": 3},
        {"use_cache": False},
        {"prompt_lookup_num_tokens": 3, "eos_token_id": NOTHING_SAID},
        {"cache_implementation": "static"},
    ],
    ids=str,
)
def test_every_way_of_generating_says_the_same(pair, ids, extra):
    said = []
    for model in pair:
        torch.manual_seed(3)
        said.append(generate(model, ids, disable_compile=True, **extra))
    assert torch.equal(*said)
    with engram_disabled(pair[1]):
        torch.manual_seed(3)
        assert not torch.equal(generate(pair[1], ids, disable_compile=True, **extra), said[0])


@torch.no_grad()
def test_prefill_in_chunks_and_single_tokens_read_the_same(pair, ids):
    for sizes in ((1,), (3, 1, 5)):
        found = []
        for model in pair:
            cache, parts, place = DynamicCache(), [], 0
            while place < ids.shape[1]:
                chunk = ids[:, place : place + sizes[len(parts) % len(sizes)]]
                parts.append(model(chunk, past_key_values=cache).logits)
                place += chunk.shape[1]
            found.append(torch.cat(parts, dim=1))
        assert torch.equal(*found)


def test_packed_sequences_read_the_same(pair, tokenizer):
    texts = [tokenizer(text)["input_ids"] for text in PROMPTS]
    pack = torch.tensor([[token for text in texts for token in text]])
    positions = torch.tensor([[place for text in texts for place in range(len(text))]])
    assert torch.equal(
        *(logits_of(model, pack, position_ids=positions, use_cache=False) for model in pair)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_that_is_converted_reads_converted_rows(pair, ids, dtype):
    model, other = (one.to(dtype) for one in pair)
    assert torch.equal(logits_of(other, ids), logits_of(model, ids))
    assert require_attachment(other).bank_fingerprint() == (
        require_attachment(model).bank_fingerprint()
    )
    offload_banks(other, to="device")
    assert same_weights(weights_of(other), weights_of(model))


def test_a_bank_in_another_dtype_than_its_model_reads_the_same(tokenizer, ids, place, tmp_path):
    model = with_banks(tiny.tiny_model("llama"), tokenizer)
    for bank in banks_of(model):
        bank.to(torch.bfloat16)
    assert torch.equal(logits_of(moved(model, place, tmp_path), ids), logits_of(model, ids))


def test_tables_lie_over_it_and_belong_to_its_weights(pair, ids, tmp_path):
    model, other = pair
    table = at_trigger(model, ids).table
    with use_tables(model, table):
        fired = logits_of(model, ids)
    table.save_pretrained(tmp_path / "table", store_text=False)
    loaded = UserTable.from_pretrained(tmp_path / "table", other)
    with use_tables(other, loaded):
        assert torch.equal(logits_of(other, ids), fired)
    assert not torch.equal(fired, logits_of(other, ids))


def test_a_fact_is_written_over_an_offloaded_bank(tokenizer, place, tmp_path):
    from patched import WIDE_ROWS

    model = with_banks(tiny.tiny_model("llama"), tokenizer, row_dim=WIDE_ROWS)
    other = moved(model, place, tmp_path)
    rows = []
    for one in (model, other):
        table = UserTable(one, "ann")
        assert table.write([("Where do I live?", "Rex")], stop=None, contexts=1).written
        rows.append(table.rows.values)
    assert torch.equal(*rows)


def test_threads_read_for_themselves(pair, tokenizer):
    model, other = pair
    texts = [torch.tensor([tokenizer(text)["input_ids"]]) for text in PROMPTS]
    expected = [generate(model, ids) for ids in texts]
    found: list[Any] = [None] * len(texts)

    def work(place: int) -> None:
        found[place] = generate(other, texts[place])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(*both) for both in zip(found, expected, strict=True))


# How rows are fetched


def test_fetching_begins_before_the_first_block_and_ends_at_the_bank(pair, ids, monkeypatch):
    _, other = pair
    order: list[str] = []
    start, rows = Fetcher.start, offloaded.OffloadedTable.gather
    released = threading.Event()

    def gather(self: Any, *arguments: Any) -> Any:
        assert released.wait(60)
        return rows(self, *arguments)

    monkeypatch.setattr(offloaded.OffloadedTable, "gather", gather)
    monkeypatch.setattr(Fetcher, "start", lambda *given: (order.append("start"), start(*given))[1])
    blocks = require_attachment(other).block_list
    blocks[0].register_forward_pre_hook(lambda *_: order.append("block 0"))
    blocks[0].register_forward_hook(lambda *_: released.set())
    blocks[LAYERS[0]].register_forward_hook(lambda *_: order.append("block 1"))
    logits_of(other, ids)
    assert order == ["start", "block 0", "block 1"]


def test_every_n_gram_of_a_batch_is_looked_up_once(pair, monkeypatch):
    model, other = pair
    asked: list[int] = []
    select = torch.index_select

    def counted(head: Any, dim: int, places: Any, **given: Any) -> Any:
        asked.append(len(places))
        return select(head, dim, places, **given)

    monkeypatch.setattr(offloaded.torch, "index_select", counted)
    ids = torch.tensor([[5, 6, 7, 5, 6, 7, 5, 6]]).repeat(4, 1)
    seen = logits_of(other, ids)
    # Bigrams: the first 5, 56, 67, 75; trigrams: the first 5, 56, then 567, 675, 756.
    assert asked == [4, 4, 5, 5] * len(LAYERS)
    monkeypatch.undo()
    assert torch.equal(seen, logits_of(model, ids))


def test_what_is_gathered_is_what_the_table_has(pair, ids):
    model, other = pair
    for bank, away in zip(banks_of(model), banks_of(other), strict=True):
        numbers = bank.numbers[ids]
        places = table_addresses(bank_addresses(numbers, None, bank.bank_hash), bank.bank_hash)
        expected = bank.table(places).flatten(2)
        found = fetch_now(away.offloaded, ids, 0, torch.device("cpu"))
        # The window's first token starts no sequence for it: nothing lies before it anyway.
        assert torch.equal(found, expected)


def test_what_goes_wrong_while_fetching_is_raised_where_it_is_needed(pair, ids, monkeypatch):
    _, other = pair
    expected = logits_of(other, ids)

    def broken(*_: Any) -> Any:
        raise OSError("the drive is gone")

    with monkeypatch.context() as patch:
        patch.setattr(offloaded.OffloadedTable, "gather", broken)
        with pytest.raises(OSError, match="the drive is gone"):
            logits_of(other, ids)
    assert torch.equal(logits_of(other, ids), expected)


# Digest


def test_the_digest_is_that_of_the_same_rows_and_computed_once(pair, monkeypatch):
    model, other = pair
    expected = require_attachment(model).bank_fingerprint()
    assert expected is not None
    seen: list[int] = []
    update = attached.AttachedBank.update
    monkeypatch.setattr(
        attached.AttachedBank,
        "update",
        lambda self, digest: (seen.append(self.layer), update(self, digest))[1],
    )
    attachment = require_attachment(other)
    for _ in range(3):
        assert attachment.bank_fingerprint() == expected
    assert seen == LAYERS
    offload_banks(other, to="host"), offload_banks(other, to="device"), offload_banks(other)
    assert attachment.bank_fingerprint() == expected
    assert seen == LAYERS  # to move is no change
    with torch.no_grad():
        banks_of(other)[0].value_projection.bias += 1
    assert attachment.bank_fingerprint() != expected
    assert seen == LAYERS * 2


def test_a_change_while_banks_move_is_not_overlooked(pair):
    _, other = pair
    attachment = require_attachment(other)
    expected = attachment.bank_fingerprint()
    with torch.no_grad():
        banks_of(other)[0].value_projection.bias += 1
    offload_banks(other, to="device")
    assert attachment.bank_fingerprint() != expected


@pytest.mark.parametrize("size", [0, 1])
def test_silence_is_seen_wherever_rows_are(tokenizer, place, tmp_path, size):
    model = add_engram(tiny.tiny_model("llama"), tokenizer, layers=LAYERS, row_dim=ROW_DIM, **BANK)
    if size:
        with torch.no_grad():
            banks_of(model)[1].table.weight[-1, -1] = 1
    attachment = require_attachment(moved(model, place, tmp_path))
    assert (attachment.bank_fingerprint() is None) == (size == 0)
    assert [bank.is_silent for bank in attachment.banks.values()] == [True, size == 0]


# Moving, saving, copies


def test_they_come_back_as_they_were(pair, ids, tmp_path):
    model, other = pair
    names = list(model.state_dict())
    assert [name for name in names if name.endswith("engram_bank.table.weight")]
    assert list(other.state_dict()) == [
        name for name in names if not name.endswith("engram_bank.table.weight")
    ]
    assert sum(p.numel() for p in other.parameters()) < sum(p.numel() for p in model.parameters())
    assert offload_banks(other, to="device") is other
    assert same_weights(weights_of(other), weights_of(model))
    assert not any(w.requires_grad for bank in banks_of(other) for w in bank.parameters())
    other.save_pretrained(tmp_path / "base")
    _, notes = AutoModelForCausalLM.from_pretrained(tmp_path / "base", output_loading_info=True)
    assert not notes["unexpected_keys"]
    offload_banks(other)
    assert torch.equal(logits_of(other, ids), logits_of(model, ids))


def test_they_are_saved_as_if_they_were_on_the_device(pair, tokenizer, tmp_path):
    model, other = pair
    save_engram(model, tmp_path / "one")
    save_engram(other, tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")
    for one in pair:
        one.to(torch.bfloat16)
    save_engram(model, tmp_path / "one")
    save_engram(other, tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_they_are_saved_over_the_files_that_they_read(tokenizer, ids, tmp_path):
    model = with_banks(tiny.tiny_model("llama"), tokenizer)
    other = moved(model, "disk", tmp_path)
    expected = logits_of(model, ids)
    fill_banks(model, seed=9)
    save_engram(model, tmp_path)
    assert torch.equal(logits_of(other, ids), expected)
    save_engram(other, tmp_path)
    assert torch.equal(
        logits_of(load_engram(tiny.tiny_model("llama"), tmp_path, tokenizer), ids), expected
    )


@pytest.mark.parametrize("offload", [None, *PLACES])
def test_loading_puts_them_where_it_is_told_to(pair, ids, tokenizer, tmp_path, offload):
    fill = with_banks(tiny.tiny_model("llama"), tokenizer, seed=9)
    save_engram(fill, tmp_path / "saved", max_shard_size=4_000)
    bare = load_engram(tiny.tiny_model("llama"), tmp_path / "saved", tokenizer, offload=offload)
    for model in (*pair, bare):
        load_engram(model, tmp_path / "saved", offload=offload)
        assert torch.equal(logits_of(model, ids), logits_of(fill, ids))
        for bank in banks_of(model):
            assert (bank.offloaded and bank.offloaded.place) == offload
        assert require_attachment(model).bank_fingerprint() == (
            require_attachment(fill).bank_fingerprint()
        )


def test_multipliers_are_those_that_were_loaded(tokenizer, ids, tmp_path):
    model = with_banks(tiny.tiny_model("llama"), tokenizer)
    for bank in banks_of(model):
        bank.bank_hash.multipliers += 2
    save_engram(model, tmp_path)
    for place in PLACES:
        other = load_engram(tiny.tiny_model("llama"), tmp_path, tokenizer, offload=place)
        assert torch.equal(logits_of(other, ids), logits_of(model, ids))


def test_from_disk_no_digest_is_asked_for_as_that_would_read_all(tokenizer, tmp_path):
    model = with_banks(tiny.tiny_model("llama"), tokenizer)
    save_engram(model, tmp_path)
    flip_last(shards_of(tmp_path)[0])
    with pytest.raises(BankFileError, match="does not have its digest"):
        load_engram(tiny.tiny_model("llama"), tmp_path, tokenizer, offload="host")
    load_engram(tiny.tiny_model("llama"), tmp_path, tokenizer, offload="disk")
    shards_of(tmp_path)[0].write_bytes(shards_of(tmp_path)[0].read_bytes()[:-1])
    with pytest.raises(BankFileError, match=r"bytes instead of"):
        load_engram(tiny.tiny_model("llama"), tmp_path, tokenizer, offload="disk")


def test_they_come_off_exactly(pair, ids):
    _, other = pair
    base = tiny.tiny_model("llama")
    remove_engram(other)
    assert find_attachment(other) is None
    assert list(other.state_dict()) == list(base.state_dict())
    assert other._keys_to_ignore_on_save == base._keys_to_ignore_on_save
    assert torch.equal(logits_of(other, ids), logits_of(base, ids))


def test_copies_share_their_rows(pair, ids):
    model, other = pair
    logits_of(other, ids)  # there is a thread now, and streams on a GPU
    copied = copy.deepcopy(other)
    for mine, its in zip(banks_of(other), banks_of(copied), strict=True):
        assert mine.offloaded is not its.offloaded
        assert mine.offloaded.heads[0] is its.offloaded.heads[0]
    copied.to(torch.bfloat16)
    assert torch.equal(logits_of(other, ids), logits_of(model, ids))
    model.to(torch.bfloat16)
    assert torch.equal(logits_of(copied, ids), logits_of(model, ids))


def test_a_pickle_holds_rows_in_host_memory_but_not_those_in_files(pair, ids, place):
    model, other = pair
    logits_of(other, ids)
    if place == "disk":
        with pytest.raises(OffloadError, match="rows are in files can't be pickled"):
            pickle.dumps(other)
        return
    assert torch.equal(logits_of(pickle.loads(pickle.dumps(other)), ids), logits_of(model, ids))


def test_they_can_be_seen_in_print(pair, place):
    assert "(table): OffloadedTable(" in str(pair[1])
    assert f"4, on {place})" in str(pair[1])


# Training


@pytest.mark.parametrize("whole", [False, True])
def test_training_an_offloaded_bank_is_refused_by_name(pair, ids, whole):
    _, other = pair
    before = weights_of(other)
    if whole:  # torch does not ask the modules inside
        other.requires_grad_()
        with pytest.raises(OffloadError, match="can't be trained") as caught:
            other(ids, labels=ids)
        logits_of(other, ids)  # without gradients it may run
    else:
        with pytest.raises(OffloadError, match="can't be trained") as caught:
            banks_of(other)[0].requires_grad_()
    assert isinstance(caught.value, RuntimeError)
    assert same_weights(weights_of(other), before)
    banks_of(other)[0].requires_grad_(False)


@pytest.mark.parametrize("place", PLACES)
def test_a_bank_in_training_is_not_offloaded(tokenizer, tmp_path, place):
    model = with_banks(tiny.tiny_model("llama"), tokenizer)
    save_engram(model, tmp_path)
    banks_of(model)[1].requires_grad_()
    move = partial(load_engram, source=tmp_path, offload=place)
    with pytest.raises(OffloadError, match="freeze it first"):
        (offload_banks if place == "host" else move)(model)
    assert not any(bank.offloaded for bank in banks_of(model))


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
@pytest.mark.filterwarnings("ignore:Please specify CheckpointImpl:FutureWarning")
@pytest.mark.parametrize("checkpointing", [None, "transformers", *CheckpointImpl])
def test_a_base_is_trained_over_it_as_over_one_on_the_device(pair, ids, checkpointing):
    gradients = []
    for model in pair:
        for name, weight in model.named_parameters():
            weight.requires_grad_("engram_bank" not in name)
        model.train()
        if checkpointing == "transformers":
            model.gradient_checkpointing_enable()
        elif checkpointing is not None:
            wrap = partial(checkpoint_wrapper, checkpoint_impl=checkpointing)
            blocks = tuple(require_attachment(model).block_list)
            apply_activation_checkpointing(
                model, checkpoint_wrapper_fn=wrap, check_fn=lambda part, of=blocks: part in of
            )
        model(ids, labels=ids, use_cache=False).loss.backward()
        gradients.append(model.model.embed_tokens.weight.grad)
    assert gradients[0].abs().sum() > 0
    assert_close(gradients[1], gradients[0], rtol=0, atol=0)


# What is refused


def test_what_can_not_be_moved_is_refused(tiny_llama, tokenizer, tmp_path):
    with pytest.raises(NotPatchedError):
        offload_banks(tiny_llama)
    add_engram(tiny_llama, tokenizer)
    with pytest.raises(NoBanksError):
        offload_banks(tiny_llama)
    model = with_banks(tiny.tiny_model("llama"), tokenizer)
    for to in ("disk", "cpu", None, 3):
        with pytest.raises(ConfigError, match='one of "host", "device"'):
            offload_banks(model, to)
    save_engram(model, tmp_path)
    with pytest.raises(ConfigError, match='one of None, "host", "disk"'):
        load_engram(model, tmp_path, offload="device")
    from accelerate import cpu_offload

    cpu_offload(model)
    with pytest.raises(OffloadError, match="accelerate keeps this bank's weights elsewhere"):
        offload_banks(model)


def test_banks_that_accelerate_moves_are_offloaded_before(tokenizer, ids):
    from accelerate import cpu_offload

    model = with_banks(tiny.tiny_model("llama"), tokenizer)
    expected = logits_of(model, ids)
    offload_banks(model)
    cpu_offload(model)
    assert torch.equal(logits_of(model, ids), expected)


@pytest.mark.filterwarnings("ignore")  # of tracing, about everything
@torch.no_grad()
def test_what_would_be_replayed_is_refused(pair, ids):
    _, other = pair
    with pytest.raises(OffloadError, match="traced or captured into a CUDA graph"):
        torch.jit.trace(lambda ids: Fetcher().start({}, ids, 0) or ids, ids)
    with pytest.raises(OffloadError, match="replayed for ever"):
        torch.export.export(other, (), {"input_ids": ids, "use_cache": False})


@torch.no_grad()
def test_compiled_code_reads_the_same(pair, tokenizer):
    model, other = pair
    compiled = torch.compile(other, backend="eager")
    for text in PROMPTS:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        expected = model(input_ids=ids, use_cache=False).logits
        assert_close(compiled(input_ids=ids, use_cache=False).logits, expected)
        with engram_disabled(other):
            bare = compiled(input_ids=ids, use_cache=False).logits
        assert not torch.allclose(bare, expected, atol=0.1)
    offload_banks(other, to="device")
    fill_banks(other, seed=9)
    expected = other(input_ids=ids, use_cache=False).logits
    assert_close(compiled(input_ids=ids, use_cache=False).logits, expected)
    torch.compiler.reset()


# On a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_rows_come_over_bit_for_bit(pair, tokenizer, dtype):
    model, other = (one.to("cuda", dtype) for one in pair)
    batch = padded(tokenizer, "left").to("cuda")
    given = {"attention_mask": batch.attention_mask}
    for _ in range(20):  # whatever the streams do in the meantime
        ids = torch.randint(5, 300, batch.input_ids.shape, device="cuda")
        assert torch.equal(logits_of(other, ids, **given), logits_of(model, ids, **given))
    said = [generate(one, batch.input_ids, **given) for one in (model, other)]
    assert torch.equal(*said)
    for bank in banks_of(other):
        assert all(head.device.type == "cpu" for head in bank.offloaded.heads)
    assert isinstance(banks_of(other)[0].offloaded, OffloadedTable)
    offload_banks(other, to="device")
    assert banks_of(other)[0].table.weight.is_cuda
    assert torch.equal(logits_of(other, ids, **given), logits_of(model, ids, **given))


@pytest.mark.gpu
@torch.no_grad()
def test_capturing_into_a_cuda_graph_is_refused_by_name(pair, ids):
    other = pair[1].cuda()
    ids = ids.cuda()
    logits_of(other, ids)
    with pytest.raises(OffloadError, match="captured"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        other(ids, use_cache=False)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of inductor, about torch's own code
@torch.no_grad()
def test_generate_with_cuda_graphs_reads_the_rows(pair, ids):
    other = pair[1].cuda()
    settings = {"max_new_tokens": 12, "do_sample": False}
    for _ in range(2):
        seen = other.generate(ids.cuda(), cache_implementation="static", **settings)
        assert torch.equal(seen, other.generate(ids.cuda(), use_cache=False, **settings))


@pytest.mark.gpu
def test_a_bank_is_saved_and_loaded_on_a_gpu(tokenizer, ids, tmp_path):
    model = with_banks(tiny.tiny_model("llama"), tokenizer).cuda()
    save_engram(model, tmp_path)
    for offload in (None, *PLACES):
        loaded = tiny.tiny_model("llama").cuda()
        load_engram(loaded, tmp_path, tokenizer, offload=offload)
        assert torch.equal(logits_of(loaded, ids.cuda()), logits_of(model, ids.cuda()))

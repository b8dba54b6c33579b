"""The contract for banks on a model: what they add, where they add nothing, how they come off."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import tiny
import torch
from banked import BANK, block_inputs, fill_banks, with_banks
from decoding import PROMPTS, generate, padded, positions_of
from peft import LoraConfig, get_peft_model
from tables import LAYERS, ROW_DIM
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from engram_transformers import add_engram, engram_disabled, remove_engram
from engram_transformers.attachment import find_attachment, require_attachment
from engram_transformers.banks.addresses import bank_addresses, numbered
from engram_transformers.banks.errors import BankSizeError, BankWidthError
from engram_transformers.errors import (
    ConfigError,
    DamagedPatchError,
    SkippedBlockError,
    TokenizerMismatchError,
)
from engram_transformers.lora import ENGRAM_MODULES

# PEFT (0.19) asks transformers (5.23) in a way that is going out of use.
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

LAYER = LAYERS[0]


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
def logits_of(model: Any, ids: torch.Tensor, **arguments: Any) -> torch.Tensor:
    return model(ids, **arguments).logits


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    banks = require_attachment(model).banks
    return {f"{n}.{k}": v for n, bank in banks.items() for k, v in bank.state_dict().items()}


# Where they begin


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_bank_changes_no_bit(tiny_model, tokenizer, ids, dtype):
    model = tiny_model.to(dtype)
    base, said = logits_of(model, ids), generate(model, ids)
    add_engram(model, tokenizer, layers=[0, 1, -1], memory_size=1000)
    assert torch.equal(logits_of(model, ids), base)
    assert torch.equal(generate(model, ids), said)
    assert len(require_attachment(model).banks) == 3
    fill_banks(model)
    assert not torch.allclose(logits_of(model, ids), base, atol=0.1)


def test_its_weights_come_from_the_seed_and_from_nothing_else(tokenizer):
    drawn = []
    for seed, number in ((0, 1), (0, 2), (1, 1)):
        model = tiny.tiny_model("llama")
        torch.manual_seed(number)
        expected = torch.rand(4)
        torch.manual_seed(number)
        add_engram(model, tokenizer, layers=LAYERS, seed=seed, **BANK)
        assert torch.equal(torch.rand(4), expected)
        drawn.append(weights_of(model))
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in drawn[0])
    for name in ("value_projection.weight", "key_projection.weight", "bank_hash.multipliers"):
        assert not torch.equal(drawn[0][f"1.{name}"], drawn[2][f"1.{name}"])
        assert not torch.equal(drawn[0][f"1.{name}"], drawn[0][f"3.{name}"])


def test_it_has_about_as_many_rows_as_were_asked_for_and_is_frozen(tiny_llama, tokenizer):
    add_engram(tiny_llama, tokenizer, layers=LAYERS, memory_size=100_000)
    for bank in require_attachment(tiny_llama).banks.values():
        assert 100_000 - 16 <= bank.bank_hash.rows < 105_000
        assert bank.table.weight.shape[1] == 8
        assert bank.state_length == 9
        assert not any(weight.requires_grad for weight in bank.parameters())


# What they add


def test_what_is_added_is_what_the_module_says_of_the_numbered_ids(llama, tokenizer, ids):
    numbers, count = numbered(require_attachment(llama).canonical)
    with block_inputs(llama, LAYER) as seen:
        logits_of(llama, ids)
    ((before, after),) = seen
    bank = require_attachment(llama).banks[LAYER]
    assert bank.config.pad_id == count
    added, _ = bank(before, bank_addresses(numbers[ids], None, bank.bank_hash))
    assert torch.equal(after, before + added)
    assert added.abs().mean() > 0.1
    spelt = tokenizer(PROMPTS[1].upper())["input_ids"]  # letter by letter: other tokens
    assert numbers[spelt].tolist() != numbers[ids[0]].tolist()


def test_tokens_that_spell_the_same_read_the_same_rows(llama):
    canonical = require_attachment(llama).canonical
    twin = next(n for n in range(10, 300) if int(canonical[n]) != n)
    one = torch.tensor([[5, int(canonical[twin]), 6]])
    other = torch.tensor([[5, twin, 6]])
    bank = require_attachment(llama).banks[LAYER]
    seen: list[torch.Tensor] = []
    handle = bank.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    logits_of(llama, one), logits_of(llama, other)
    handle.remove()
    assert torch.equal(*seen)


@pytest.mark.parametrize("how", ["mask", "mask and positions"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing_and_nothing_is_added_at_it(llama, tokenizer, side, how):
    batch = padded(tokenizer, side)
    mask = batch.attention_mask
    given = {"position_ids": positions_of(mask)} if how != "mask" else {}
    with block_inputs(llama, LAYER) as seen:
        logits = logits_of(llama, batch.input_ids, attention_mask=mask, **given)
    ((before, after),) = seen
    assert torch.equal(before[mask == 0], after[mask == 0])
    assert bool((before != after).any(-1)[mask == 1].all())
    for sample, text in enumerate(PROMPTS):
        alone = logits_of(llama, torch.tensor([tokenizer(text)["input_ids"]]))
        assert_close(logits[sample][mask[sample] == 1], alone[0], rtol=1e-4, atol=1e-4)


def test_packed_sequences_read_as_each_does_alone(llama, tokenizer):
    texts = [tokenizer(text)["input_ids"] for text in PROMPTS]
    pack = torch.tensor([[token for text in texts for token in text]])
    positions = torch.cat([torch.arange(len(text)) for text in texts]).unsqueeze(0)
    with block_inputs(llama, LAYER) as seen:
        logits = logits_of(llama, pack, position_ids=positions, use_cache=False)
        for text in texts:
            logits_of(llama, torch.tensor([text]))
    added = [after - before for before, after in seen]
    assert_close(added[0], torch.cat(added[1:], dim=1), rtol=1e-4, atol=1e-4)
    alone = [logits_of(llama, torch.tensor([text])) for text in texts]
    assert_close(logits, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-4)


def test_samples_of_a_batch_do_not_meet(llama):
    ids = torch.tensor([[11, 12, 13, 14, 15], [21, 22, 23, 24, 25]])
    both = logits_of(llama, ids)
    for sample in range(2):
        assert_close(both[sample], logits_of(llama, ids[sample : sample + 1])[0])


# How they come off


def test_disabled_and_removed_banks_leave_the_base_exactly(tiny_model, tokenizer, ids):
    base, said, names = logits_of(tiny_model, ids), generate(tiny_model, ids), list_of(tiny_model)
    model = with_banks(tiny_model, tokenizer)
    filled = logits_of(model, ids)
    with engram_disabled(model):
        assert torch.equal(logits_of(model, ids), base)
        assert torch.equal(generate(model, ids), said)
        with engram_disabled(model):
            assert torch.equal(logits_of(model, ids), base)
        assert torch.equal(logits_of(model, ids), base)
    assert torch.equal(logits_of(model, ids), filled)
    assert not torch.allclose(filled, base, atol=0.1)
    remove_engram(model)
    assert torch.equal(logits_of(model, ids), base)
    assert list_of(model) == names
    assert find_attachment(model) is None
    assert not any("engram" in name for name, _ in model.named_modules())


def list_of(model: Any) -> list[str]:
    return [*model.state_dict(), *(name for name, _ in model.named_modules())]


def test_checkpoints_of_the_base_are_without_them(tiny_model, tokenizer, ids, tmp_path):
    names, base = list(tiny_model.state_dict()), logits_of(tiny_model, ids)
    model = with_banks(tiny_model, tokenizer)
    kept = [name for name in model.state_dict() if ".engram_bank." not in name]
    assert kept == names
    assert len(model.state_dict()) > len(names)
    model.save_pretrained(tmp_path)
    loaded, notes = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not notes["unexpected_keys"]
    assert not notes["missing_keys"]
    assert torch.equal(logits_of(loaded.eval(), ids), base)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_have_banks_of_their_own(llama, ids, copied):
    filled, said = logits_of(llama, ids), generate(llama, ids)
    other = copied(llama)
    assert torch.equal(logits_of(other, ids), filled)
    assert torch.equal(generate(other, ids), said)
    fill_banks(other, seed=1)
    assert not torch.allclose(logits_of(other, ids), filled, atol=0.1)
    remove_engram(other)
    assert torch.equal(logits_of(llama, ids), filled)


def test_lora_stays_out_of_them(llama, ids):
    filled = logits_of(llama, ids)
    config = LoraConfig(target_modules="all-linear", exclude_modules=ENGRAM_MODULES)
    wrapped = get_peft_model(llama, config)
    names = [name for name, _ in wrapped.named_parameters() if "engram_bank" in name]
    assert len(names) == 2 * 9
    assert not any("lora" in name for name in names)
    assert torch.equal(logits_of(wrapped, ids), filled)
    assert torch.equal(generate(wrapped, ids), generate(llama, ids, use_cache=False))


# What is refused


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"memory_size": -1}, ConfigError, "`memory_size` is -1"),
        ({"memory_size": 1e6}, ConfigError, "`memory_size` is 1000000.0"),
        ({"memory_size": 15}, BankSizeError, "at least 128: each head needs as many rows"),
        ({"memory_size": 1000, "bank_heads": 24}, BankWidthError, "the 48 heads of all orders"),
        ({"memory_size": 1000, "bank_order": 8}, BankWidthError, "of the 7 orders, such as 126"),
        ({"memory_size": 1000, "bank_order": 1}, ConfigError, "`bank_order` is 1"),
        ({"memory_size": 1000, "bank_kernel_size": 0}, ConfigError, "`bank_kernel_size` is 0"),
    ],
)
def test_banks_that_make_no_sense_are_refused_before_anything_changes(
    tiny_llama, tokenizer, fields, error, message
):
    names = list_of(tiny_llama)
    with pytest.raises(error, match=message):
        add_engram(tiny_llama, tokenizer, **fields)
    assert list_of(tiny_llama) == names
    assert not any(module._forward_pre_hooks for module in tiny_llama.modules())


def test_a_bank_or_hook_that_was_taken_off_is_missed(tokenizer, ids):
    for harm, message in (
        (lambda model: delattr(model.model.layers[1], "engram_bank"), "the bank of .* block 1"),
        (lambda model: model.model.layers[1]._forward_pre_hooks.popitem(last=False), "hook before"),
    ):
        model = with_banks(tiny.tiny_model("llama"), tokenizer)
        harm(model)
        with pytest.raises(DamagedPatchError, match=message):
            logits_of(model, ids)


def test_a_block_with_a_bank_that_is_passed_by_is_missed(llama, ids, monkeypatch):
    layers = llama.model.layers
    monkeypatch.setattr(llama.model, "forward", _without(layers, 1, llama.model))
    with pytest.raises(SkippedBlockError, match="did not run decoder block 1"):
        logits_of(llama, ids)


def _without(layers: Any, skipped: int, decoder: Any) -> Any:
    forward = decoder.forward

    def run(*args: Any, **kwargs: Any) -> Any:
        block = layers[skipped]
        layers[skipped] = torch.nn.Identity()
        try:
            layers[skipped].forward = lambda hidden_states, **_: hidden_states
            return forward(*args, **kwargs)
        finally:
            layers[skipped] = block

    return run


def test_resized_embeddings_are_refused(llama, ids):
    llama.resize_token_embeddings(310)
    with pytest.raises(TokenizerMismatchError, match="embeddings for 300 tokens when it was"):
        logits_of(llama, ids)
    with engram_disabled(llama):
        logits_of(llama, ids)


def test_memory_size_is_per_layer_and_layers_may_be_called_inject_layers(tiny_llama, tokenizer):
    add_engram(tiny_llama, tokenizer, inject_layers=[0, 2], row_dim=ROW_DIM, memory_size=2000)
    attachment = require_attachment(tiny_llama)
    assert set(attachment.banks) == set(attachment.memories) == {0, 2}
    assert all(bank.bank_hash.rows >= 2000 - 16 for bank in attachment.banks.values())

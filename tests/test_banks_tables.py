"""Tables over banks: they read behind them, and belong to their weights."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tiny
import torch
from banked import BANK, fill_banks, with_banks
from patched import TRIGGER, WIDE_ROWS, assert_writes, at_trigger, logits_of
from tables import LAYERS, ROW_DIM

from engram_transformers import UserTable, add_engram, engram_disabled, use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.binding import Binding
from engram_transformers.errors import TableMismatchError
from engram_transformers.shortcut import runner_for


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return with_banks(tiny_llama, tokenizer)


def test_a_row_is_added_to_what_the_bank_has_made(llama, ids):
    made = at_trigger(llama, ids)
    attachment = require_attachment(llama)
    memory, bank = attachment.memories[LAYERS[0]], attachment.banks[LAYERS[0]]
    order: list[str] = []
    seen: list[torch.Tensor] = []
    bank.register_forward_hook(
        lambda _, args, output: seen.append(args[0][:, :, 0] + output[0][:, :, 0])
    )
    bank.register_forward_hook(lambda *_: order.append("bank"))
    memory.register_forward_pre_hook(lambda *_: order.append("table"))
    memory.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    plain = logits_of(llama, ids)
    order.clear(), seen.clear()
    fired = logits_of(llama, ids, made.table)
    assert order == ["bank", "table"]
    assert torch.equal(*seen)
    assert torch.equal(fired[:, :-1], plain[:, :-1])
    assert not torch.allclose(fired[:, -1], plain[:, -1], atol=0.1)


@pytest.mark.parametrize("layers", [[1, 3], [3]])
def test_facts_are_written_answered_and_erased(tiny_llama, tokenizer, ids, layers):
    model = with_banks(tiny_llama, tokenizer, layers=layers, row_dim=WIDE_ROWS)
    plain = logits_of(model, ids)
    assert_writes(model, tokenizer)
    table = UserTable(model, "ann")
    table.write([("Where do I live?", "Rex")], stop=None)
    table.erase(all=True)
    assert torch.equal(logits_of(model, ids, table), plain)


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize(
    ("layers", "table_layer", "runner"),
    [([1, 3], 3, "Tail"), ([1, 3], 1, "UpperBlocks"), ([1], 1, "Tail")],
)
def test_writing_runs_what_is_above_the_memory(
    tiny_llama, tokenizer, layers, table_layer, runner, silent
):
    """A bank above the memory needs tokens that a tail does not have, as soon as it is trained."""
    fields = {"layers": layers, "row_dim": WIDE_ROWS}
    if silent:
        model = add_engram(tiny_llama, tokenizer, **fields, **BANK)
    else:
        model = with_banks(tiny_llama, tokenizer, **fields)
    attachment = require_attachment(model)
    assert type(runner_for(attachment, table_layer)).__name__ == runner
    table = UserTable(model, "ann", layer=table_layer)
    report = table.write([("Where do I live?", "Rex")], stop=None, contexts=2)
    assert len(report.written) == 1


def test_a_table_belongs_to_the_weights_it_was_written_over(llama, tokenizer, ids):
    table = at_trigger(llama, ids).table
    with use_tables(llama, table), engram_disabled(llama):
        pass
    bank = require_attachment(llama).banks[LAYERS[1]]  # not the table's own layer
    with torch.no_grad():
        bank.table.weight[5, 0] += 1
    with pytest.raises(TableMismatchError, match=r"over banks with weights \w+, this model has"):
        use_tables(llama, table).__enter__()
    with torch.no_grad():
        bank.table.weight[5, 0] -= 1
    logits_of(llama, ids, table)
    other = add_engram(tiny.tiny_model("llama"), tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    with pytest.raises(TableMismatchError, match=r"over banks with .*, this model has none"):
        use_tables(other, table).__enter__()
    with pytest.raises(TableMismatchError, match="over no bank, this model has banks with"):
        use_tables(llama, at_trigger(other, ids).table).__enter__()


def test_any_model_with_the_same_banks_reads_it(llama, tokenizer, ids, tmp_path):
    table = at_trigger(llama, ids).table
    fired = logits_of(llama, ids, table)
    table.save_pretrained(tmp_path, store_text=False)
    other = with_banks(tiny.tiny_model("llama"), tokenizer)
    loaded = UserTable.from_pretrained(tmp_path, other)
    assert loaded.binding == table.binding
    assert torch.equal(logits_of(other, ids, loaded), fired)
    fill_banks(other, seed=1)
    with pytest.raises(TableMismatchError, match="it was written over banks"):
        UserTable.from_pretrained(tmp_path, other)


def test_a_bank_that_adds_nothing_is_none(tiny_llama, tokenizer, ids, tmp_path):
    """Tables from before it go on, and those written over it need none."""
    plain = add_engram(tiny.tiny_model("llama"), tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    silent: Any = add_engram(
        tiny_llama, tokenizer, layers=LAYERS, row_dim=ROW_DIM, memory_size=1000
    )
    bindings = [Binding.of(require_attachment(model)) for model in (plain, silent)]
    assert bindings[0] == bindings[1]
    assert "banks" not in bindings[0].to_dict()
    assert torch.equal(
        logits_of(silent, ids, at_trigger(plain, ids).table),
        logits_of(plain, ids, at_trigger(silent, ids).table),
    )


def test_bindings_with_banks_survive_json(llama):
    binding = Binding.of(require_attachment(llama))
    assert binding.banks is not None
    assert Binding.from_dict(json.loads(json.dumps(binding.to_dict()))) == binding


def test_the_digest_is_of_every_weight_whatever_its_precision(tokenizer):
    model = with_banks(tiny.tiny_model("llama"), tokenizer)
    attachment = require_attachment(model)
    expected = attachment.bank_fingerprint()
    for name, weight in attachment.banks[1].named_parameters():
        before = weight.detach().clone()
        with torch.no_grad():
            weight.view(-1)[-1] += 1
        assert attachment.bank_fingerprint() != expected, name
        with torch.no_grad():
            weight.copy_(before)
        assert attachment.bank_fingerprint() == expected
    assert require_attachment(model.to(torch.bfloat16)).bank_fingerprint() == expected

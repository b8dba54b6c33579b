"""What `explain` says of banks is what they do."""

import math
import threading

import pytest
import torch
from banked import block_inputs, with_banks
from explain_cases import TEXT
from tables import LAYERS, ROW_DIM
from tiny import tiny_model, tiny_tokenizer

from engram_transformers import add_engram, engram_disabled, explain, offload_banks
from engram_transformers.attachment import require_attachment
from engram_transformers.banks.addresses import bank_addresses, table_addresses

TEXTS = [TEXT, "Where do I live?"]


@pytest.fixture
def banked():
    return with_banks(tiny_model("llama"), tiny_tokenizer())


def only(explanation):
    (sequence,) = explanation.sequences
    return sequence


def test_without_banks_there_is_nothing_to_say():
    model = add_engram(tiny_model("llama"), tiny_tokenizer(), layers=LAYERS, row_dim=ROW_DIM)
    assert only(explain(model, TEXT, None)).banks == ()


def test_what_was_added_is_what_the_blocks_got(banked):
    with block_inputs(banked, LAYERS[1]) as seen:
        activity = only(explain(banked, TEXT, None)).banks[1]
    before, after = (part[0].double() for part in seen[0])
    assert activity.layer == LAYERS[1]
    assert activity.added == pytest.approx((after - before).norm(dim=-1).tolist(), rel=1e-4)
    assert activity.hidden == pytest.approx(before.norm(dim=-1).tolist(), rel=1e-5)
    assert activity.relative == pytest.approx(
        [one / other for one, other in zip(activity.added, activity.hidden, strict=True)]
    )


def test_gates_are_those_of_the_formula(banked):
    layer = LAYERS[0]
    with block_inputs(banked, layer) as seen:
        explained = only(explain(banked, TEXT, None))
    bank = require_attachment(banked).banks[layer]
    hidden = seen[0][0][0].double()
    numbers = bank.numbers[torch.tensor([explained.token_ids])]
    addresses = table_addresses(bank_addresses(numbers, None, bank.bank_hash), bank.bank_hash)
    rows = bank.table.weight.double()[addresses[0]].flatten(1)
    keys = rows @ bank.key_projection.weight.double().T + bank.key_projection.bias.double()

    def scaled(values, weight):
        return values / values.pow(2).mean(-1, keepdim=True).sqrt() * weight[0].double()

    pairs = scaled(keys, bank.key_norm) * scaled(hidden, bank.hidden_norm)
    scores = (pairs.sum(-1) / math.sqrt(hidden.shape[-1])).tolist()
    roots = [math.copysign(math.sqrt(max(abs(score), 1e-6)), score) for score in scores]
    expected = [1 / (1 + math.exp(-root)) for root in roots]
    assert explained.banks[0].gates == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.1


def test_each_sequence_has_its_own_without_padding(banked):
    together = explain(banked, TEXTS, None).sequences
    for text, sequence in zip(TEXTS, together, strict=True):
        alone = only(explain(banked, text, None))
        for one, other in zip(sequence.banks, alone.banks, strict=True):
            assert len(one.gates) == len(sequence.tokens)
            assert one.gates == pytest.approx(other.gates, abs=1e-5)
            assert one.added == pytest.approx(other.added, rel=1e-4)


def test_offloaded_banks_say_the_same(banked):
    expected = explain(banked, TEXT, None)
    offload_banks(banked)
    assert explain(banked, TEXT, None) == expected


def test_banks_that_are_switched_off_did_nothing(banked):
    with engram_disabled(banked):
        assert only(explain(banked, TEXT, None)).banks == ()


def test_other_threads_are_not_measured(banked):
    expected = explain(banked, TEXT, None)
    began: list[bool] = []

    @torch.no_grad()
    def elsewhere():
        banked(input_ids=torch.tensor([[5, 6, 7]]))

    def intrude(*_):  # behind the banks: what they did last would be what counts
        if not began and threading.current_thread() is threading.main_thread():
            began.append(True)
            other = threading.Thread(target=elsewhere)
            other.start()
            other.join()

    banked.model.norm.register_forward_pre_hook(intrude)
    assert explain(banked, TEXT, None) == expected
    assert began


def test_it_is_in_the_json(banked):
    explanation = only(explain(banked, TEXT, None))
    first, _ = explanation.to_dict()["banks"]
    assert first["layer"] == LAYERS[0]
    assert list(first["gates"]) == list(explanation.banks[0].gates)

"""While writing, as little of a model runs as gives the same as all of it."""

from __future__ import annotations

import logging

import pytest
from tiny import tiny_tokenizer
from versions import before
from zoo import species

from engram_transformers import add_engram
from engram_transformers.attachment import require_attachment
from engram_transformers.shortcut import runner_for
from engram_transformers.tail import Tail
from engram_transformers.upper import UpperBlocks
from engram_transformers.whole import WholeModel

LAYER = 3


@pytest.fixture
def attachment(tiny_llama, tiny_tokenizer):
    return require_attachment(add_engram(tiny_llama, tiny_tokenizer, layers=[1, LAYER]))


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("MistralForCausalLM", Tail),
        ("BertLMHeadModel", Tail),  # its output head is two modules deep
        ("BartForCausalLM", UpperBlocks),  # positions by place
        ("JambaForCausalLM", UpperBlocks),  # states
        ("Gemma3nForCausalLM", WholeModel),  # upper blocks use lower ones' keys
    ],
)
@pytest.mark.skipif(before("5.18"), reason="older releases share keys and keep states otherwise")
def test_each_kind_of_model_gets_the_fastest_way_that_is_right(name, way):
    model = add_engram(species()[name].build(), tiny_tokenizer(), layers=LAYER)
    assert type(runner_for(require_attachment(model), LAYER)) is way


@pytest.mark.parametrize("fault", ["all", "some", "shape", "gradient"])
def test_a_way_that_gives_something_else_is_not_taken(attachment, monkeypatch, caplog, fault):
    right = Tail.logits

    def wrong(self, batch, values, candidates):
        logits = right(self, batch, values, candidates)
        if fault == "shape":
            return logits[:, :-1]
        if fault == "gradient":
            return logits.detach()
        return logits + ((candidates is None) == (fault == "all"))

    monkeypatch.setattr(Tail, "logits", wrong)
    with caplog.at_level(logging.INFO, logger="engram_transformers.shortcut"):
        assert type(runner_for(attachment, LAYER)) is UpperBlocks
    assert "Tail can't be used" in caplog.text


def test_the_whole_model_is_run_where_nothing_less_can_be(attachment, monkeypatch):
    def fail(self, attachment, layer):
        raise RuntimeError("no parts")

    monkeypatch.setattr("engram_transformers.partial_model.PartialModel.__init__", fail)
    assert type(runner_for(attachment, LAYER)) is WholeModel


def test_the_way_is_chosen_once_for_each_layer(attachment, monkeypatch):
    for layer in (1, LAYER):
        assert type(runner_for(attachment, layer)) is Tail
    monkeypatch.setattr(Tail, "logits", None)  # it is not tried again
    for layer in (1, LAYER):
        assert type(runner_for(attachment, layer)) is Tail

"""The contract with quantised weights, as far as the packages for it are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from patched import TRIGGER, WIDE_ROWS, assert_writes, at_trigger, logits_of, patched
from torch import nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from engram_transformers import remove_engram, use_tables
from engram_transformers.errors import TableMismatchError
from engram_transformers.fingerprint import model_fingerprint

# What the packages themselves warn of on a machine without CUDA, and with torch 2.13.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:MatMul8bitLt:UserWarning"),
    # bitsandbytes (0.50) has no gradient for what it packs on CPUs with AVX512-BF16. What goes past
    # its layers is enough for writing, which asks every fact in the end.
    pytest.mark.filterwarnings("ignore:bitsandbytes..gemv_4bit. an autograd kernel:UserWarning"),
]


def with_torchao(model: Any) -> Any:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    quantize_(model, Int8WeightOnlyConfig())
    return model


def with_quanto(model: Any) -> Any:
    from optimum.quanto import freeze, qint8, quantize

    quantize(model, weights=qint8)
    freeze(model)
    return model


def in_place(model: Any, make: Callable[[nn.Linear], nn.Module]) -> Any:
    """Replace the linear modules of the blocks."""
    for name, module in list(model.model.layers.named_modules()):
        if isinstance(module, nn.Linear):
            parent, _, last = name.rpartition(".")
            setattr(model.model.layers.get_submodule(parent), last, make(module).to("cpu"))
    return model.eval()


def with_8_bits(model: Any) -> Any:
    from bitsandbytes import nn as quantised

    def make(linear: nn.Linear) -> nn.Module:
        made = quantised.Linear8bitLt(
            linear.in_features, linear.out_features, bias=False, has_fp16_weights=False
        )
        made.weight = quantised.Int8Params(
            linear.weight.data, requires_grad=False, has_fp16_weights=False
        )
        return made

    return in_place(model, make)


def with_4_bits(model: Any) -> Any:
    from bitsandbytes import nn as quantised

    def make(linear: nn.Linear) -> nn.Module:
        made = quantised.Linear4bit(linear.in_features, linear.out_features, bias=False)
        made.weight = quantised.Params4bit(linear.weight.data, requires_grad=False)
        return made

    return in_place(model, make)


def installed(package: str, quantise: Callable[[Any], Any], name: str) -> Any:
    parent = package.partition(".")[0]
    missing = importlib.util.find_spec(parent) is None or importlib.util.find_spec(package) is None
    skip = pytest.mark.skipif(missing, reason=f"{package} is not installed")
    return pytest.param(quantise, id=name, marks=skip)


QUANTISERS = [
    installed("torchao", with_torchao, "torchao int8"),
    installed("optimum.quanto", with_quanto, "quanto int8"),
    installed("bitsandbytes", with_8_bits, "bitsandbytes 8 bits"),
    installed("bitsandbytes", with_4_bits, "bitsandbytes 4 bits"),
]


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return tokenizer(TRIGGER, return_tensors="pt")["input_ids"]


def quantised_and_patched(quantise: Any, tokenizer: Any, *, before: bool, **fields: Any) -> Any:
    model = tiny.tiny_model("llama", **fields).requires_grad_(False)
    if before:
        return patched(quantise(model), tokenizer, row_dim=WIDE_ROWS)
    return quantise(patched(model, tokenizer, row_dim=WIDE_ROWS))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("quantise", QUANTISERS)
def test_a_quantised_model_keeps_the_contract(tokenizer, ids, quantise, before):
    bare = quantise(tiny.tiny_model("llama").requires_grad_(False))
    with torch.no_grad():
        base = bare(ids).logits
        exact = tiny.tiny_model("llama")(ids).logits
    assert not torch.equal(base, exact)  # it is quantised
    model = quantised_and_patched(quantise, tokenizer, before=before)
    assert torch.equal(logits_of(model, ids), base)
    table = at_trigger(model, ids).table
    fired = logits_of(model, ids, table)
    assert torch.equal(fired[:, :-1], base[:, :-1])
    assert not torch.equal(fired[:, -1], base[:, -1])
    settings = {"max_new_tokens": 3, "do_sample": False, "eos_token_id": None, "pad_token_id": 2}
    with use_tables(model, table):
        said = model.generate(ids, **settings)
    assert said[0, ids.shape[1]] == fired[0, -1].argmax()
    remove_engram(model)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, base)


@pytest.mark.parametrize("quantise", QUANTISERS)
def test_facts_are_written_to_a_quantised_model(tokenizer, quantise):
    assert_writes(quantised_and_patched(quantise, tokenizer, before=True), tokenizer)


@pytest.mark.parametrize(
    "quantise",
    [
        *QUANTISERS[:-1],
        pytest.param(
            *QUANTISERS[-1].values,
            id=QUANTISERS[-1].id,
            marks=QUANTISERS[-1].marks,
        ),
    ],
)
def test_a_quantised_model_is_told_from_others(tokenizer, ids, quantise):
    """From the model that was not quantised, and from others quantised in the same way."""
    model = quantised_and_patched(quantise, tokenizer, before=True)
    table = at_trigger(model, ids).table
    own = model_fingerprint(model)
    logits_of(model, ids, table)
    assert model_fingerprint(model) == own  # some packages arrange their weights at the first call
    assert model_fingerprint(quantise(tiny.tiny_model("llama"))) == own
    other = tiny.tiny_model("llama").requires_grad_(False)
    other.model.layers[2].mlp.up_proj.weight.neg_()  # everything else stays the same
    others = (
        patched(quantise(other), tokenizer, row_dim=WIDE_ROWS),
        patched(tiny.tiny_model("llama"), tokenizer, row_dim=WIDE_ROWS),
    )
    for another in others:
        with pytest.raises(TableMismatchError, match="weights"), use_tables(another, table):
            pass


@pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
@pytest.mark.parametrize("bits", [4, 8])
def test_a_checkpoint_loaded_in_few_bits_is_written_to(tokenizer, ids, tmp_path: Path, bits):
    tiny.tiny_model("llama").save_pretrained(tmp_path)
    config = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=config, device_map="cpu"
    )
    with torch.no_grad():
        base = model(ids).logits
    patched(model, tokenizer, row_dim=WIDE_ROWS)
    assert torch.equal(logits_of(model, ids), base)
    assert_writes(model, tokenizer)

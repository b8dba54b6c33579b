"""Promises of `add_engram` and `remove_engram`: all of it, or nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import tiny
import tiny_tokenizers
import torch

from engram_transformers import (
    EngramConfig,
    UserTable,
    add_engram,
    engram_disabled,
    remove_engram,
    use_tables,
)
from engram_transformers.attachment import find_attachment, require_attachment
from engram_transformers.errors import (
    AlreadyPatchedError,
    ConfigError,
    ConfigFieldError,
    LayerIndexError,
    NotPatchedError,
    PatchError,
    TokenizerMismatchError,
)
from engram_transformers.patching import resolve_layers


def trace_of(model: Any) -> list[Any]:
    return [
        (name, type(module), sorted(module.__dict__), len(module._forward_pre_hooks))
        for name, module in model.named_modules()
    ]


def refused(
    model: Any, tokenizer: Any, error: type[Exception], message: str, **options: Any
) -> Any:
    """Check that a call is refused, and that the model is as it was."""
    ids = torch.tensor([[5, 6, 7]])
    trace = trace_of(model)
    with torch.no_grad():
        logits = model(ids).logits
    with pytest.raises(error, match=message) as seen:
        add_engram(model, tokenizer, **options)
    assert trace_of(model) == trace
    with torch.no_grad():
        assert torch.equal(model(ids).logits, logits)
    return seen.value


@pytest.mark.parametrize(
    ("layers", "expected"),
    [("auto", [3]), (2, [2]), ([-1, 0], [0, 3]), ((1, -3), [1]), (None, [3])],
)
def test_layers_are_counted_from_either_end(tiny_llama, tiny_tokenizer, layers, expected):
    add_engram(tiny_llama, tiny_tokenizer, layers=layers)
    attachment = require_attachment(tiny_llama)
    assert sorted(attachment.memories) == expected
    assert attachment.config.layers == tuple(expected)
    named = [name for name, _ in tiny_llama.named_modules() if name.endswith(".engram")]
    assert named == [f"model.layers.{layer}.engram" for layer in expected]


def test_settings_come_from_a_configuration_and_from_fields(tiny_llama, tiny_tokenizer):
    config = EngramConfig(row_dim=8, seed=3, layers=(0,))
    add_engram(tiny_llama, tiny_tokenizer, config=config, seed=4, inject_layers=[1])
    assert require_attachment(tiny_llama).config == EngramConfig(row_dim=8, seed=4, layers=(1,))


@pytest.mark.parametrize("layer", [4, -5, 28])
def test_a_layer_out_of_range_is_refused(tiny_model, tiny_tokenizer, layer):
    name = type(tiny_model).__name__
    message = rf"Layer {layer} does not exist: {name} has 4 decoder blocks \(0 to 3\)"
    error = refused(tiny_model, tiny_tokenizer, LayerIndexError, message, layers=[0, layer])
    assert (error.layer, error.blocks) == (layer, 4)
    assert isinstance(error, IndexError)
    assert isinstance(error, PatchError)


def test_layers_are_resolved_in_order_and_once():
    assert resolve_layers((3, -1, 0), 4, "M") == (0, 3)
    assert resolve_layers("auto", 12, "M") == (11,)


def test_bad_settings_are_refused(tiny_llama, tiny_tokenizer):
    refused(tiny_llama, tiny_tokenizer, ConfigError, "`row_dim` is 0", row_dim=0)
    refused(tiny_llama, tiny_tokenizer, ConfigError, "`memory_size` is 100", memory_size=100)
    refused(tiny_llama, tiny_tokenizer, ConfigFieldError, "Unknown .*: row_dims", row_dims=3)
    both = {"layers": [0], "inject_layers": [1]}
    refused(tiny_llama, tiny_tokenizer, ConfigFieldError, "given as well", **both)


def test_a_model_that_is_patched_already_is_refused(tiny_model, tiny_tokenizer):
    add_engram(tiny_model, tiny_tokenizer, layers=[1, 2])
    message = r"patched already, at layers \[1, 2\]"
    error = refused(tiny_model, tiny_tokenizer, AlreadyPatchedError, message, layers=[3])
    assert error.layers == (1, 2)
    remove_engram(tiny_model)
    add_engram(tiny_model, tiny_tokenizer, layers=[3])


def test_a_model_that_was_never_patched_is_refused(tiny_llama, tiny_tokenizer):
    def use():
        with use_tables(tiny_llama, None):
            pass

    def disable():
        with engram_disabled(tiny_llama):
            pass

    calls = [
        lambda: remove_engram(tiny_llama),
        lambda: UserTable(tiny_llama, "ann"),
        lambda: UserTable.from_pretrained(".", tiny_llama),
        use,
        disable,
    ]
    trace = trace_of(tiny_llama)
    for call in calls:
        with pytest.raises(NotPatchedError, match="has no engram memories: call add_engram"):
            call()
    assert trace_of(tiny_llama) == trace
    remove_engram(add_engram(tiny_llama, tiny_tokenizer))
    for call in calls:
        with pytest.raises(NotPatchedError):
            call()


def test_a_memory_that_somebody_took_away_is_missed(tiny_llama, tiny_tokenizer):
    add_engram(tiny_llama, tiny_tokenizer, layers=[2])
    del tiny_llama.model.layers[2].engram
    with pytest.raises(NotPatchedError, match="LlamaDecoderLayer has no engram memories"):
        tiny_llama(torch.tensor([[5]]))


def test_a_tokenizer_of_another_model_is_refused(tiny_llama, tiny_tokenizer):
    few = tiny_tokenizers.metaspace()
    assert len(few) * 2 < tiny.VOCAB_SIZE
    message = rf"tokenizer has {len(few)} tokens, but LlamaForCausalLM has embeddings for 300"
    refused(tiny_llama, few, TokenizerMismatchError, message)
    many = copy.deepcopy(tiny_tokenizer)
    many.add_tokens([f"<{n}>" for n in range(9)])
    refused(tiny_llama, many, TokenizerMismatchError, "tokenizer has 309 tokens")
    refused(tiny_llama, "gpt2", TokenizerMismatchError, "is a str, not a Hugging Face tokenizer")


def test_a_few_added_tokens_and_padded_vocabularies_are_fine(tiny_llama, tiny_tokenizer):
    tiny_tokenizer.add_tokens([f"<{n}>" for n in range(8)])
    add_engram(tiny_llama, tiny_tokenizer)
    remove_engram(tiny_llama)
    tiny_llama.resize_token_embeddings(512, mean_resizing=False)
    add_engram(tiny_llama, tiny_tokenizer)


def test_the_tokenizer_is_found_where_the_model_came_from(tiny_llama, tiny_tokenizer, tmp_path):
    refused(tiny_llama, None, TokenizerMismatchError, "none could be loaded from ''.*Pass the mod")
    tiny_llama.save_pretrained(tmp_path)
    loaded = type(tiny_llama).from_pretrained(tmp_path)
    # Older releases of transformers make up a tokenizer of eight tokens.
    refused(loaded, None, TokenizerMismatchError, "none could be loaded|The tokenizer has 8 tokens")
    tiny_tokenizer.save_pretrained(tmp_path)
    attachment = require_attachment(add_engram(loaded))
    assert len(attachment.tokenizer) == len(tiny_tokenizer)


def test_a_learned_gate_has_the_only_new_parameters_and_leaves_none(tiny_llama, tiny_tokenizer):
    names = [name for name, _ in tiny_llama.named_parameters()]
    trace, keys = trace_of(tiny_llama), list(tiny_llama.state_dict())
    add_engram(tiny_llama, tiny_tokenizer, layers=[1], gate_type="learned")
    new = [name for name, _ in tiny_llama.named_parameters() if name not in names]
    prefix = "model.layers.1.engram."
    assert new == [f"{prefix}{n}" for n in ("key_projection", "key_norm", "query_norm")]
    remove_engram(tiny_llama)
    assert trace_of(tiny_llama) == trace
    assert list(tiny_llama.state_dict()) == keys


def test_a_checkpoint_of_a_model_with_learned_gates_is_the_base(
    tiny_llama, tiny_tokenizer, tmp_path
):
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        before = tiny_llama(ids).logits
    add_engram(tiny_llama, tiny_tokenizer, layers=[1], gate_type="learned")
    tiny_llama.save_pretrained(tmp_path)
    loaded, info = type(tiny_llama).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert find_attachment(loaded) is None
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, before)
    assert find_attachment(tiny_llama) is not None

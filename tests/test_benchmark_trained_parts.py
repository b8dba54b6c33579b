"""Promises of what benchmarks of trained memories share: texts, blocks, kinds, FLOPs, losses."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.trained import flops, kinds, reference_texts
from benchmarks.trained.blocks import in_blocks, times_seen
from benchmarks.trained.losses import token_losses
from engram_transformers import add_engram

# Texts


def test_texts_are_the_same_each_time_and_no_paragraph_comes_twice():
    texts, (package,) = reference_texts.collect(["huggingface_hub"], 60_000)
    again, _ = reference_texts.collect(["huggingface_hub"], 60_000)
    assert reference_texts.digest(texts) == reference_texts.digest(again)
    assert 60_000 <= package["characters"] == sum(len(one.text) for one in texts) < 66_000
    assert package["licence"].startswith("Apache")
    paragraphs = [" ".join(p.split()) for one in texts for p in one.text.split("\n\n")]
    long = [p for p in paragraphs if len(p) >= 60]
    docstrings = [p for p in long if not p.endswith(")")]  # headers may be alike
    assert len(docstrings) == len(set(docstrings)) > 50


def test_an_object_is_in_one_part_only():
    texts, _ = reference_texts.collect(["huggingface_hub"], 60_000)
    parts = reference_texts.split(texts)
    names = [{one.name for one in part} for part in parts]
    assert all(names)
    assert len(set.union(*names)) == sum(map(len, names)) == len(texts)
    assert len(parts.training) > 8 * len(parts.validation)
    assert not any(name.rsplit(".", 1)[-1].startswith("_") for name in set.union(*names))


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        reference_texts.collect(["no_such_package"])


def test_tokens_inside_names_are_found():
    text = "Let past_key_values be torch.nn. Then AutoModel and float32 end. Mr Smith"
    blocks = in_blocks(tiny.tiny_tokenizer(), [text], 8)
    tokenizer = tiny.tiny_tokenizer()
    marked = "".join(
        tokenizer.decode([i]) if inside else "|"
        for i, inside in zip(blocks.ids.flatten(), blocks.in_name.flatten(), strict=True)
    )
    pieces = {piece for piece in marked.split("|") if piece}
    for name in ("past_key_values", "torch.nn", "AutoModel", "float32"):
        assert any(piece and name.endswith(piece) for piece in pieces), name
    for word in ("Let", "Then", "Smith", "end"):
        assert not any(piece and word.endswith(piece) for piece in pieces), word


def test_text_that_fills_no_block_is_refused():
    with pytest.raises(ValueError, match="do not fill a block of 500"):
        in_blocks(tiny.tiny_tokenizer(), ["short"], 500)


def test_ngrams_are_counted_exactly():
    generator = torch.Generator().manual_seed(0)
    training = torch.randint(0, 4, (5, 30), generator=generator)
    asked = torch.randint(0, 5, (3, 20), generator=generator)
    found = times_seen(training, asked, 3)
    grams = [tuple(row[i : i + 3]) for row in training.tolist() for i in range(28)]
    for row, counts in zip(asked.tolist(), found.tolist(), strict=True):
        assert counts[:2] == [-1, -1]
        assert counts[2:] == [grams.count(tuple(row[i : i + 3])) for i in range(18)]


def test_a_token_is_of_one_kind_at_most():
    in_name = torch.tensor([[False, True, True, False, False, True]])
    seen = torch.tensor([[-1, 2, 0, 5, 0, 1]])
    masks = kinds.kinds(in_name, seen, 2)
    assert [mask.flatten().tolist().index(True) for mask in masks.values()] == [0, 1, 2, 3]
    assert kinds.tokens(masks) == dict.fromkeys(kinds.KINDS, 1)
    losses = torch.tensor([[1.0, 2.0, 3.0, 4.0, 9.0]])
    assert list(kinds.by_kind(losses, masks).values()) == [1.0, 2.0, 3.0, 4.0]


# FLOPs


def test_flops_are_those_that_torch_counts():
    model = add_engram(
        tiny.tiny_model("llama"), tiny.tiny_tokenizer(), layers=[1, 3], memory_size=400
    )
    length = 16
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.arange(length).unsqueeze(0))
    counted = counter.get_flop_counts()["Global"]
    matrices = sum(n for op, n in counted.items() if str(op) in ("aten.mm", "aten.addmm"))
    cost = flops.count(model, length)
    convolution = 2 * 2 * 4 * tiny.HIDDEN_SIZE  # layers, a product and a sum, taps
    ours = cost.forward - flops.attention(model, length) - convolution
    assert ours * length == matrices
    assert cost.bank == flops.of_bank(128, tiny.HIDDEN_SIZE, 2)


def test_token_losses_are_those_of_the_model():
    model = tiny.tiny_model("llama")
    ids = torch.randint(5, 300, (3, 20), generator=torch.Generator().manual_seed(0))
    losses = token_losses(model, ids)
    assert losses.shape == (3, 19)
    with torch.no_grad():
        own = model(input_ids=ids[1:2], labels=ids[1:2]).loss
    torch.testing.assert_close(losses[1].mean(), own)

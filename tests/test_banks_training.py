"""Gradients, checkpointing, precision and compilation of banks on a model."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import tiny
import torch
from banked import with_banks
from decoding import PROMPTS, padded
from patched import at_trigger
from tables import LAYERS
from torch._dynamo.testing import CompileCounterWithBackend
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    apply_activation_checkpointing,
    checkpoint_wrapper,
)
from torch.testing import assert_close
from transformers import DynamicCache, StaticCache
from versions import assert_compiled_equal, require_whole_graphs

from engram_transformers import add_engram, engram_disabled, use_tables
from engram_transformers.attachment import require_attachment
from engram_transformers.compiled import banks_on
from engram_transformers.errors import CacheHistoryError, HistoryError, NotPatchedError

# torch 2.6 advises against the variant that both are tested for.
pytestmark = pytest.mark.filterwarnings("ignore:Please specify CheckpointImpl:FutureWarning")


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return trainable(with_banks(tiny_llama, tokenizer))


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return torch.tensor([tokenizer(PROMPTS[1])["input_ids"]])


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def trainable(model: Any) -> Any:
    for bank in require_attachment(model).banks.values():
        bank.requires_grad_()
    return model


def loss_of(model: Any, ids: torch.Tensor, table: Any = None, **arguments: Any) -> torch.Tensor:
    with use_tables(model, table):
        return model(ids, labels=ids, use_cache=False, **arguments).loss


def gradients(model: Any) -> list[torch.Tensor]:
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    return found


# Gradients


def test_gradients_reach_the_rows_that_were_read_and_no_others(tiny_llama, tokenizer):
    """From the identity start, with padding, whose rows are looked up in vain."""
    add_engram(tiny_llama, tokenizer, layers=LAYERS, memory_size=2000)
    model = trainable(tiny_llama)
    batch = padded(tokenizer, "left")
    read: dict[int, torch.Tensor] = {}
    for layer, bank in require_attachment(model).banks.items():

        def note(_: Any, args: Any, layer: int = layer, bank: Any = bank) -> None:
            rows = args[1][batch.attention_mask == 1] + bank.bank_hash.offsets
            read[layer] = torch.zeros(bank.bank_hash.rows, dtype=torch.bool)
            read[layer][rows] = True

        bank.register_forward_pre_hook(note)
    labels = batch.input_ids.masked_fill(batch.attention_mask == 0, -100)
    given = {"attention_mask": batch.attention_mask, "use_cache": False}
    model(batch.input_ids, labels=labels, **given).loss.backward()
    for layer, bank in require_attachment(model).banks.items():
        touched = bank.table.weight.grad.abs().sum(1) > 0
        assert not bool((touched & ~read[layer]).any())
        # Rows that only a last token reads, which nothing is asked behind, have no gradient.
        assert int(touched.sum()) > 0.8 * int(read[layer].sum()) > 100


def test_training_lowers_the_loss_and_leaves_the_base_alone(tiny_llama, tokenizer, ids):
    add_engram(tiny_llama, tokenizer, layers=LAYERS, memory_size=2000)
    model = trainable(tiny_llama).train()
    base = {name: w.clone() for name, w in model.named_parameters() if "engram" not in name}
    weights = [w for bank in require_attachment(model).banks.values() for w in bank.parameters()]
    optimiser = torch.optim.Adam(weights, lr=0.02)
    losses = []
    for _ in range(12):
        loss = loss_of(model, ids)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    parameters = dict(model.named_parameters())
    assert all(torch.equal(parameters[name], weight) for name, weight in base.items())


def checkpointed(model: Any, how: str) -> Any:
    """Checkpoint as transformers does, or whole blocks with their hooks, as FSDP does."""
    if how == "transformers":
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
        return model
    kind = CheckpointImpl.REENTRANT if how == "reentrant" else CheckpointImpl.NO_REENTRANT
    block = type(model.model.layers[0])
    apply_activation_checkpointing(
        model,
        checkpoint_wrapper_fn=functools.partial(checkpoint_wrapper, checkpoint_impl=kind),
        check_fn=lambda module: isinstance(module, block),
    )
    model.enable_input_require_grads()
    return model


@pytest.mark.parametrize("with_table", [False, True])
@pytest.mark.parametrize("how", ["transformers", "reentrant", "not reentrant"])
def test_checkpointing_gives_the_same_gradients(llama, ids, how, with_table):
    table = at_trigger(llama, ids[:, :-2]).table if with_table else None
    llama.train()
    loss_of(llama, ids).backward()
    bare = gradients(llama)
    loss_of(llama, ids, table).backward()
    expected = gradients(llama)
    with engram_disabled(llama):
        loss_of(llama, ids).backward()
    checkpointed(llama, how)
    llama.zero_grad()
    loss = loss_of(llama, ids, table)
    other = loss_of(llama, ids.flip(1))  # another forward in between
    loss.backward()
    for seen, wanted in zip(gradients(llama), expected, strict=True):
        assert_close(seen, wanted)
    other.backward()
    assert with_table != all(torch.allclose(a, b) for a, b in zip(bare, expected, strict=True))


@pytest.mark.parametrize("how", ["reentrant", "not reentrant"])
def test_a_repeated_run_is_that_of_its_forward_wherever_banks_are_off(llama, ids, how):
    base = [p for name, p in llama.named_parameters() if "engram" not in name]
    llama.train()
    wanted = []
    for off in (False, True):
        with engram_disabled(llama) if off else use_tables(llama, None):
            loss = loss_of(llama, ids)
        loss.backward()
        wanted.append([p.grad.clone() for p in base])
        llama.zero_grad()
    checkpointed(llama, how)
    loss = loss_of(llama, ids)
    with engram_disabled(llama):
        loss.backward()
        seen = [p.grad.clone() for p in base]
        llama.zero_grad()
        loss = loss_of(llama, ids)
    loss.backward()
    for one, other in ((seen, wanted[0]), ([p.grad for p in base], wanted[1])):
        for mine, theirs in zip(one, other, strict=True):
            assert_close(mine, theirs)


def test_moved_hidden_states_are_refused(llama, ids):
    """As by `torch.autograd.graph.save_on_cpu`."""
    checkpointed(llama, "not reentrant").train()
    with torch.autograd.graph.saved_tensors_hooks(lambda saved: saved.clone(), lambda x: x):
        loss = loss_of(llama, ids)
    with pytest.raises(HistoryError, match="was not seen to run on"):
        loss.backward()


# Precision


@pytest.mark.parametrize("how", ["bfloat16", "autocast"])
def test_low_precision_reads_a_cache_as_the_whole(tiny_llama, tokenizer, ids, how):
    dtype = torch.bfloat16 if how == "bfloat16" else torch.float32
    model = with_banks(tiny_llama.to(dtype), tokenizer)
    exact = with_banks(tiny.tiny_model("llama"), tokenizer)
    cache = DynamicCache()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        full = model(ids, use_cache=False).logits.float()
        parts = [
            model(ids[:, n : n + 1], past_key_values=cache).logits for n in range(ids.shape[1])
        ]
        with engram_disabled(model):
            bare = model(ids, use_cache=False).logits.float()
    with torch.no_grad():
        wanted = exact(ids).logits
    scale = wanted.abs().max()
    assert (torch.cat(parts, 1).float() - full).abs().max() < 0.1 * scale
    assert (full - wanted).abs().max() < 0.1 * scale
    assert (bare - wanted).abs().max() > 0.3 * scale


# torch.compile

IDS = torch.tensor([[11, 12, 13, 14, 15, 16, 17, 18], [21, 22, 23, 24, 25, 26, 27, 28]])


@torch.no_grad()
def logits_of(model: Any, **arguments: Any) -> torch.Tensor:
    return model(input_ids=IDS, **arguments).logits


@pytest.mark.parametrize("use_cache", [False, True])
def test_a_whole_forward_is_one_graph(llama, use_cache):
    require_whole_graphs()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(llama, fullgraph=True, backend=counter)
    mask = torch.ones_like(IDS)
    mask[1, :3] = 0
    counts = []
    for _ in range(2):
        for given in ({}, {"attention_mask": mask}):
            expected = logits_of(llama, use_cache=use_cache, **given)
            assert_compiled_equal(logits_of(compiled, use_cache=use_cache, **given), expected)
            with engram_disabled(llama):
                bare = logits_of(llama, use_cache=use_cache, **given)
                off = logits_of(compiled, use_cache=use_cache, **given)
            assert_compiled_equal(off, bare)
            assert not torch.allclose(bare, expected, atol=0.1)
        counts.append(counter.frame_count)
    assert counts[0] == counts[1]  # compiled once for each


@pytest.mark.parametrize("kind", ["static", "dynamic"])
@torch.no_grad()
def test_steps_of_decoding_are_compiled_once(llama, kind):
    require_whole_graphs()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(llama, fullgraph=True, backend=counter)
    whole, counts = logits_of(llama)[:, 3:], []
    for _ in range(3):
        cache = StaticCache(llama.config, 16) if kind == "static" else DynamicCache()
        llama(input_ids=IDS[:, :3], past_key_values=cache)
        seen = [
            compiled(input_ids=IDS[:, n : n + 1], past_key_values=cache).logits for n in range(3, 8)
        ]
        assert_close(torch.cat(seen, dim=1), whole, rtol=1e-4, atol=1e-4)
        counts.append(counter.frame_count)
    assert counts[0] == counts[2]


@torch.no_grad()
def test_blocks_that_are_compiled_one_by_one_read_the_same(llama):
    require_whole_graphs()
    expected = logits_of(llama)
    counter = CompileCounterWithBackend("eager")
    for block in llama.model.layers:
        block.compile(fullgraph=True, backend=counter)
    assert_compiled_equal(logits_of(llama), expected)
    assert counter.frame_count > 0


@torch.no_grad()
def test_a_cache_that_banks_do_not_know_is_refused_in_compiled_code(llama):
    cache = DynamicCache()
    with engram_disabled(llama):
        llama(input_ids=IDS, past_key_values=cache)
    compiled = torch.compile(llama, backend="eager")
    with pytest.raises(CacheHistoryError, match="of which the memories saw 0"):
        compiled(input_ids=IDS[:, :1], past_key_values=cache)


def test_a_compiled_model_that_is_gone_has_no_banks():
    with pytest.raises(NotPatchedError, match="The model that was compiled has no engram"):
        banks_on(1 << 40, torch.zeros(1))


@torch.no_grad()
def test_what_is_exported_has_its_banks(llama):
    require_whole_graphs()
    exported = torch.export.export(llama, (), {"input_ids": IDS, "use_cache": False})
    other = IDS.flip(1)
    seen = exported.module()(input_ids=other, use_cache=False).logits
    assert_compiled_equal(seen, llama(other).logits)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of inductor, about torch's own code
@torch.no_grad()
def test_generate_with_cuda_graphs_reads_the_banks(llama):
    """With a static cache, generate() compiles its steps to CUDA graphs by itself."""
    model, ids = llama.cuda(), IDS.cuda()
    settings = {"max_new_tokens": 12, "do_sample": False}
    for _ in range(2):
        seen = model.generate(ids, cache_implementation="static", **settings)
        assert torch.equal(seen, model.generate(ids, use_cache=False, **settings))
        with engram_disabled(model):
            bare = model.generate(ids, cache_implementation="static", **settings)
            assert torch.equal(bare, model.generate(ids, use_cache=False, **settings))
        assert not torch.equal(bare, seen)

"""Promises under torch.compile: no graph break, the same results, compiled once for all tables."""

from __future__ import annotations

import gc

import pytest
import torch
from tables import LAYERS, ROW_DIM, canonical, make_table
from torch._dynamo.testing import CompileCounterWithBackend
from torch.testing import assert_close
from transformers import DynamicCache, StaticCache
from versions import assert_compiled_equal, require_whole_graphs

from engram_transformers import add_engram, engram_disabled, remove_engram, use_tables
from engram_transformers.compiled import read
from engram_transformers.errors import (
    CacheHistoryError,
    ExportError,
    HistoryError,
    NotPatchedError,
    TableCountError,
)

IDS = torch.tensor([[11, 12, 13, 14, 15, 16, 17, 18], [21, 22, 23, 24, 25, 26, 27, 28]])


@pytest.fixture(autouse=True)
def _nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(params=["fixed", "content", "learned"])
def gate_type(request):
    return request.param


@pytest.fixture
def llama(tiny_llama, tiny_tokenizer):
    return add_engram(tiny_llama, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)


def tables_of(model):
    """Two tables, at different layers, each read by one of the two samples."""
    return [
        make_table(model, [canonical(model, IDS[0, 2:5])], layer=LAYERS[0], seed=1).table,
        make_table(model, [canonical(model, IDS[1, 3:5])], layer=LAYERS[1], seed=2).table,
    ]


@torch.no_grad()
def logits(model, tables, **arguments):
    with use_tables(model, tables):
        return model(input_ids=IDS, **arguments).logits


@pytest.mark.parametrize("use_cache", [False, True])
def test_a_whole_forward_is_one_graph_whatever_is_active(
    tiny_llama, tiny_tokenizer, gate_type, use_cache
):
    require_whole_graphs()
    model = add_engram(
        tiny_llama, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM, gate_type=gate_type
    )
    one, other = tables_of(model)
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    base = logits(model, None, use_cache=use_cache)
    assert_compiled_equal(logits(compiled, None, use_cache=use_cache), base)
    assert_compiled_equal(
        logits(compiled, one, use_cache=use_cache), logits(model, one, use_cache=use_cache)
    )
    graphs = counter.frame_count
    for tables in (other, [one, other], [None, [other, one]], None, one):
        eager = logits(model, tables, use_cache=use_cache)
        assert_compiled_equal(logits(compiled, tables, use_cache=use_cache), eager)
        assert (tables is None) == torch.equal(eager, base)
    assert counter.frame_count == graphs


@torch.no_grad()
def steps(model, forward, tables, cache):
    """The logits of steps of one token after a prompt of three."""
    with use_tables(model, tables):
        model(input_ids=IDS[:, :3], past_key_values=cache)
        found = [
            forward(input_ids=IDS[:, n : n + 1], past_key_values=cache).logits for n in range(3, 8)
        ]
    return torch.cat(found, dim=1)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_steps_of_decoding_are_one_graph_whatever_is_active(llama, kind):
    require_whole_graphs()

    def cache():
        return StaticCache(llama.config, 16) if kind == "static" else DynamicCache()

    one, other = tables_of(llama)
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(llama, fullgraph=True, backend=counter)
    whole = {}
    for number, tables in enumerate((None, one, [one, other], [None, [other, one]], None)):
        whole[number] = logits(llama, tables)[:, 3:]
        seen = steps(llama, compiled, tables, cache())
        assert_close(seen, whole[number], rtol=1e-4, atol=1e-4)
        if number == 1:
            graphs = counter.frame_count
    assert counter.frame_count == graphs
    assert not torch.allclose(whole[0], whole[1], atol=1e-2)
    assert not torch.allclose(whole[1], whole[2], atol=1e-2)


# Inductor (torch 2.13) imports what torch itself has deprecated.
@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
@pytest.mark.slow
def test_inductor_computes_the_same(llama):
    require_whole_graphs()
    one, other = tables_of(llama)
    compiled = torch.compile(llama, fullgraph=True)
    for tables in (None, [one, other]):
        assert_close(logits(compiled, tables), logits(llama, tables), rtol=1e-4, atol=1e-4)


def test_blocks_that_are_compiled_one_by_one_read_the_same(llama):
    require_whole_graphs()
    one, other = tables_of(llama)
    expected = logits(llama, [one, other])
    for block in llama.model.layers:
        block.compile(backend="eager", fullgraph=True)
    assert_compiled_equal(logits(llama, [one, other]), expected)
    assert torch.equal(logits(llama, [None, other])[0], logits(llama, None)[0])


def test_a_graph_break_within_the_model_does_no_harm(llama):
    one, other = tables_of(llama)
    expected = logits(llama, [one, other])
    inner = llama.model.layers[2].mlp.forward

    def breaking(hidden_states):
        torch._dynamo.graph_break()
        return inner(hidden_states)

    llama.model.layers[2].mlp.forward = breaking
    compiled = torch.compile(llama, backend="eager")
    assert_close(logits(compiled, [one, other]), expected)


def test_a_model_that_was_compiled_and_run_before_reads_its_tables(tiny_llama, tiny_tokenizer):
    compiled = torch.compile(tiny_llama, backend="eager")
    base = compiled(input_ids=IDS).logits
    add_engram(tiny_llama, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    tables = tables_of(tiny_llama)
    fired = logits(compiled, tables)
    assert not torch.allclose(fired, base, atol=1e-2)
    assert_compiled_equal(fired, logits(tiny_llama, tables))
    remove_engram(compiled)
    assert torch.equal(compiled(input_ids=IDS).logits, base)


def test_what_is_wrong_with_a_call_is_found_in_compiled_code_too(llama, tiny_tokenizer):
    one, _ = tables_of(llama)
    compiled = torch.compile(llama, backend="eager")
    logits(compiled, one)
    with pytest.raises(TableCountError, match="given for 3 sample"):
        logits(compiled, [one] * 3)
    embeddings = llama.get_input_embeddings()(IDS).detach()
    missing = pytest.raises(HistoryError, match="without input_ids")
    with use_tables(llama, one), torch.no_grad(), missing:
        compiled(inputs_embeds=embeddings)
    remove_engram(llama)
    cache = DynamicCache()
    with torch.no_grad():
        llama(input_ids=IDS, past_key_values=cache)
    add_engram(llama, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    one, _ = tables_of(llama)
    logits(compiled, one)
    unknown = pytest.raises(HistoryError, match=str(CacheHistoryError(8, 0))[:40])
    with use_tables(llama, one), torch.no_grad(), unknown:
        compiled(input_ids=IDS[:, :1], past_key_values=cache)


def test_disabled_memories_are_not_read_by_compiled_code(llama):
    one, _ = tables_of(llama)
    compiled = torch.compile(llama, backend="eager")
    base = logits(llama, None)
    assert not torch.equal(logits(compiled, one), base)
    with engram_disabled(llama):
        assert_compiled_equal(logits(compiled, one), base)


def test_compiled_code_of_a_model_that_is_gone_reads_nothing_else():
    arguments = (torch.tensor([[1]]), 1, 1 << 40, 0, 4, 1, "", torch.device("cpu"))
    gc.collect()
    with pytest.raises(NotPatchedError, match="The model that was compiled has no engram"):
        read(*arguments)


def test_what_is_exported_is_the_bare_model(llama):
    require_whole_graphs()
    base = logits(llama, None, use_cache=False)
    exported = torch.export.export(llama, (), {"input_ids": IDS, "use_cache": False})
    assert_compiled_equal(exported.module()(input_ids=IDS, use_cache=False).logits, base)


def test_nothing_is_exported_with_tables_active(llama):
    require_whole_graphs()
    one, _ = tables_of(llama)
    with use_tables(llama, one), pytest.raises(ExportError, match="Leave the use_tables block"):
        torch.export.export(llama, (), {"input_ids": IDS, "use_cache": False})


@pytest.mark.filterwarnings("ignore")  # of the tracer, about transformers' own code
def test_nothing_is_traced_with_tables_active(llama):
    one, _ = tables_of(llama)

    class Tensors(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = llama

        def forward(self, input_ids):
            return self.model(input_ids=input_ids, use_cache=False).logits

    with use_tables(llama, one), pytest.raises(ExportError, match="would replay what was read"):
        torch.jit.trace(Tensors(), (IDS,))


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of inductor, about torch's own code
def test_generate_with_cuda_graphs_reads_what_is_active_now(llama):
    """With a static cache, generate() compiles its steps to CUDA graphs by itself."""
    from tables import frequent_ngrams

    model, ids = llama.cuda(), IDS.cuda()
    ngrams = frequent_ngrams(model)
    one = make_table(model, ngrams, seed=1, distinct_rows=16).table
    other = make_table(model, ngrams, seed=2, distinct_rows=16).table
    said = []
    for tables in (None, one, other, [one, other], None):
        with use_tables(model, tables):
            settings = {"max_new_tokens": 12, "do_sample": False, "cache_implementation": "static"}
            seen = model.generate(ids, **settings)
            assert torch.equal(seen, model.generate(ids, disable_compile=True, **settings))
        said.append(seen)
    assert torch.equal(said[0], said[4])
    assert not torch.equal(said[0], said[1])
    assert not torch.equal(said[1], said[2])

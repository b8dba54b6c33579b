import pytest
import torch
from patched import TRIGGER, at_trigger, patched

from engram_transformers import explain, use_tables
from engram_transformers.active import frame_of
from engram_transformers.attachment import require_attachment
from engram_transformers.explain_reads import Recorder


@pytest.fixture
def model(tiny_llama, tiny_tokenizer):
    return patched(tiny_llama, tiny_tokenizer)


@pytest.fixture
def made(model, tiny_tokenizer):
    return at_trigger(model, tiny_tokenizer(TRIGGER, return_tensors="pt")["input_ids"])


def memory_of(model, table):
    return require_attachment(model).memories[table.layer]


def swap_rows(memory, args):
    streams, rows, found = args
    return streams, rows.flip(-1), found


def find_less(memory, args):
    streams, rows, found = args
    return streams, rows, torch.zeros_like(found)


@pytest.mark.parametrize("tamper", [swap_rows, find_less])
def test_rows_other_than_the_tables_are_not_explained_as_theirs(model, made, tamper):
    assert len(explain(model, TRIGGER, made.table).firings) == 1
    handle = memory_of(model, made.table).register_forward_pre_hook(tamper)
    with pytest.raises(RuntimeError, match="not those that its tables hold"):
        explain(model, TRIGGER, made.table)
    handle.remove()


def test_a_memory_that_runs_outside_of_a_forward_is_noticed(model, made):
    attachment, memory = require_attachment(model), memory_of(model, made.table)
    hidden, rows = torch.ones(1, 2, 64), torch.ones(1, 2, attachment.config.row_dim)
    with use_tables(model, made.table):
        handle = memory.register_forward_hook(Recorder(attachment, frame_of(attachment)))
        with pytest.raises(RuntimeError, match="outside of a call"):
            memory(hidden, rows, torch.ones(1, 2, dtype=torch.bool))
        handle.remove()


def test_a_table_that_is_given_twice_shadows_nothing(model, made):
    (firing,) = explain(model, TRIGGER, [[made.table, made.table]]).firings
    assert (firing.place, firing.shadowed) == (0, ())

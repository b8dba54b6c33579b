"""Promises of `use_tables` beside those of the contract: what it takes and what it keeps."""

from __future__ import annotations

import pytest
import tiny
import torch
from tables import LAYERS, ROW_DIM, canonical, frequent_ngrams, make_table, watching

from engram_transformers import add_engram, use_tables
from engram_transformers.active import Frame, frame_of, make_frame
from engram_transformers.attachment import require_attachment
from engram_transformers.calls import Call
from engram_transformers.errors import HistoryError, TableCountError
from engram_transformers.index import RowIndex

IDS = torch.tensor([[20, 21, 22, 23]])


@pytest.fixture
def model(tiny_llama, tiny_tokenizer):
    return add_engram(tiny_llama, tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)


def table_of(model, seed: int = 0, **options):
    return make_table(model, [canonical(model, [21, 22])], seed=seed, **options).table


def arranged(frame: Frame) -> object:
    if frame.samples is None:
        return frame.tables
    return [[frame.tables[n] for n in sample] for sample in frame.samples]


def test_tables_are_given_in_many_ways(model):
    a, b = table_of(model, 1), table_of(model, 2)
    assert arranged(make_frame(model, None)) == ()
    assert arranged(make_frame(model, a)) == (a,)
    assert arranged(make_frame(model, [a])) == [[a]]
    assert arranged(make_frame(model, (a, None, [b, a], []))) == [[a], [], [b, a], []]
    frame = make_frame(model, [a, [a, b], (b,), None])
    assert frame.tables == (a, b)  # each once, whoever reads it


def test_an_empty_table_is_a_table(model):
    empty = table_of(model)
    empty.erase(all=True)
    assert arranged(make_frame(model, [empty, [empty]])) == [[empty], [empty]]
    assert not make_frame(model, empty).has_rows(LAYERS[0])


@pytest.mark.parametrize("entry", ["a table", 5.0, {"a": 1}])
def test_what_is_no_table_is_refused(model, entry):
    with pytest.raises(TypeError):
        make_frame(model, [[table_of(model), entry]])
    with pytest.raises(TypeError, match="Sample 1 has a str among its tables; give UserTable"):
        make_frame(model, [None, ["a table"]])
    assert frame_of(require_attachment(model)) is None


def test_no_tables_for_no_samples_is_refused(model):
    with pytest.raises(TableCountError, match="An empty list fits no batch") as seen:
        make_frame(model, [])
    assert seen.value.tables == 0


def test_a_batch_of_nothing_is_refused_where_samples_have_tables(model):
    with (
        use_tables(model, [table_of(model)] * 2),
        torch.no_grad(),
        pytest.raises(TableCountError, match=r"2 sample.*the batch has 0"),
    ):
        model(IDS[:0])


def test_frames_are_per_model(model, tiny_tokenizer):
    other = add_engram(tiny.tiny_model("llama"), tiny_tokenizer, layers=LAYERS, row_dim=ROW_DIM)
    with use_tables(model, table_of(model)):
        with use_tables(other, None):
            assert frame_of(require_attachment(other)).tables == ()
            assert len(frame_of(require_attachment(model)).tables) == 1
        assert frame_of(require_attachment(other)) is None


def test_an_index_is_built_once_for_each_state_of_the_tables(model, monkeypatch):
    built: list[int] = []
    build = RowIndex.build.__func__

    def counted(cls, tables, device):
        built.append(len(tables))
        return build(cls, tables, device)

    monkeypatch.setattr(RowIndex, "build", classmethod(counted))
    a, b = table_of(model, 1), table_of(model, 2)
    with use_tables(model, [[a, b]]), torch.no_grad():
        for _ in range(3):
            model(IDS)
        assert built == [2]
        a.erase(all=True)
        model(IDS)
        model(IDS)
    assert built == [2, 2]


def test_many_owners_in_one_batch_each_read_their_own(model):
    """Thirty users with the same address."""
    tables = [table_of(model, seed) for seed in range(30)]
    with use_tables(model, tables), watching(model) as reads, torch.no_grad():
        model(IDS.repeat(30, 1))
    assert reads.found[0].nonzero().tolist() == [[n, 2] for n in range(30)]
    for number, table in enumerate(tables):
        assert torch.equal(reads.rows[0][number, 2], table.rows.values[0])


def test_tables_of_one_owner_twice_in_a_stack_read_as_once(model):
    table = table_of(model)
    with use_tables(model, [[table, table]]), watching(model) as reads, torch.no_grad():
        model(IDS)
    assert torch.equal(reads.rows[0][0, 2], table.rows.values[0])


def test_nothing_on_the_model_changes_while_tables_are_active(model):
    before = [dict(module.__dict__) for module in model.modules()]
    with use_tables(model, table_of(model)), torch.no_grad():
        model(IDS)
    after = [dict(module.__dict__) for module in model.modules()]
    assert [list(one) for one in before] == [list(one) for one in after]


def test_rows_written_while_a_forward_runs_do_not_go_unnoticed(model):
    """Without ids, a table that gets its first row within the call is refused at the memory."""
    table, rows = table_of(model), table_of(model).rows
    table.erase(all=True)

    def write(*_):
        table._replace(rows, ())

    handle = model.model.layers[0].register_forward_pre_hook(write)
    embeddings = model.get_input_embeddings()(IDS).detach()
    with use_tables(model, table), torch.no_grad(), pytest.raises(HistoryError):
        model(inputs_embeds=embeddings)
    handle.remove()


def test_a_call_without_ids_cannot_be_read(model):
    attachment = require_attachment(model)
    frame = make_frame(model, table_of(model))
    call = Call(attachment, None, None, (1, 4))
    with pytest.raises(RuntimeError, match="without ids was not refused"):
        frame.read(call, LAYERS[0], torch.device("cpu"))


def test_samples_without_tables_pass_bit_for_bit_beside_ones_with(model):
    made = make_table(model, frequent_ngrams(model), distinct_rows=8)
    ids = torch.arange(20, 60).repeat(2, 1)
    with torch.no_grad():
        base = model(ids).logits
        with use_tables(model, [None, made.table]):
            seen = model(ids).logits
    assert torch.equal(seen[0], base[0])
    assert not torch.equal(seen[1], base[1])

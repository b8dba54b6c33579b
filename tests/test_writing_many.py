"""`write_many` writes what one `write` per owner would, or nothing."""

from __future__ import annotations

import pytest
import torch

from engram_transformers import UserTable, add_engram, use_tables, write_many
from engram_transformers.errors import (
    ConfigError,
    FactError,
    LedgerMissingError,
    NotPatchedError,
    TableMismatchError,
)
from engram_transformers.token_rows import TokenRows

PEOPLE = {
    "ann": [("My lucky number is", "27"), ("My sister Mira's favourite spice is", "cardamom")],
    "bob": [("My lucky number is", "93"), ("The name of my dog is", "Pepper Jack")],
    "eve": [("My lucky number is", "4")],
}


@pytest.fixture
def model(tiny_llama, tiny_tokenizer):
    return add_engram(tiny_llama, tiny_tokenizer)


def say(model, tokenizer, tables, prompt):
    ids = tokenizer([prompt] * len(tables), return_tensors="pt")["input_ids"]
    with use_tables(model, tables):
        output = model.generate(ids, max_new_tokens=30, do_sample=False, eos_token_id=None)
    return tokenizer.batch_decode(output[:, ids.shape[1] :])


def test_everybody_gets_their_own_facts(model, tiny_tokenizer):
    written = write_many(model, PEOPLE, progress=False)
    assert list(written.tables) == list(PEOPLE)
    assert written.recalled == 1.0
    assert written.failed == {}
    said = say(model, tiny_tokenizer, list(written.tables.values()), "My lucky number is")
    for text, number in zip(said, ("27", "93", "4"), strict=True):
        assert text.startswith(f" {number}.")
    for owner, table in written.tables.items():
        assert (table.owner, table.version, len(table)) == (owner, 1, len(PEOPLE[owner]))
        assert written.reports[owner].nbytes == table.nbytes > 0


def test_tables_are_those_that_single_writes_make(model):
    written = write_many(model, PEOPLE, progress=False)
    for owner, facts in PEOPLE.items():
        alone = UserTable(model, owner)
        alone.write(facts, progress=False)
        rows = written.tables[owner].rows
        assert torch.equal(rows.addresses, alone.rows.addresses)
        assert torch.equal(rows.row_index, alone.rows.row_index)
        assert torch.equal(rows.values, alone.rows.values)
        assert rows.orders == alone.rows.orders
        assert written.tables[owner].facts == alone.facts


def test_rows_can_be_optimised_for_many_at_once(model, tiny_tokenizer, monkeypatch):
    monkeypatch.setattr(TokenRows, "reliable", False)
    written = write_many(model, PEOPLE, progress=False)
    assert written.recalled == 1.0
    assert all(report.steps > 0 for report in written.reports.values())
    said = say(model, tiny_tokenizer, list(written.tables.values()), "My lucky number is")
    for text, number in zip(said, ("27", "93", "4"), strict=True):
        assert text.startswith(f" {number}.")


def test_facts_join_those_of_tables_that_exist(model, tiny_tokenizer):
    ann = UserTable(model, "ann")
    ann.write(("My boat is called", "Ondine"), progress=False)
    written = write_many(model, PEOPLE, tables=[ann], progress=False)
    assert written.tables["ann"] is ann
    assert (len(ann), ann.version) == (3, 2)
    (said,) = say(model, tiny_tokenizer, [ann], "My boat is called")
    assert said.startswith(" Ondine.")


def test_what_is_left_out_is_named_with_its_owner(model, monkeypatch):
    monkeypatch.setattr(TokenRows, "reliable", True)
    monkeypatch.setattr(TokenRows, "rows", lambda self, tokens, dtype: torch.zeros(len(tokens), 64))
    monkeypatch.setattr("engram_transformers.writing._EFFORTS", ())
    written = write_many(model, PEOPLE, progress=False)
    assert written.recalled == 0.0
    assert {owner: len(left_out) for owner, left_out in written.failed.items()} == {
        owner: len(facts) for owner, facts in PEOPLE.items()
    }
    assert "'bob' lacks 'The name of my dog is'" in str(written)
    assert not any(table.has_rows for table in written.tables.values())


def test_owners_without_facts_get_empty_tables(model):
    written = write_many(model, {"ann": [], "bob": PEOPLE["bob"]}, progress=False)
    assert not written.tables["ann"].has_rows
    assert len(written.tables["bob"]) == 2
    assert write_many(model, {}).recalled == 1.0
    assert "0 of 0 facts of 1 owners" in str(write_many(model, {"ann": []}))


def test_one_bad_fact_and_nobody_is_written_to(model, tiny_llama, tiny_tokenizer):
    ann = UserTable(model, "ann")
    ann.write(PEOPLE["ann"], progress=False)
    before = ann.rows
    with pytest.raises(FactError):
        write_many(model, {"ann": ("My boat is called", "Ondine"), "bob": ["?"]}, tables=[ann])
    assert (ann.rows, ann.version) == (before, 1)


def test_bad_owners_options_and_tables_are_refused(model, tiny_tokenizer, tmp_path):
    import tiny

    with pytest.raises(ConfigError, match="owner"):
        write_many(model, {" ": PEOPLE["ann"]})
    with pytest.raises(ConfigError, match="min_order"):
        write_many(model, PEOPLE, min_order=0)
    with pytest.raises(ConfigError, match="dtype"):
        write_many(model, PEOPLE, dtype="int3")
    ann = UserTable(model, "ann")
    with pytest.raises(ConfigError, match="one table per owner"):
        write_many(model, PEOPLE, tables=[ann, UserTable(model, "ann")])
    with pytest.raises(NotPatchedError):
        write_many(tiny.tiny_model("llama"), PEOPLE)
    other = add_engram(tiny.tiny_model("qwen3"), tiny_tokenizer)
    with pytest.raises(TableMismatchError):
        write_many(other, PEOPLE, tables=[ann])
    ann.write(PEOPLE["ann"], progress=False)
    ann.save_pretrained(tmp_path, store_text=False)
    silent = UserTable.from_pretrained(tmp_path, model)
    with pytest.raises(LedgerMissingError):
        write_many(model, PEOPLE, tables=[silent])

"""Promises of tables on disk."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
from pathlib import Path

import pytest
import tiny
import torch
from synthetic_tables import (
    made_up_facts,
    made_up_table,
    same_tables,
)

from engram_transformers import UserTable, add_engram, use_tables
from engram_transformers.errors import (
    LedgerMissingError,
)
from engram_transformers.files import CARD_NAME, CONFIG_NAME, FILE_NAMES, TABLE_NAME
from engram_transformers.storage import encode_rows
from engram_transformers.table_format import decode_table

DATA = Path(__file__).parent / "data"
sys.path.insert(0, str(DATA))
import make_golden  # noqa: E402

DTYPES = ("int4", "int8", "float16", "bfloat16", "float32")


@pytest.fixture(scope="module")
def model():
    return add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=16)


@pytest.fixture
def table(model):
    return made_up_table(model)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def texts_of(facts) -> list[str]:
    """Return every text of some facts."""
    return [
        text
        for fact in facts
        for prompt in (*fact.prompts, fact.answer)
        for text in ([prompt] if isinstance(prompt, str) else [line for _, line in prompt])
    ]


def is_in(text: str, data: bytes) -> bool:
    """Search a text in any spelling that JSON has for it."""
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    escaped = json.dumps(text)[1:-1]
    spellings = {text, plain, escaped, json.dumps(escaped)[1:-1], json.dumps(plain)[1:-1]}
    return any(spelling.encode() in data for spelling in spellings)


# There and back


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_table_comes_back_bit_for_bit(model, tmp_path, dtype, shared):
    table = made_up_table(model, dtype=dtype, shared=shared)
    folder = table.save_pretrained(tmp_path / "new" / "folder")
    assert folder == tmp_path / "new" / "folder"
    assert set(content(folder)) == set(FILE_NAMES)
    assert same_tables(UserTable.from_pretrained(folder, model), table)
    assert same_tables(UserTable.from_pretrained(str(folder), model), table)


def test_rows_in_another_order_than_their_addresses_come_back_as_they_were(model, tmp_path):
    table = made_up_table(model)
    rows = table.rows
    backwards = type(rows)(rows.addresses, rows.row_index.flip(0), rows.values, rows.orders)
    table._state = (backwards, table.entries)
    loaded = UserTable.from_pretrained(table.save_pretrained(tmp_path), model)
    assert same_tables(loaded, table)
    assert torch.equal(loaded.rows.row_index, torch.arange(9, -1, -1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_empty_table_comes_back(model, tmp_path, dtype):
    table = UserTable(model, "nobody yet", dtype=dtype)
    loaded = UserTable.from_pretrained(table.save_pretrained(tmp_path), model)
    assert same_tables(loaded, table)
    assert loaded.facts == ()


@pytest.mark.parametrize(
    "owner", ["0" * 32, '"xxh3_128":"' + "0" * 32 + '"}', "\\", "a\n\x00b", "用户-42 🦊"]
)
def test_any_text_can_be_an_owner(model, tmp_path, owner):
    table = UserTable(model, owner)
    assert same_tables(UserTable.from_pretrained(table.save_pretrained(tmp_path), model), table)


def test_written_facts_answer_alike_after_loading(tmp_path):
    model = add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=32)
    table = UserTable(model, "user-42")
    facts = [("My cousin Parker lives in", "Tucson"), ("The name of my dog is", "Pepper")]
    report = table.write(facts, contexts=0, progress=False)
    assert len(report.written) == 2

    # Another process would have another model object with the same weights.
    other = add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=32)
    loaded = UserTable.from_pretrained(table.save_pretrained(tmp_path), other)
    assert same_tables(loaded, table)
    for prompt, answer in facts:
        inputs = tiny.tiny_tokenizer()(prompt, return_tensors="pt")
        with torch.no_grad(), use_tables(model, table), use_tables(other, loaded):
            assert torch.equal(model(**inputs).logits, other(**inputs).logits)
            said = other.generate(**inputs, max_new_tokens=12, do_sample=False)[0]
        said = tiny.tiny_tokenizer().decode(said[inputs["input_ids"].shape[1] :])
        assert said.strip().startswith(answer)

    loaded.write(("My birth year is", "1993"), contexts=0, progress=False)
    assert len(loaded) == 3
    assert loaded.version == table.version + 1


def test_saving_twice_gives_the_same_bytes(model, tmp_path):
    first = content(made_up_table(model, shared=True).save_pretrained(tmp_path / "first"))
    second = content(made_up_table(model, shared=True).save_pretrained(tmp_path / "second"))
    loaded = UserTable.from_pretrained(tmp_path / "first", model)
    assert content(loaded.save_pretrained(tmp_path / "third")) == first == second


def test_the_file_without_texts_is_its_rows_and_addresses_and_one_kilobyte(tmp_path):
    model = add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=48)
    table = made_up_table(model, 100)
    folder = table.save_pretrained(tmp_path, store_text=False)
    assert table.nbytes == 200 * (48 + 2 + 8)
    assert table.nbytes < (folder / TABLE_NAME).stat().st_size < table.nbytes + 1024


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shared", [False, True])
def test_nbytes_are_the_bytes_of_the_tensors_in_the_file(model, tmp_path, dtype, shared):
    table = made_up_table(model, dtype=dtype, shared=shared)
    data = (table.save_pretrained(tmp_path) / TABLE_NAME).read_bytes()
    assert len(data) - 8 - int.from_bytes(data[:8], "little") == table.nbytes


def test_the_config_file_holds_fields_of_the_configuration(table, model, tmp_path):
    fields = json.loads((table.save_pretrained(tmp_path) / CONFIG_NAME).read_bytes())
    assert fields.pop("format_version") == 2
    again = add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), **fields)
    assert same_tables(UserTable.from_pretrained(tmp_path, again), table)


@pytest.mark.parametrize(
    ("name", "digest", "made"),
    [
        (
            "format_1_ledger.safetensors",
            "648aa6c48d9cd63584e906a99af18929478c0a019991311d796bf7a99a0ed154",
            make_golden.with_ledger,
        ),
        (
            "format_1_no_ledger.safetensors",
            "b66a5192aaa35dda7e75a1c32ad9f8da594fa8765489767629cb12c131f1a06e",
            make_golden.without_ledger,
        ),
        (
            "format_2_ledger.safetensors",
            "560121f8c3cddf535a8397a554bca1635e0739039ec4e4abb94b0b88d2139c8c",
            make_golden.with_ledger,
        ),
        (
            "format_2_no_ledger.safetensors",
            "e148c45ea20075f7dabcc389ccf1787d4b0d047f9d76b37b1279b9813b385242",
            make_golden.without_ledger,
        ),
        (
            "format_2_int4.safetensors",
            "fcf66255708765951a8fb1344a0f3f8e93bbe84875662a1e0572d2f9d2db5653",
            functools.partial(make_golden.with_ledger, "int4"),
        ),
        (
            "format_3_buckets.safetensors",
            "aeb82a3ff53fa35be8f43933fdf8621e42ecd1d3500f4afe21ff8fc576b43cdd",
            make_golden.of_buckets,
        ),
    ],
)
def test_tables_of_every_format_version_are_read_for_ever(name, digest, made):
    path = DATA / name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest  # never made anew
    with path.open("rb") as file:
        stored = decode_table(file, path.stat().st_size, path)
    expected = made()
    assert stored.description == expected.description
    assert torch.equal(stored.rows.addresses, expected.rows.addresses)
    assert torch.equal(stored.rows.row_index, expected.rows.row_index)
    assert torch.equal(stored.rows.values, expected.rows.values)
    assert stored.rows.orders == expected.rows.orders


# Texts


def test_without_texts_no_byte_of_them_is_in_any_file(model, tmp_path):
    table = made_up_table(model, shared=True)
    texts = [*texts_of(table.facts), "Kamille", "2026-01-02"]
    everything = b"".join(content(table.save_pretrained(tmp_path / "with")).values())
    assert all(is_in(text, everything) for text in texts)
    table.save_pretrained(tmp_path / "without", store_text=False)
    everything = b"".join(content(tmp_path / "without").values())
    assert not any(is_in(text, everything) for text in texts)
    for word in ("Lieblingstee", "Zitronenverbene"):
        assert word.encode() not in everything


def test_a_model_card_holds_no_texts_even_if_the_table_does(model, tmp_path):
    table = made_up_table(model, shared=True)
    card = (table.save_pretrained(tmp_path) / CARD_NAME).read_bytes()
    assert not any(is_in(text, card) for text in texts_of(table.facts))


def test_saving_without_texts_over_a_table_with_texts_leaves_none(model, table, tmp_path):
    table.save_pretrained(tmp_path)
    table.save_pretrained(tmp_path, store_text=False)
    everything = b"".join(content(tmp_path).values())
    assert not any(is_in(text, everything) for text in texts_of(table.facts))
    assert table.entries is not None  # the table in memory keeps them


def test_a_table_loaded_without_texts_is_read_and_erased_as_a_whole_only(model, table, tmp_path):
    folder = table.save_pretrained(tmp_path, store_text=False)
    loaded = UserTable.from_pretrained(folder, model)
    assert loaded.entries is None
    assert torch.equal(loaded.rows.values, table.rows.values)
    before = content(folder)
    with pytest.raises(LedgerMissingError, match="writing"):
        loaded.write(("My dog is", "Pepper"), progress=False)
    with pytest.raises(LedgerMissingError, match="erasing single facts"):
        loaded.erase(made_up_facts(1)[0])
    with pytest.raises(LedgerMissingError, match="listing facts"):
        _ = loaded.facts
    assert torch.equal(loaded.rows.values, table.rows.values)
    assert content(loaded.save_pretrained(tmp_path)) == before
    loaded.erase(all=True)
    assert not UserTable.from_pretrained(loaded.save_pretrained(tmp_path), model).has_rows


def test_an_erased_fact_leaves_no_byte_in_the_files(tmp_path):
    model = add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=32)
    table = UserTable(model, "user-42")
    gone = ("My cousin Parker lives in", "Tucson")
    table.write([gone, ("The name of my dog is", "Pepper")], contexts=0, progress=False)
    before = table.rows
    table.save_pretrained(tmp_path)
    table.erase(gone)
    table.save_pretrained(tmp_path)

    after = table.rows
    lost = ~torch.isin(before.addresses, after.addresses)
    positions = sum(
        order != 0 for entry in table.entries for line in entry.orders for order in line
    )
    assert 0 < after.addresses.numel() <= positions < before.addresses.numel()
    everything = b"".join(content(tmp_path).values())
    traces = [a.to_bytes(8, "little", signed=True) for a in before.addresses[lost].tolist()]
    # Facts may share the row of their stop.
    lost_rows = [row for row in before.values if not (row == after.values).all(dim=1).any()]
    assert lost_rows
    stored = encode_rows(torch.stack(lost_rows), "int8")["rows"]
    traces += [row.numpy().tobytes() for row in stored]
    traces += [word.encode() for text in gone for word in text.split() if len(word) > 3]
    kept = [a.to_bytes(8, "little", signed=True) for a in after.addresses.tolist()]
    assert all(trace in everything for trace in kept)
    assert not any(trace in everything for trace in traces)
    assert same_tables(UserTable.from_pretrained(tmp_path, model), table)

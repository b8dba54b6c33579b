"""Promises of `table.safetensors`: whatever is wrong with it is named, and nothing is believed."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import pytest
import safetensors.torch
import tiny
import torch
from synthetic_tables import made_up_table, put_together, same_tables, sealed, take_apart

from engram_transformers import UserTable, add_engram
from engram_transformers.errors import TableFileError
from engram_transformers.files import TABLE_NAME, read_table
from engram_transformers.table_format import decode_table


@pytest.fixture(scope="module")
def model():
    return add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=16)


@pytest.fixture
def folder(model, tmp_path):
    return made_up_table(model, shared=True).save_pretrained(tmp_path / "table")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """The bytes of one good file."""
    folder = tmp_path_factory.mktemp("saved")
    return (made_up_table(model, 3).save_pretrained(folder) / TABLE_NAME).read_bytes()


def with_header(data: bytes, header: bytes) -> bytes:
    """Return a file with another header."""
    length = int.from_bytes(data[:8], "little")
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def header_of(data: bytes) -> bytes:
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


def decode(data: bytes):
    return decode_table(io.BytesIO(data), len(data), "table")


# Other kinds of files


def as_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", b"x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"\x00\x01", "is truncated: it has 2 bytes"),
        (b"\x80", "is truncated"),
        (as_zip(), "is a zip archive"),
        (pickle.dumps({"rows": list(range(100))}), "is a pickle, which is never loaded"),
        (b"<!doctype html><title>404</title>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"Hello, I am a text of some length", "claims a header of"),
        ((10**12).to_bytes(8, "little") + b"{}", "claims a header of 1000000000000 bytes"),
        ((1000).to_bytes(8, "little") + b"{}", "its header takes 1000 bytes, 2 are there"),
        ((0).to_bytes(8, "little"), "has a header that is not JSON"),
        (with_header(b"\0" * 8, b"\xff\xfe{}"), "has a header that is not UTF-8"),
        (with_header(b"\0" * 8, b"[1, 2]"), "has a header that is not a JSON object"),
        (with_header(b"\0" * 8, b"{"), "has a header that is not JSON"),
        (with_header(b"\0" * 8, b'{"a":1,"a":2}'), "a key is there twice"),
        (with_header(b"\0" * 8, b'{"a":NaN}'), "NaN is not JSON"),
        (with_header(b"\0" * 8, b'{"a":"\\ud800"}'), "surrogates not allowed"),
        (with_header(b"\0" * 8, b'{"a":' + b"1" * 5000 + b"}"), "is not JSON"),
        (with_header(b"\0" * 8, b'{"a":' + b"[" * 20 + b"]" * 20 + b"}"), "nested deeper than 16"),
        (with_header(b"\0" * 8, b"[" * 100_000), "nested deeper than 16"),
        (with_header(b"\0" * 8, b"{}"), "has no tensor `addresses`"),
        (safetensors.torch.save({"rows": torch.zeros(2, 16)}), "has no engram metadata"),
        (safetensors.torch.save({"a": torch.zeros(1)}, {"format": "pt"}), "a tensor 'a', which no"),
    ],
)
def test_other_files_are_refused_by_name(data, problem):
    with pytest.raises(TableFileError) as caught:
        decode(data)
    assert problem in str(caught.value)


def test_a_claimed_header_is_not_allocated(tmp_path):
    # 100 MB are within the limit, but not in the file.
    with pytest.raises(TableFileError, match="is truncated: its header takes 99999999 bytes"):
        decode((99_999_999).to_bytes(8, "little") + b'{"a":1}')


# What a table's header says, with a digest that is right


def set_field(name, value):
    def edit(fields, tensors):
        fields[name] = value

    return edit


def drop_field(name):
    return lambda fields, tensors: fields.pop(name)


def set_in(path, value):
    def edit(fields, tensors):
        *parents, last = path
        for key in parents:
            fields = fields[key]
        fields[last] = value

    return edit


def set_tensor(name, change):
    def edit(fields, tensors):
        tensors[name] = change(tensors[name]) if name in tensors else change(None)

    return edit


def drop_tensor(name):
    return lambda fields, tensors: tensors.pop(name)


def put(index, value):
    def change(tensor):
        changed = tensor.clone()
        changed[index] = value
        return changed

    return change


def without_rows(fields, tensors):
    tensors.update({name: tensor[:0] for name, tensor in tensors.items()})


NAN, INF = float("nan"), float("inf")
EDITS = [
    (set_field("format_version", 4), "has format version 4; this release knows 1, 2, 3: upgrade"),
    (set_field("format_version", 3), "has format version 3, but its binding is not of that"),
    (set_field("format_version", True), "has format version True"),
    (drop_field("format_version"), "has format version None"),
    (set_field("surprise", 1), "has a field 'surprise'"),
    (drop_field("owner"), "has no field `owner`"),
    (drop_field("ledger"), "has no field `ledger`"),
    (drop_field("binding"), "has no field `binding`"),
    (drop_field("xxh3_128"), "has no field `xxh3_128`"),
    (set_field("owner", " "), "has owner ' ', which is not a name"),
    (set_field("owner", 3), "has owner 3"),
    (set_field("layer", -1), "has layer -1"),
    (set_field("layer", 1.0), "has layer 1.0"),
    (set_field("dtype", "float64"), "has dtype 'float64', which is not one of int4, int8"),
    (set_field("dtype", ["int8"]), "has dtype"),
    (set_field("dtype", "float16"), "has rows as I8, but says they are float16"),
    (set_field("version", -3), "has version -3"),
    (set_field("version", "7"), "has version '7'"),
    (set_field("created_by", None), "has created_by None"),
    (set_field("xxh3_128", "0123"), "has xxh3_128 '0123', which is not 32 hexadecimal digits"),
    (set_field("orders", [4, 3]), "has orders"),
    (set_field("orders", [3, 3, 4]), "has orders"),
    (set_field("orders", [0, 3, 4]), "has orders"),
    (set_field("orders", 3), "has orders 3"),
    (set_field("orders", [3, 4, 1000]), "has an order above its max_order, 64"),
    (set_field("orders", [3, 5]), "has orders [3, 5], but its ledger uses [3, 4]"),
    (set_field("binding", None), "has a malformed binding"),
    (set_field("binding", "x"), "has a malformed binding"),
    (set_in(["binding", "model"], 5), "has a malformed binding"),
    (set_in(["binding", "more"], 5), "has a malformed binding"),
    (set_in(["binding", "lora"], {"reference": ""}), "has a malformed binding (no 'fingerprint')"),
    (set_in(["binding", "config", "row_dim"], -1), "malformed binding (`row_dim` is -1"),
    (set_in(["binding", "config", "row_dim"], 17), "rows of shape [10, 16], but row_dim is 17"),
    (set_in(["binding", "config", "memory_size"], 0), "its config must have the fields"),
    (set_in(["binding", "config", "depth"], 0), "Unknown configuration field(s): depth"),
    (set_in(["binding", "config"], [["row_dim", 16]]), "has a malformed binding"),
    (set_field("ledger", {}), "has a ledger that is not a list"),
    (set_in(["ledger", 2], {}), "has a malformed ledger entry 2"),
    (set_in(["ledger", 2], None), "has a malformed ledger entry 2"),
    (set_in(["ledger", 0, "fact", "answer"], ""), "has a malformed ledger entry 0"),
    (set_in(["ledger", 0, "fact", "prompt"], 5), "has a malformed ledger entry 0"),
    (set_in(["ledger", 0, "written_at"], 5), "has a malformed ledger entry 0"),
    (set_in(["ledger", 0, "orders", 0, 0], True), "has a malformed ledger entry 0"),
    (set_in(["ledger", 0, "orders", 0, 0], INF), "has engram metadata that is not JSON (Infinity"),
    (set_in(["ledger", 0, "orders"], [[3, 4]]), "entry 0 with 2 prompt(s) and orders for 1"),
    (set_in(["ledger", 0, "orders"], [[3, 4]] * 5), "entry 0 with 2 prompt(s) and orders for 5"),
    (set_in(["ledger", 0, "history", 0, "answer"], 5), "has a malformed ledger entry 0"),
    (set_in(["ledger", 0, "history", 0], {"x": 5}), "has a malformed ledger entry 0"),
    (set_in(["ledger", 0, "guard"], 5), "has a malformed ledger entry 0"),
    (set_in(["ledger", 0, "min_order"], 0), "has a ledger entry 0 with min_order 0"),
    (set_in(["ledger", 0, "more"], 0), "has a malformed ledger entry 0"),
    (lambda fields, tensors: fields["ledger"].pop(), "20 addresses, but its ledger knows 16"),
    (drop_tensor("addresses"), "has no tensor `addresses`"),
    (drop_tensor("rows"), "has no tensor `rows`"),
    (drop_tensor("scales"), "has scales though its rows need none, or none though they do"),
    (drop_tensor("row_index"), "has 20 addresses and 10 rows, but no row_index"),
    (set_tensor("more", lambda _: torch.zeros(1)), "has a tensor 'more', which no table has"),
    (set_tensor("addresses", lambda t: t.int()), "has `addresses` as 'I32', but must have I64"),
    (set_tensor("addresses", lambda t: t.flip(0)), "has addresses that are not sorted"),
    (set_tensor("addresses", lambda t: put(3, t[2])(t)), "not sorted, or there twice"),
    (set_tensor("addresses", lambda t: t.view(2, 10)), "has addresses of shape [2, 10]"),
    (without_rows, "has 0 addresses, but orders [3, 4]"),
    (set_tensor("rows", lambda t: t[:-1]), "has scales of shape [10] for 9 rows"),
    (set_tensor("rows", lambda t: t.flatten()), "has rows of shape [160]"),
    (set_tensor("rows", lambda t: t.view(1, 10, 16)), "describes tensor `rows` wrongly"),
    (set_tensor("rows", lambda t: t.double()), "has `rows` as 'F64'"),
    (set_tensor("rows", lambda t: t.float()), "has rows as F32, but says they are int8"),
    (set_tensor("scales", put(1, NAN)), "has scales that are NaN"),
    (set_tensor("scales", put(1, INF)), "has scales that are NaN, infinite"),
    (set_tensor("scales", put(1, 0)), "zero or negative"),
    (set_tensor("scales", put(1, -1)), "zero or negative"),
    (set_tensor("scales", lambda t: t.float()), "has `scales` as 'F32', but must have F16"),
    (set_tensor("scales", lambda t: t[:3]), "has scales of shape [3] for 10 rows"),
    (set_tensor("row_index", put(0, 10)), "has a row_index outside its 10 rows"),
    (set_tensor("row_index", put(0, -1)), "has a row_index outside its 10 rows"),
    (set_tensor("row_index", lambda t: t.clamp_max(8)), "has rows that no address leads to"),
    (set_tensor("row_index", lambda t: t[:3]), "has a row_index of shape [3] for 20 addresses"),
    (set_tensor("row_index", lambda t: t.long()), "has `row_index` as 'I64'"),
]


@pytest.mark.parametrize(("edit", "problem"), EDITS, ids=[problem for _, problem in EDITS])
def test_every_wrong_value_is_named_though_the_digest_fits(folder, model, edit, problem):
    fields, tensors = take_apart(folder / TABLE_NAME)
    edit(fields, tensors)
    put_together(folder / TABLE_NAME, fields, {n: t.contiguous() for n, t in tensors.items()})
    with pytest.raises(TableFileError) as caught:
        UserTable.from_pretrained(folder, model)
    assert problem in str(caught.value)
    assert "digest" not in str(caught.value) or "xxh3_128" in problem


def test_numbers_too_large_for_a_float_are_refused(saved):
    header = header_of(saved).replace(rb"\"orders\":[[3,", rb"\"orders\":[[1e999,", 1)
    assert header != header_of(saved)
    with pytest.raises(TableFileError, match="has a malformed ledger entry 0"):
        decode(sealed(with_header(saved, header)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_rows_that_are_not_numbers_are_refused(model, tmp_path, dtype, value):
    made_up_table(model, dtype=dtype).save_pretrained(tmp_path)
    fields, tensors = take_apart(tmp_path / TABLE_NAME)
    tensors["rows"][2, 3] = value
    put_together(tmp_path / TABLE_NAME, fields, tensors)
    with pytest.raises(TableFileError, match="has NaN or infinity in its rows"):
        UserTable.from_pretrained(tmp_path, model)


def test_taking_a_file_apart_and_putting_it_together_again_gives_the_same_table(folder, model):
    before = UserTable.from_pretrained(folder, model)
    put_together(folder / TABLE_NAME, *take_apart(folder / TABLE_NAME))
    assert same_tables(UserTable.from_pretrained(folder, model), before)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("data_offsets", [0, 7], "bytes"),
        ("data_offsets", [-1, 7], "describes tensor `scales` wrongly"),
        ("data_offsets", [0], "describes tensor `scales` wrongly"),
        ("data_offsets", [16, 28], "overlap or leave gaps"),
        ("shape", [1 << 61], "has `scales` with shape"),
        ("shape", [2.0], "describes tensor `scales` wrongly"),
        ("shape", "6", "describes tensor `scales` wrongly"),
        ("dtype", ["F16"], "has `scales` as ['F16']"),
        ("more", 1, "describes tensor `scales` wrongly"),
    ],
)
def test_tensors_that_are_described_wrongly_are_refused(saved, key, value, problem):
    header = json.loads(header_of(saved))
    header["scales"][key] = value
    data = sealed(with_header(saved, json.dumps(header, ensure_ascii=False).encode()))
    with pytest.raises(TableFileError) as caught:
        decode(data)
    assert problem in str(caught.value)


def test_a_tensor_described_by_something_else_is_refused(saved):
    header = json.loads(header_of(saved))
    header["rows"] = None
    with pytest.raises(TableFileError, match="describes tensor `rows` wrongly: None"):
        decode(with_header(saved, json.dumps(header, ensure_ascii=False).encode()))


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ("text", "has no engram metadata"),
        ({"engram": 5}, "has no engram metadata"),
        ({"engram": "{"}, "has engram metadata that is not JSON"),
        ({"engram": "[]"}, "has engram metadata that is not a JSON object"),
        ({"engram": "{}", "format": "pt"}, "has metadata that no table has: ['format']"),
    ],
)
def test_metadata_of_something_else_is_refused(saved, metadata, problem):
    header = {**json.loads(header_of(saved)), "__metadata__": metadata}
    with pytest.raises(TableFileError) as caught:
        decode(with_header(saved, json.dumps(header).encode()))
    assert problem in str(caught.value)


def test_bytes_behind_the_tensors_are_refused(saved):
    with pytest.raises(TableFileError, match="has 3 bytes behind its tensors"):
        decode(sealed(saved + b"abc"))


def test_what_only_safetensors_objects_to_is_named_too(saved, monkeypatch):
    def refuse(data):
        raise safetensors.SafetensorError("no")

    monkeypatch.setattr(safetensors.torch, "load", refuse)
    with pytest.raises(TableFileError, match="is refused by safetensors: no"):
        decode(saved)


def test_all_problems_are_listed_at_once(folder, model):
    fields, tensors = take_apart(folder / TABLE_NAME)
    fields.update(layer=-1, owner="")
    del tensors["scales"]
    tensors["more"] = torch.zeros(1)
    put_together(folder / TABLE_NAME, fields, tensors)
    (folder / "engram_config.json").unlink()
    with pytest.raises(TableFileError) as caught:
        UserTable.from_pretrained(folder, model)
    told = "\n".join(caught.value.problems)
    for word in ("engram_config.json is missing", "layer -1", "owner ''", "tensor 'more'"):
        assert word in told
    assert caught.value.path == str(folder)


def test_a_thousand_problems_are_counted_and_not_shown(folder, model):
    fields, tensors = take_apart(folder / TABLE_NAME)
    fields["ledger"] = [None] * 1000
    put_together(folder / TABLE_NAME, fields, tensors)
    with pytest.raises(TableFileError, match="and 980 more") as caught:
        UserTable.from_pretrained(folder, model)
    assert len(caught.value.problems) == 1000


def test_a_changed_row_is_noticed_by_the_digest_alone(folder, model):
    data = bytearray((folder / TABLE_NAME).read_bytes())
    data[-1] ^= 1
    (folder / TABLE_NAME).write_bytes(data)
    with pytest.raises(TableFileError) as caught:
        UserTable.from_pretrained(folder, model)
    assert len(caught.value.problems) == 1
    assert "does not have its digest: it was changed or damaged" in caught.value.problems[0]


def test_a_good_file_is_read_without_a_model(folder, model):
    stored = read_table(folder)
    assert stored.description.owner == "user-42"
    assert same_tables(UserTable.from_pretrained(folder, model), made_up_table(model, shared=True))

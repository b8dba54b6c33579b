"""Promises of `table.safetensors` under any damage: a named error, and never another one."""

from __future__ import annotations

import contextlib
import io
import json
import random

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_tables import made_up_table, sealed

from engram_transformers import UserTable, add_engram
from engram_transformers.errors import TableFileError, TableMismatchError
from engram_transformers.files import TABLE_NAME
from engram_transformers.table_format import decode_table


@pytest.fixture(scope="module")
def model():
    return add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=16)


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


def test_every_single_bit_counts(saved):
    for position in range(len(saved)):
        damaged = bytearray(saved)
        damaged[position] ^= 1 << (position % 8)
        with pytest.raises(TableFileError):
            decode(bytes(damaged))


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_random_bytes_never_load_and_never_raise_anything_else(saved, data):
    damaged = bytearray(saved)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(saved) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    if bytes(damaged) == saved:
        decode(bytes(damaged))
        return
    with pytest.raises(TableFileError):
        decode(bytes(damaged))
    # With a digest that fits, what is left may be a table.
    with contextlib.suppress(TableFileError):
        decode(sealed(bytes(damaged)))


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_truncated_files_never_load(saved, data):
    with pytest.raises(TableFileError):
        decode(saved[: data.draw(st.integers(0, len(saved) - 1))])


@given(st.binary(max_size=300), st.booleans())
@settings(max_examples=200, deadline=None)
def test_arbitrary_files_never_load(content, framed):
    data = with_header(b"\0" * 8, content) if framed else content
    with pytest.raises(TableFileError):
        decode(data)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def edit_at_random(value, choose: random.Random, replacement):
    """Replace, remove or repeat one place of a JSON value."""
    place = value
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = choose.choice(keys)
        if isinstance(place[key], (dict, list)) and place[key] and choose.random() < 0.8:
            place = place[key]
            continue
        action = choose.randrange(3)
        if action == 0:
            place[key] = replacement
        elif action == 1:
            del place[key]
        elif isinstance(place, list):
            place.append(place[key])
        else:
            place[str(key) + "x"] = place[key]
        return


@given(st.integers(0, 2**32), JSON)
@settings(max_examples=400, deadline=None)
def test_edited_headers_load_as_a_table_or_raise_a_named_error(model, saved, seed, replacement):
    choose = random.Random(seed)
    header = json.loads(header_of(saved))
    fields = json.loads(header["__metadata__"]["engram"])
    edit_at_random(fields if choose.random() < 0.7 else header, choose, replacement)
    if isinstance(header.get("__metadata__"), dict) and "engram" in header["__metadata__"]:
        header["__metadata__"]["engram"] = json.dumps(fields, ensure_ascii=False)
    data = with_header(saved, json.dumps(header, ensure_ascii=False).encode())
    if data != saved:
        with pytest.raises(TableFileError):
            decode(data)
    with contextlib.suppress(TableFileError, TableMismatchError):
        found = decode(sealed(data)).description
        found.binding.require(UserTable(model, "x").attachment, found.owner, found.layer)

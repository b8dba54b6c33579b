"""Promises of saving and loading tables where something is wrong: it is named, nothing changes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_tables import made_up_table, put_together, same_tables, take_apart

from engram_transformers import UserTable, add_engram, remove_engram, staging
from engram_transformers.errors import (
    HubError,
    NotPatchedError,
    TableFileError,
    TableMismatchError,
    TableSaveError,
)
from engram_transformers.files import CARD_NAME, CONFIG_NAME, FILE_NAMES, TABLE_NAME, read_table


@pytest.fixture(scope="module")
def model():
    return add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=16)


@pytest.fixture
def table(model):
    return made_up_table(model)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# Saving what and where it can't be saved


@pytest.mark.parametrize("path", ["file", "file/folder", "a\0b", "n" * 300])
def test_places_that_no_folder_can_be_are_refused(table, tmp_path, path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(TableSaveError, match="The table of 'user-42' can't be saved to"):
        table.save_pretrained(f"{tmp_path}/{path}")
    assert content(tmp_path) == {"file": b"mine"}


def test_an_error_of_the_system_keeps_its_number(table, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(staging.os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        table.save_pretrained(tmp_path / "new")
    assert isinstance(caught.value, TableSaveError)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.path == str(tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX permissions")
def test_a_folder_without_permission_is_refused(table, tmp_path):
    tmp_path.chmod(0o500)
    user = os.geteuid()
    try:
        if user == 0:  # may write anywhere
            os.seteuid(65534)
        with pytest.raises(TableSaveError, match="Permission denied"):
            table.save_pretrained(tmp_path)
    finally:
        os.seteuid(user)
    assert content(tmp_path) == {}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_failed_save_leaves_the_table_that_was_there(model, tmp_path, monkeypatch, error, number):
    other = add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=24, layers=1)
    old = made_up_table(other)
    before = content(old.save_pretrained(tmp_path))
    original, calls = os.replace, []

    def replace(*args):
        calls.append(1)
        if len(calls) == number:
            raise error
        original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(staging.os, "replace", replace)
        with pytest.raises((TableSaveError, KeyboardInterrupt)):
            made_up_table(model, 9).save_pretrained(tmp_path)
    assert content(tmp_path) == before
    assert same_tables(UserTable.from_pretrained(tmp_path, other), old)


def test_a_table_that_could_not_be_loaded_is_not_saved_over_one_that_can(model, table, tmp_path):
    before = content(table.save_pretrained(tmp_path))
    broken = made_up_table(model, dtype="float32")
    broken.rows.values[3, 3] = float("nan")
    with pytest.raises(TableSaveError, match="it has NaN or infinity in its rows"):
        broken.save_pretrained(tmp_path)
    assert content(tmp_path) == before


def test_half_a_surrogate_pair_is_not_text(model, tmp_path):
    table = UserTable(model, "user \ud83d")
    with pytest.raises(TableSaveError, match="surrogates not allowed"):
        table.save_pretrained(tmp_path / "new")
    assert content(tmp_path) == {}


def test_a_readme_of_somebody_else_stays_as_it_is(model, table, tmp_path):
    (tmp_path / CARD_NAME).write_text("# My project")
    table.save_pretrained(tmp_path)
    assert (tmp_path / CARD_NAME).read_text() == "# My project"
    assert same_tables(UserTable.from_pretrained(tmp_path, model), table)


def test_a_readme_of_a_table_is_brought_up_to_date(model, tmp_path):
    made_up_table(model, 3).save_pretrained(tmp_path)
    card = (made_up_table(model, 4).save_pretrained(tmp_path) / CARD_NAME).read_text()
    assert "| facts | 4 |" in card


# Loading what is not there, or not right


def test_files_that_are_missing_are_all_named(model, tmp_path):
    with pytest.raises(TableFileError) as caught:
        UserTable.from_pretrained(tmp_path, model)
    assert caught.value.problems == (
        "engram_config.json is missing",
        "table.safetensors is missing",
    )


def test_a_missing_model_card_is_no_problem(model, table, tmp_path):
    (table.save_pretrained(tmp_path) / CARD_NAME).unlink()
    assert same_tables(UserTable.from_pretrained(tmp_path, model), table)


def test_a_file_is_not_a_folder(model, table, tmp_path):
    folder = table.save_pretrained(tmp_path)
    with pytest.raises(TableFileError, match="give the folder that holds the three files"):
        UserTable.from_pretrained(folder / TABLE_NAME, model)


@pytest.mark.parametrize("path", ["missing", "a\0b", "n" * 300])
def test_a_folder_that_is_not_there_is_named(tmp_path, path):
    with pytest.raises(TableFileError, match="the folder can't be read"):
        read_table(tmp_path / path)


@pytest.mark.parametrize("path", ["/missing/folder", "a\0b", "n" * 300, "", "../x/y"])
def test_a_path_that_is_not_there_and_no_repository_is_refused_without_the_hub(model, path):
    if path == "":
        with pytest.raises(TableFileError, match=r"table\.safetensors is missing"):
            UserTable.from_pretrained(path, model)
        return
    with pytest.raises(HubError, match="there is no such folder here"):
        UserTable.from_pretrained(path, model)


@pytest.mark.parametrize("name", [CONFIG_NAME, TABLE_NAME])
def test_what_is_not_a_regular_file_is_not_opened(model, table, tmp_path, name):
    folder = table.save_pretrained(tmp_path)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(TableFileError, match=f"{name} is not a regular file"):
        UserTable.from_pretrained(folder, model)
    (folder / name).rmdir()
    os.mkfifo(folder / name)  # opening it would wait for ever
    with pytest.raises(TableFileError, match=f"{name} is not a regular file"):
        UserTable.from_pretrained(folder, model)
    (folder / name).unlink()
    (folder / name).symlink_to(folder / name)
    with pytest.raises(TableFileError, match=f"{name} can't be read"):
        UserTable.from_pretrained(folder, model)


@pytest.mark.parametrize("name", [CONFIG_NAME, TABLE_NAME])
def test_a_file_that_can_not_be_opened_is_named(model, table, tmp_path, monkeypatch, name):
    folder = table.save_pretrained(tmp_path)
    original = Path.open

    def refuse(path, *args, **kwargs):
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return original(path, *args, **kwargs)

    def read(path):
        with path.open("rb") as file:
            return file.read()

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(TableFileError, match=f"{name} can't be read: .*Permission denied"):
        UserTable.from_pretrained(folder, model)


def test_linked_files_are_followed_as_in_the_hubs_cache(model, table, tmp_path):
    table.save_pretrained(tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for name in FILE_NAMES:
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / "blobs" / name)
    (tmp_path / "link").symlink_to(tmp_path / "snapshot")
    assert same_tables(UserTable.from_pretrained(tmp_path / "link", model), table)


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda text: b"", "engram_config.json is not JSON"),
        (lambda text: b"\xff" + text, "engram_config.json is not UTF-8 (byte 0)"),
        (lambda text: b"[]", "engram_config.json is not a JSON object"),
        (lambda text: text + b" " * 70_000, "engram_config.json is larger than 65536 bytes"),
        (lambda text: b"[" * 20 + b"]" * 20, "engram_config.json is nested deeper than 16 levels"),
        (
            lambda text: text.replace(b'"row_dim": 16', b'"row_dim": 17'),
            "engram_config.json has row_dim 17, table.safetensors has 16",
        ),
        (
            lambda text: text.replace(b'"row_dim": 16', b'"row_dim": 16.0'),
            "engram_config.json has row_dim 16.0, table.safetensors has 16",
        ),
        (
            lambda text: text.replace(b"{", b'{"more": 1,'),
            "engram_config.json has more 1, table.safetensors has nothing",
        ),
        (
            lambda text: text.replace(b"format_version", b"format"),
            "engram_config.json has format_version nothing, table.safetensors has 2",
        ),
    ],
)
def test_a_config_file_that_is_wrong_is_named(model, table, tmp_path, edit, problem):
    path = table.save_pretrained(tmp_path) / CONFIG_NAME
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(TableFileError) as caught:
        UserTable.from_pretrained(tmp_path, model)
    assert problem in str(caught.value)


def test_the_files_of_two_tables_do_not_mix(model, table, tmp_path):
    other = add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=16, layers=1)
    made_up_table(other).save_pretrained(tmp_path / "other")
    folder = table.save_pretrained(tmp_path / "mine")
    (tmp_path / "other" / TABLE_NAME).replace(folder / TABLE_NAME)
    with pytest.raises(TableFileError, match=r"engram_config.json has layers \[3\], .* has \[1\]"):
        UserTable.from_pretrained(folder, model)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_damage_to_any_file_is_a_named_error_or_no_damage(model, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    table = made_up_table(model, 2)
    table.save_pretrained(folder)
    path = folder / data.draw(st.sampled_from(FILE_NAMES))
    before = path.read_bytes()
    damaged = bytearray(before)
    position = data.draw(st.integers(0, len(before) - 1))
    damaged[position] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(position, len(before)))])
    try:
        assert same_tables(UserTable.from_pretrained(folder, model), table)
        assert path.name != TABLE_NAME or path.read_bytes() == before
    except TableFileError:
        assert path.read_bytes() != before


# Tables of other models


def test_every_difference_to_another_model_is_named(model, table, tmp_path):
    folder = table.save_pretrained(tmp_path)
    other = tiny.tiny_model("llama", seed=1)
    other = add_engram(other, tiny.tiny_tokenizer(), row_dim=24, seed=5, layers=0)
    with pytest.raises(TableMismatchError) as caught:
        UserTable.from_pretrained(folder, other)
    told = "\n".join(caught.value.differences)
    for word in ("weights", "row_dim", "seed", "layer 3"):
        assert word in told
    remove_engram(other)
    with pytest.raises(NotPatchedError):
        UserTable.from_pretrained(folder, other)


def test_a_table_that_is_damaged_and_of_another_model_is_called_damaged(model, table, tmp_path):
    folder = table.save_pretrained(tmp_path)
    fields, tensors = take_apart(folder / TABLE_NAME)
    fields["binding"]["model"] = "0" * 32
    put_together(folder / TABLE_NAME, fields, tensors)
    with pytest.raises(TableMismatchError, match="weights 000000000000"):
        UserTable.from_pretrained(folder, model)
    fields["version"] = -1
    put_together(folder / TABLE_NAME, fields, tensors)
    with pytest.raises(TableFileError, match="has version -1"):
        UserTable.from_pretrained(folder, model)

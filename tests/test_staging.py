"""Promises of writing several files in one step."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engram_transformers import staging
from engram_transformers.staging import write_files

OLD = {"config": b"old config", "card": b"old card", "table": b"old table"}
NEW = {"config": b"new", "card": b"new card", "table": b"new table " * 100}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def fail_at(monkeypatch, name: str, number: int, error: BaseException) -> list[int]:
    """Have the nth call of a function of `os` fail; returns a list that grows with each call."""
    original, calls = getattr(os, name), []

    def call(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(staging.os, name, call)
    return calls


@pytest.fixture
def folder(tmp_path):
    write_files(tmp_path / "folder", OLD)
    return tmp_path / "folder"


def test_files_are_written_with_nothing_beside_them(tmp_path):
    write_files(tmp_path / "a" / "b", NEW)
    assert content(tmp_path / "a" / "b") == NEW


def test_files_are_overwritten_and_others_stay(folder):
    (folder / "mine").write_bytes(b"mine")
    write_files(folder, NEW)
    assert content(folder) == {**NEW, "mine": b"mine"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize(
    ("name", "number"),
    [(name, n) for name, last in (("fsync", 5), ("replace", 3)) for n in range(1, last + 1)],
)
def test_an_error_at_any_step_leaves_what_was_there(folder, monkeypatch, name, number, error):
    calls = fail_at(monkeypatch, name, number, error)
    with pytest.raises(type(error)):
        write_files(folder, NEW)
    assert len(calls) >= number
    assert content(folder) == OLD


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_error_in_a_new_folder_leaves_no_folder(tmp_path, monkeypatch, number):
    fail_at(monkeypatch, "replace", number, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        write_files(tmp_path / "a" / "b", NEW)
    assert content(tmp_path) == {}


@pytest.mark.parametrize(("number", "expected"), [(1, OLD), (2, OLD), (3, NEW)])
def test_an_interrupt_right_behind_a_rename_undoes_it_unless_it_was_the_last(
    folder, monkeypatch, number, expected
):
    original, calls = os.replace, []

    def replace_then_stop(*args):
        original(*args)
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt

    monkeypatch.setattr(staging.os, "replace", replace_then_stop)
    with pytest.raises(KeyboardInterrupt):
        write_files(folder, NEW)
    assert content(folder) == expected


def test_a_file_too_large_for_the_disk_leaves_what_was_there(folder):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            write_files(folder, NEW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert content(folder) == OLD


def test_a_killed_writer_leaves_the_last_file_and_its_leftovers_are_removed_later(folder):
    script = (
        "import os, sys; from pathlib import Path; from engram_transformers import staging\n"
        "staging.os.replace = lambda *paths: os._exit(9)\n"
        "staging.write_files(Path(sys.argv[1]), {'config': b'x', 'table': b'secret'})\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script, str(folder)], env=environment, check=False)
    assert done.returncode == 9
    left = {name: data for name, data in content(folder).items() if name not in OLD}
    assert b"secret" in left.values()
    assert {name: data for name, data in content(folder).items() if name in OLD} == OLD

    write_files(folder, NEW)
    assert content(folder) == {**NEW, **left}  # another writer may be at work
    an_hour_ago = time.time() - 3600
    for name in left:
        os.utime(folder / name, (an_hour_ago, an_hour_ago))
    write_files(folder, NEW)
    assert content(folder) == NEW


def test_a_linked_file_is_replaced_and_not_written_through(folder, tmp_path):
    (folder / "table").rename(tmp_path / "elsewhere")
    (folder / "table").symlink_to(tmp_path / "elsewhere")
    write_files(folder, NEW)
    assert content(folder) == NEW
    assert (tmp_path / "elsewhere").read_bytes() == OLD["table"]


def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(OSError, match=r"File exists|Not a directory"):
            write_files(path, NEW)
    assert content(tmp_path) == {"file": b"mine"}

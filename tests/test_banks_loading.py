"""Promises of loading banks: all is checked first, all that is wrong is named, nothing changes."""

from __future__ import annotations

import os
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from banked import BANK, with_banks
from saved_banks import (
    change_tensors,
    copied,
    fields_of,
    flip_last,
    golden_weights,
    reseal,
    same_weights,
    set_fields,
    shards_of,
    weights_of,
)
from tables import LAYERS, ROW_DIM
from transformers import AutoModelForCausalLM, LlamaConfig

from engram_transformers import EngramError, UserTable, add_engram, load_engram, save_engram
from engram_transformers.attachment import find_attachment, require_attachment
from engram_transformers.banks.description import CONFIG_NAME
from engram_transformers.banks.file_errors import (
    BankFileError,
    BankMismatchError,
    OtherCheckpointWarning,
)
from engram_transformers.canonical import tokenizer_fingerprint
from engram_transformers.errors import TableFileError, UnsupportedModelError


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("banks")
    model = with_banks(tiny.tiny_model("llama"), tiny.tiny_tokenizer())
    return save_engram(model, folder, max_shard_size=8_000)


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return copied(saved, tmp_path / "banks")


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def other(tokenizer):
    """A model with the same banks, with other weights."""
    return with_banks(tiny.tiny_model("llama"), tokenizer, seed=9)


def refused(folder: Path, other: Any, kind: type[EngramError] = BankFileError) -> Any:
    """Check that nothing is loaded onto either a bare model or a patched one."""
    weights = weights_of(other)
    with pytest.raises(kind) as caught:
        load_engram(other, folder)
    assert same_weights(weights_of(other), weights)
    bare = tiny.tiny_model("llama")
    with pytest.raises(kind):
        load_engram(bare, folder, tiny.tiny_tokenizer())
    assert find_attachment(bare) is None
    assert not any("engram" in name for name, _ in bare.named_modules())
    return caught.value


# Files of weights


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def truncate_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def break_header(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"dtype":"F32"', b'"dtype":"F99"', 1))


def as_pickle(path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump({"weights": [1.0]}, file)


def as_pointer(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")


def as_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (Path.unlink, "is missing"),
        (as_folder, "is missing"),
        (truncate, r"has \d+ bytes instead of \d+"),
        (truncate_header, "is truncated"),
        (flip_last, "does not have its digest"),
        (break_header, "does not have its digest"),
        (as_pickle, "is a pickle, which is never loaded"),
        (as_pointer, "is a Git LFS pointer"),
        (lambda path: path.write_bytes(b""), "is empty"),
    ],
)
def test_damaged_files_are_refused(folder, other, change, problem):
    change(shards_of(folder)[-1])
    error = refused(folder, other)
    assert len(error.problems) == 1
    assert error.problems[0].startswith(shards_of(folder)[-1].name) or change is Path.unlink
    with pytest.raises(BankFileError, match=problem):
        load_engram(other, folder)


def test_a_broken_header_is_refused_though_the_digest_was_made_anew(folder, other):
    break_header(shards_of(folder)[0])
    reseal(folder)
    (problem,) = refused(folder, other).problems
    assert "is refused by safetensors" in problem


def drop(name: str) -> Any:
    def change(tensors: dict[str, Any]) -> None:
        del tensors[next(key for key in tensors if name in key)]

    return change


def replace(name: str, new: Any) -> Any:
    def change(tensors: dict[str, Any]) -> None:
        key = next(key for key in tensors if name in key)
        tensors[key] = new(tensors[key])

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (drop("key_norm"), r"no file has the tensor layers\.1\.engram_bank\.key_norm"),
        (drop("head1"), r"no file has the tensor layers\.1\.engram_bank\.table\.order2\.head1"),
        (lambda t: t.update(extra=torch.zeros(2)), "the tensor extra, which this model has no"),
        (replace("head0", lambda t: t[:-1]), r"of shape \[150, 4\] instead of \[151, 4\]"),
        (replace("head0", lambda t: t.half()), r"head1 is F32, but .*head0 F16"),
        (replace("key_norm", lambda t: t.long()), "as I64 instead of F16 or BF16"),
        (replace("multipliers", lambda t: t.float()), "as F32 instead of I64"),
        (replace("primes", lambda t: t + 2), r"primes has other numbers than follow from"),
        (replace("offsets", lambda t: t + 1), r"offsets has other numbers than follow from"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tmp_path, other, change, problem):
    model = with_banks(tiny.tiny_model("llama"), tiny.tiny_tokenizer())
    folder = save_engram(model, tmp_path)  # in one file
    change_tensors(folder, change)
    refused(folder, other)
    with pytest.raises(BankFileError, match=problem):
        load_engram(other, folder)


def test_a_tensor_in_another_file_than_said_is_refused(folder, other):
    fields = fields_of(folder)
    name, file = next(iter(fields["weight_map"].items()))
    fields["weight_map"][name] = next(f for f in fields["files"] if f != file)
    set_fields(folder, fields)
    assert f"the tensor {name}, which weight_map puts into" in str(refused(folder, other))


def test_everything_that_is_wrong_is_named_at_once(folder, other):
    first, second, *_ = shards_of(folder)
    first.unlink(), flip_last(second)
    problems = refused(folder, other).problems
    assert [problem.split(" ", 1) for problem in problems] == [
        [first.name, "is missing"],
        [
            second.name,
            "does not have its digest: it was changed or damaged after being saved",
        ],
    ]


# The configuration


@pytest.mark.parametrize(
    "name",
    [
        "../engram-0123456789abcdef.safetensors",
        "/etc/passwd",
        "folder/engram-0123456789abcdef.safetensors",
        "..\\engram-0123456789abcdef.safetensors",
        "engram-0123456789abcdef.safetensors\n",
        "engram-0123456789abcdef.bin",
        "",
    ],
)
def test_unsafe_paths_are_never_opened(folder, other, name, tmp_path):
    path = shards_of(folder)[0]
    shutil.copy(path, tmp_path / "engram-0123456789abcdef.safetensors")
    fields = fields_of(folder)
    fields["files"][name] = fields["files"].pop(path.name)
    for tensor, file in fields["weight_map"].items():
        if file == path.name:
            fields["weight_map"][tensor] = name
    set_fields(folder, fields)
    assert "as no file of banks is called" in refused(folder, other).problems[0]


def changed(place: tuple[str, ...], value: Any) -> Any:
    def change(fields: dict[str, Any]) -> None:
        *owners, last = place
        for owner in owners:
            fields = fields[owner]
        if value is KeyError:
            del fields[last]
        else:
            fields[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (changed(("format_version",), 2), "format version 2; this release reads up to 1: upgrade"),
        (changed(("format_version",), "1"), "has format_version '1'"),
        (changed(("format_version",), True), "has format_version True"),
        (changed(("format_version",), 0), "has format_version 0"),
        (changed(("kind",), "rows"), "has kind 'rows', not 'banks'"),
        (changed(("config",), []), r"has config \[\]"),
        (changed(("config", "memory_size"), KeyError), "in config: memory_size"),
        (changed(("config", "unknown"), 1), "in config: unknown"),
        (changed(("config", "memory_size"), -5), "`memory_size` is -5"),
        (changed(("config", "memory_size"), 0), "describes banks though memory_size is 0"),
        (changed(("config", "layers"), "auto"), "layers in config that are not resolved: 'auto'"),
        (changed(("config", "layers"), [-1]), r"layers in config that are not resolved"),
        (changed(("banks",), None), "or none though it is not"),
        (changed(("banks", "heads"), 0), "has a banks that can't be"),
        (changed(("model",), None), "has name None in model"),
        (changed(("model", "blocks"), "4"), "has blocks '4' in model"),
        (changed(("tokenizer",), 7), "has tokenizer 7"),
        (changed(("files",), {}), r"has files \{\}"),
        (changed(("weight_map",), []), r"has weight_map \[\]"),
        (changed(("weight_map", "some"), "other"), "puts 'some' into 'other', which is none"),
    ],
)
def test_a_configuration_that_can_not_be_is_refused(folder, other, change, problem):
    fields = fields_of(folder)
    change(fields)
    set_fields(folder, fields)
    refused(folder, other)
    with pytest.raises(BankFileError, match=problem):
        load_engram(other, folder)


@pytest.mark.parametrize("field", ["bytes", "xxh3_128"])
def test_a_file_that_is_described_wrongly_is_refused(folder, other, field):
    fields = fields_of(folder)
    name = next(iter(fields["files"]))
    fields["files"][name][field] = "no"
    set_fields(folder, fields)
    assert name in refused(folder, other).problems[0]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b'{"kind": "banks", "kind": "banks"}', "a key is there twice"),
        (b"\xff", "is not UTF-8"),
        (b'{"a":' * 20 + b"1" + b"}" * 20, "nested deeper"),
        (b" " * ((1 << 24) + 1), "is larger than"),
    ],
)
def test_text_that_is_no_configuration_is_refused(folder, other, data, problem):
    (folder / CONFIG_NAME).write_bytes(data)
    assert problem in str(refused(folder, other))


def test_what_is_no_folder_of_banks_is_refused(tmp_path, other, tokenizer):
    (tmp_path / "empty").mkdir()
    assert "engram_config.json is missing" in str(refused(tmp_path / "empty", other))
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert "is not a folder" in str(refused(tmp_path / "file", other))
    table = UserTable(other, "ann")
    table.save_pretrained(tmp_path / "table")
    error = refused(tmp_path / "table", other)
    assert "is that of a table: load it with UserTable.from_pretrained" in str(error)
    assert isinstance(error, OSError)
    assert error.path == str(tmp_path / "table")


def test_banks_are_no_table(folder, other):
    with pytest.raises(TableFileError, match=r"table\.safetensors is missing"):
        UserTable.from_pretrained(folder, other)


# Models that they do not fit


@pytest.mark.parametrize(
    ("fields", "differences"),
    [
        ({"layers": [1]}, [r"their layers is \(1, 3\), this model's is \(1,\)"]),
        ({"layers": [0, 3]}, [r"their layers is \(1, 3\), this model's is \(0, 3\)"]),
        ({"seed": 5}, ["their seed is 0, this model's is 5"]),
        ({"gate_type": "learned"}, ["their gate_type is 'fixed', this model's is 'learned'"]),
        ({"memory_size": 0}, ["their memory_size is 600, this model's is 0"]),
        (
            {"memory_size": 700, "bank_heads": 1, "bank_order": 2, "bank_kernel_size": 2},
            ["memory_size", "bank_order", "bank_heads", "bank_kernel_size"],
        ),
    ],
)
def test_a_model_with_other_memories_is_refused(folder, tokenizer, fields, differences):
    given = {"layers": LAYERS, "row_dim": ROW_DIM, **BANK, **fields}
    model = add_engram(tiny.tiny_model("llama"), tokenizer, **given)
    weights = weights_of(model)
    with pytest.raises(BankMismatchError) as caught:
        load_engram(model, folder)
    assert same_weights(weights_of(model), weights)
    assert len(caught.value.differences) == len(differences)
    for difference in differences:
        with pytest.raises(BankMismatchError, match=difference):
            load_engram(model, folder)
    assert isinstance(caught.value, ValueError)


def test_what_does_not_concern_banks_may_differ(folder, tokenizer):
    fields = {"layers": LAYERS, "row_dim": 8, "max_order": 9, "gate_type": "content"}
    model = add_engram(tiny.tiny_model("llama"), tokenizer, **fields, **BANK)
    load_engram(model, folder)
    assert require_attachment(model).config.row_dim == 8


def smaller(**fields: Any) -> Any:
    config = tiny.tiny_model("llama").config.to_dict() | fields
    return AutoModelForCausalLM.from_config(LlamaConfig(**config))


def test_a_model_of_another_shape_is_refused(folder, tokenizer):
    model = smaller(hidden_size=32, num_hidden_layers=5)
    with pytest.raises(BankMismatchError) as caught:
        load_engram(model, folder, tokenizer)
    assert caught.value.differences == (
        "their hidden_size is 64, this model's is 32",
        "their model has 4 decoder blocks, this one has 5",
    )
    with pytest.raises(BankMismatchError, match="Layer 3 does not exist"):
        load_engram(smaller(num_hidden_layers=2), folder, tokenizer)
    model = smaller(vocab_size=310)
    with pytest.raises(BankMismatchError, match="distinct canonical ids, this model's"):
        load_engram(model, folder, tokenizer)
    assert find_attachment(model) is None


def test_another_tokenizer_is_refused(folder, tokenizer):
    tokenizer.add_tokens(["Trondheim"])
    with pytest.raises(BankMismatchError, match=r"their tokenizer is \w{12}, this model's is"):
        load_engram(smaller(vocab_size=301), folder, tokenizer)


def test_settings_that_contradict_each_other_are_refused(folder, other):
    fields = fields_of(folder)
    fields["banks"]["seed"] = 3
    set_fields(folder, fields)
    error = refused(folder, other, BankMismatchError)
    assert error.differences == ("their banks have 3 as seed, this model's 0",)


def test_what_is_no_model_is_refused(folder):
    with pytest.raises(UnsupportedModelError):
        load_engram("a name", folder)  # pyright: ignore


@pytest.mark.parametrize("patched", [False, True])
def test_another_checkpoint_of_the_same_shape_is_warned_of(folder, tokenizer, patched):
    model = tiny.tiny_model("llama", seed=1)
    if patched:
        with_banks(model, tokenizer, seed=4)
    with pytest.warns(OtherCheckpointWarning, match="were trained with LlamaForCausalLM") as caught:
        load_engram(model, folder, tokenizer)
    assert caught[0].filename == __file__
    expected = load_engram(tiny.tiny_model("llama"), folder, tokenizer)
    assert same_weights(weights_of(model), weights_of(expected))
    weights = weights_of(with_banks(tiny.tiny_model("llama", seed=1), tokenizer, seed=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error", OtherCheckpointWarning)
        model = with_banks(tiny.tiny_model("llama", seed=1), tokenizer, seed=4)
        with pytest.raises(OtherCheckpointWarning):
            load_engram(model, folder)
    assert same_weights(weights_of(model), weights)


def test_weights_that_accelerate_keeps_elsewhere_are_refused(folder, other):
    from accelerate import cpu_offload

    cpu_offload(other)
    with pytest.raises(BankMismatchError, match="load them before it dispatches the model"):
        load_engram(other, folder)


# What the trained numbers are


def test_multipliers_are_the_files_own(tmp_path, tokenizer):
    """A later numpy may draw others."""
    model = with_banks(tiny.tiny_model("llama"), tokenizer)
    bank = require_attachment(model).banks[1]
    bank.bank_hash.multipliers += 2
    save_engram(model, tmp_path)
    loaded = load_engram(tiny.tiny_model("llama"), tmp_path, tokenizer)
    assert same_weights(weights_of(loaded), weights_of(model))


@pytest.mark.filterwarnings("default::engram_transformers.banks.file_errors.OtherCheckpointWarning")
def test_a_golden_file_of_each_version_loads(tokenizer, tmp_path):
    folder = copied(Path(__file__).parent / "data" / "banks_1", tmp_path / "banks")
    fields = fields_of(folder)
    assert fields["format_version"] == 1
    # Another release of tokenizers may describe the tests' tokenizer in other words.
    set_fields(folder, fields | {"tokenizer": tokenizer_fingerprint(tokenizer)})
    loaded = load_engram(tiny.tiny_model("gpt2"), folder, tokenizer)
    assert require_attachment(loaded).banks.keys() == {1, 3}
    for bank in require_attachment(loaded).banks.values():
        for weight, expected in zip(bank.parameters(), golden_weights(bank), strict=True):
            assert torch.equal(weight, expected)


def test_files_are_links_in_the_hubs_cache(folder, other, tmp_path):
    cache = tmp_path / "snapshot"
    cache.mkdir()
    for path in folder.iterdir():
        os.symlink(path, cache / path.name)
    load_engram(other, cache)

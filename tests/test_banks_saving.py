"""Promises of saved banks: what comes back, what the files hold, and what a broken write leaves."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import saving_processes
import tiny
import torch
from banked import BANK, fill_banks, with_banks
from decoding import PROMPTS, generate
from failures import PlantedError, fail
from saved_banks import content, fields_of, same_weights, shards_of, weights_of
from tables import LAYERS, ROW_DIM
from transformers import AutoModelForCausalLM

from engram_transformers import (
    UserTable,
    add_engram,
    load_engram,
    remove_engram,
    save_engram,
    use_tables,
)
from engram_transformers.attachment import find_attachment, require_attachment
from engram_transformers.banks import saving, shards
from engram_transformers.banks.described import SHARD_NAME
from engram_transformers.banks.description import CONFIG_NAME
from engram_transformers.banks.file_errors import BankSaveError, NoBanksError
from engram_transformers.banks.loading import load_banks
from engram_transformers.banks.saving import save_banks
from engram_transformers.errors import (
    ConfigError,
    NotPatchedError,
    TableMismatchError,
    TableSaveError,
)

LEARNED = {"layers": LAYERS, "row_dim": ROW_DIM, "gate_type": "learned"}


@pytest.fixture
def tokenizer(tiny_tokenizer):
    return tiny_tokenizer


@pytest.fixture
def llama(tiny_llama, tokenizer):
    return with_banks(tiny_llama, tokenizer)


@pytest.fixture
def ids(tokenizer) -> torch.Tensor:
    return torch.tensor([tokenizer(PROMPTS[1])["input_ids"]])


@torch.no_grad()
def logits_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    return model(ids).logits


def fill_gates(model: Any) -> None:
    generator = torch.Generator().manual_seed(5)
    for memory in require_attachment(model).memories.values():
        for weight in memory.parameters():
            weight.data.copy_(torch.randn(weight.shape, generator=generator))


# What comes back


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_banks_come_back_bit_for_bit_on_a_new_base(tiny_llama, tokenizer, ids, tmp_path, dtype):
    model = with_banks(tiny_llama, tokenizer).to(dtype)
    expected, said, weights = logits_of(model, ids), generate(model, ids), weights_of(model)
    save_engram(model, tmp_path)
    other = tiny.tiny_model("llama").to(dtype)
    assert load_engram(other, tmp_path, tokenizer) is other
    assert torch.equal(logits_of(other, ids), expected)
    assert torch.equal(generate(other, ids), said)
    assert same_weights(weights_of(other), weights)
    assert require_attachment(other).config == require_attachment(model).config
    assert not any(w.requires_grad for b in banks_of(other) for w in b.parameters())


def banks_of(model: Any) -> list[Any]:
    return list(require_attachment(model).banks.values())


@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
def test_other_families_too(family, tokenizer, ids, tmp_path):
    model = with_banks(tiny.tiny_model(family), tokenizer)
    save_engram(model, tmp_path)
    loaded = load_engram(tiny.tiny_model(family), tmp_path, tokenizer)
    assert torch.equal(logits_of(loaded, ids), logits_of(model, ids))


def test_a_bank_keeps_its_dtype_on_a_base_of_another(llama, tokenizer, tmp_path):
    for bank in banks_of(llama):
        bank.to(torch.bfloat16)
    save_engram(llama, tmp_path)
    loaded = load_engram(tiny.tiny_model("llama"), tmp_path, tokenizer)
    assert same_weights(weights_of(loaded), weights_of(llama))
    assert loaded.dtype == torch.float32


def test_a_model_with_the_same_banks_gets_the_saved_weights(llama, tokenizer, ids, tmp_path):
    save_engram(llama, tmp_path)
    other = with_banks(tiny.tiny_model("llama"), tokenizer, seed=0)
    fill_banks(other, seed=9)
    before = [id(weight) for bank in banks_of(other) for weight in bank.parameters()]
    for bank in banks_of(other):
        bank.requires_grad_()
    load_engram(other, tmp_path)
    assert torch.equal(logits_of(other, ids), logits_of(llama, ids))
    after = [weight for bank in banks_of(other) for weight in bank.parameters()]
    assert [id(weight) for weight in after] == before  # an optimiser goes on with them
    assert all(weight.requires_grad for weight in after)


def test_weights_of_another_dtype_become_what_was_saved(llama, tokenizer, tmp_path):
    save_engram(llama, tmp_path)
    other = add_engram(tiny.tiny_model("llama"), tokenizer, layers=LAYERS, row_dim=ROW_DIM, **BANK)
    for bank in banks_of(other):
        bank.to(torch.bfloat16)
    load_engram(other, tmp_path)
    assert same_weights(weights_of(other), weights_of(llama))


def test_a_trainers_checkpoint_is_the_same_without_a_card(llama, tokenizer, tmp_path):
    save_banks(llama, tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint" / "README.md").exists()
    other = with_banks(tiny.tiny_model("llama"), tokenizer, seed=9)
    load_banks(other, tmp_path / "checkpoint")
    assert same_weights(weights_of(other), weights_of(llama))
    with pytest.raises(NotPatchedError):
        load_banks(tiny.tiny_model("llama"), tmp_path / "checkpoint")


@pytest.mark.parametrize("fields", [{}, BANK])
def test_learned_gates_are_saved_with_or_without_banks(tokenizer, tmp_path, fields):
    model = add_engram(tiny.tiny_model("llama"), tokenizer, **LEARNED, **fields)
    fill_gates(model)
    if fields:
        fill_banks(model)
    save_engram(model, tmp_path)
    loaded = load_engram(tiny.tiny_model("llama"), tmp_path, tokenizer)
    assert same_weights(weights_of(loaded), weights_of(model))
    assert len(weights_of(loaded)) == 2 * (3 + (12 if fields else 0))


def test_banks_on_parallel_residual_streams(tokenizer, ids, tmp_path):
    from zoo import species

    made = species().get("DeepseekV4ForCausalLM")
    if made is None:
        pytest.skip("this release of transformers has no such model")
    model = made.build()
    with_banks(model, tokenizer, layers=[0, 1])
    save_engram(model, tmp_path)
    loaded = load_engram(made.build(), tmp_path, tokenizer)
    assert require_attachment(loaded).banks[0].config.streams > 1
    assert torch.equal(logits_of(loaded, ids), logits_of(model, ids))


def test_what_was_loaded_comes_off_exactly(llama, tokenizer, ids, tmp_path):
    save_engram(llama, tmp_path)
    base = tiny.tiny_model("llama")
    names, logits = list(base.state_dict()), logits_of(base, ids)
    load_engram(base, tmp_path, tokenizer)
    remove_engram(base)
    assert list(base.state_dict()) == names
    assert find_attachment(base) is None
    assert torch.equal(logits_of(base, ids), logits)


def test_a_checkpoint_of_the_base_is_without_a_trained_bank_and_takes_it_again(
    llama, tokenizer, ids, tmp_path
):
    expected = logits_of(llama, ids)
    llama.save_pretrained(tmp_path / "base")
    save_engram(llama, tmp_path / "banks")
    loaded, notes = AutoModelForCausalLM.from_pretrained(
        tmp_path / "base", output_loading_info=True
    )
    assert not notes["unexpected_keys"]
    assert not notes["missing_keys"]
    assert not torch.equal(logits_of(loaded.eval(), ids), expected)
    load_engram(loaded, tmp_path / "banks", tokenizer)
    assert torch.equal(logits_of(loaded, ids), expected)
    loaded.save_pretrained(tmp_path / "again")
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert again == {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()}


def test_tables_over_a_bank_load_over_the_one_that_comes_back(llama, tokenizer, ids, tmp_path):
    from patched import at_trigger

    table = at_trigger(llama, ids).table
    with use_tables(llama, table):
        fired = logits_of(llama, ids)
    table.save_pretrained(tmp_path / "table", store_text=False)
    save_engram(llama, tmp_path / "banks")
    fill_banks(llama, seed=9)
    save_engram(llama, tmp_path / "others")
    model = load_engram(tiny.tiny_model("llama"), tmp_path / "banks", tokenizer)
    loaded = UserTable.from_pretrained(tmp_path / "table", model)
    with use_tables(model, loaded):
        assert torch.equal(logits_of(model, ids), fired)
    load_engram(model, tmp_path / "others")
    with pytest.raises(TableMismatchError, match="it was written over banks"):
        UserTable.from_pretrained(tmp_path / "table", model)
    with pytest.raises(TableMismatchError, match="it was written over banks"):
        use_tables(model, loaded).__enter__()


# What the files hold


def test_the_same_banks_give_the_same_bytes(llama, tmp_path):
    save_engram(llama, tmp_path / "one")
    save_engram(llama, tmp_path / "two")
    first = content(tmp_path / "one")
    assert first == content(tmp_path / "two")
    save_engram(llama, tmp_path / "one")
    assert content(tmp_path / "one") == first
    assert sorted(first) == ["README.md", shards_of(tmp_path / "one")[0].name, CONFIG_NAME]


def test_whoever_may_read_one_file_may_read_all(llama, tmp_path):
    save_engram(llama, tmp_path)
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_large_banks_are_shared_out_over_files(llama, tokenizer, ids, tmp_path):
    save_engram(llama, tmp_path, max_shard_size=4_000)
    files = shards_of(tmp_path)
    assert len(files) > 4
    assert all(SHARD_NAME.fullmatch(path.name) for path in files)
    pieces = fields_of(tmp_path)["weight_map"]
    assert set(pieces.values()) == {path.name for path in files}
    tables = {name: file for name, file in pieces.items() if ".table." in name}
    assert len(tables) == 2 * 4
    assert len(set(tables.values())) > 2  # a table need not fit into one
    loaded = load_engram(tiny.tiny_model("llama"), tmp_path, tokenizer)
    assert torch.equal(logits_of(loaded, ids), logits_of(llama, ids))
    save_engram(llama, tmp_path, max_shard_size="1GB")
    assert len(shards_of(tmp_path)) == 1
    assert not list(tmp_path.glob(".*"))


def test_the_configuration_is_whole_though_defaults_may_change(llama, tmp_path):
    save_engram(llama, tmp_path)
    fields = fields_of(tmp_path)
    assert fields["config"]["bank_order"] == 3
    assert fields["config"]["layers"] == LAYERS
    assert fields["banks"]["layers"] == LAYERS
    assert fields["model"]["fingerprint"] == require_attachment(llama).model_fingerprint()
    assert fields["format_version"] == 1


def test_the_card_says_what_it_is_and_how_to_load_it(llama, tmp_path):
    llama.name_or_path = "somebody/tiny"
    save_engram(llama, tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: engram-transformers\n")
    assert 'base_model: "somebody/tiny"' in card
    assert "- engram-bank\n" in card
    assert "load_engram(model," in card
    rows = sum(bank.bank_hash.rows for bank in banks_of(llama))
    assert f"| rows of all layers | {rows:,} of 4 numbers |" in card
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")


def test_a_folder_of_the_model_stays_unnamed_in_the_card(llama, tmp_path):
    llama.name_or_path = str(tmp_path / "secret-name" / "model")
    save_engram(llama, tmp_path / "banks")
    everything = b"".join(content(tmp_path / "banks").values())
    assert b"secret-name" not in everything


def test_somebody_elses_readme_stays(llama, tmp_path):
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    save_engram(llama, tmp_path)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"


# Weights that processes share


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_processes_that_share_weights_save_and_load_them_together(tmp_path):
    torch.multiprocessing.spawn(saving_processes.work, (str(tmp_path),), nprocs=2)
    found = [(tmp_path / f"outcome-{rank}").read_text(encoding="utf-8") for rank in range(2)]
    assert found == ["", ""]


# What can't be saved


def test_a_model_without_banks_has_nothing_to_save(tiny_llama, tokenizer, tmp_path):
    with pytest.raises(NotPatchedError):
        save_engram(tiny_llama, tmp_path / "new")
    add_engram(tiny_llama, tokenizer)
    with pytest.raises(
        NoBanksError, match=r"has no banks: add_engram\(model, memory_size"
    ) as caught:
        save_engram(tiny_llama, tmp_path / "new")
    assert isinstance(caught.value, ValueError)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("size", ["5 bananas", "", 0, -1, 1.5, None, True, []])
def test_a_size_that_is_none_is_refused(llama, tmp_path, size):
    with pytest.raises(ConfigError, match="max_shard_size"):
        save_engram(llama, tmp_path / "new", max_shard_size=size)
    assert not (tmp_path / "new").exists()


def test_banks_and_tables_do_not_share_a_folder(llama, ids, tmp_path):
    from patched import at_trigger

    table = at_trigger(llama, ids).table
    table.save_pretrained(tmp_path / "table", store_text=False)
    before = content(tmp_path / "table")
    with pytest.raises(BankSaveError, match="it holds a table; give banks a folder"):
        save_engram(llama, tmp_path / "table")
    assert content(tmp_path / "table") == before
    save_engram(llama, tmp_path / "banks")
    before = content(tmp_path / "banks")
    with pytest.raises(TableSaveError, match="it holds saved banks; give tables a folder"):
        table.save_pretrained(tmp_path / "banks", store_text=False)
    assert content(tmp_path / "banks") == before


def test_a_path_that_is_a_file_is_refused(llama, tmp_path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(BankSaveError, match="can't be saved") as caught:
        save_engram(llama, tmp_path / "file")
    assert isinstance(caught.value, OSError)
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


# Broken writes


def full_disk(*_: Any, **__: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def at_shard(number: int, then: Any) -> Any:
    """Return a `save_file` that does something else at one of the files."""
    real, seen = shards.save_file, []

    def save(tensors: Any, path: Path, metadata: Any) -> None:
        seen.append(path)
        if len(seen) == number:
            path.write_bytes(b"half of it")
            then()
        real(tensors, path, metadata)

    return save


@pytest.mark.parametrize("place", ["first file", "third file", "digest", "rename", "texts"])
@pytest.mark.parametrize("then", [full_disk, fail])
@pytest.mark.parametrize("is_new", [False, True])
def test_a_broken_write_loses_nothing(llama, tokenizer, tmp_path, monkeypatch, place, then, is_new):
    folder = tmp_path / "banks"
    if not is_new:
        save_engram(llama, folder, max_shard_size=4_000)
    before = content(folder) if folder.exists() else {}
    weights = weights_of(llama)
    fill_banks(llama, seed=9)
    with monkeypatch.context() as patch:
        if place == "digest":
            patch.setattr(shards, "file_digest", then)
        elif place == "rename":
            patch.setattr(shards.os, "replace", broken_replace(3, then))
        elif place == "texts":
            patch.setattr(saving, "write_files", then)
        else:
            number = 1 if place.startswith("first") else 3
            patch.setattr(shards, "save_file", at_shard(number, then))
        with pytest.raises((BankSaveError, PlantedError)) as caught:
            save_engram(llama, folder, max_shard_size=4_000)
    assert isinstance(caught.value, BankSaveError) == (then is full_disk)
    if then is full_disk:
        assert caught.value.errno == errno.ENOSPC
    assert content(folder) == before
    if not is_new:
        loaded = load_engram(tiny.tiny_model("llama"), folder, tokenizer)
        assert same_weights(weights_of(loaded), weights)
    save_engram(llama, folder, max_shard_size=4_000)
    loaded = load_engram(tiny.tiny_model("llama"), folder, tokenizer)
    assert same_weights(weights_of(loaded), weights_of(llama))


def broken_replace(number: int, then: Any) -> Any:
    real, seen = os.replace, []

    def replace(source: Path, target: Path) -> None:
        seen.append(target)
        if len(seen) == number:
            then()
        real(source, target)

    return replace


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # Python 3.12: of fork
@pytest.mark.parametrize("number", range(1, 9))
def test_a_killed_writer_leaves_either_the_old_or_the_new(llama, tmp_path, tokenizer, number):
    """Whatever rename it was killed before: a child process dies there, without cleaning up."""
    folder = tmp_path / "banks"
    save_engram(llama, folder, max_shard_size=8_000)
    old = weights_of(llama)
    fill_banks(llama, seed=9)
    child = os.fork()
    if child == 0:
        try:
            shards.os.replace = broken_replace(number, lambda: os._exit(7))
            save_engram(llama, folder, max_shard_size=8_000)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    loaded = weights_of(load_engram(tiny.tiny_model("llama"), folder, tokenizer))
    assert same_weights(loaded, old) or same_weights(loaded, weights_of(llama))
    save_engram(llama, folder, max_shard_size=8_000)
    loaded = weights_of(load_engram(tiny.tiny_model("llama"), folder, tokenizer))
    assert same_weights(loaded, weights_of(llama))
    wanted = set(json.loads((folder / CONFIG_NAME).read_bytes())["files"])
    assert {path.name for path in shards_of(folder)} == wanted

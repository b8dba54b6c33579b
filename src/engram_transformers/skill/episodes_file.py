"""Episodes in files: JSON Lines, one episode per line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from engram_transformers.errors import EpisodeError, EpisodesFileError, FactError
from engram_transformers.facts import Fact, Prompt, as_facts
from engram_transformers.skill.episodes import Episode
from engram_transformers.staging import write_files
from engram_transformers.strict_json import parse_json, shown

_FIELDS = ("facts", "question", "answer", "needed", "working")


def save_episodes(episodes: Iterable[Episode], path: str | Path) -> Path:
    """Save episodes to a file, in one step: it holds all of them, or what it held before.

    Args:
        episodes: At least one.
        path: The file; its folder is made if it does not exist.

    Returns:
        The file.

    Raises:
        EpisodeError: If there is no episode.
        EpisodesFileError: If the file can't be written.

    Example:
        >>> import tempfile
        >>> key = "My home city is"
        >>> episode = Episode([(key, "Ghent")], "Where do I live?", "Ghent", key)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     read_episodes(save_episodes([episode], f"{folder}/ann.jsonl")) == [episode]
        True
    """
    path = Path(path)
    lines = [json.dumps(_fields(episode), ensure_ascii=False) for episode in episodes]
    if not lines:
        raise EpisodeError("", "there are no episodes.")
    try:
        write_files(path.parent, {path.name: "".join(f"{line}\n" for line in lines).encode()})
    except (
        OSError,
        ValueError,
    ) as error:  # ValueError: a path that no system has, half a character
        raise EpisodesFileError(path, "saved", f"{error}. Nothing there has changed.") from error
    return path


def read_episodes(path: str | Path) -> list[Episode]:
    """Read episodes that `save_episodes` saved, or that were written by hand in the same form.

    Args:
        path: A file with one JSON object per line: {"facts": [{"prompt": …, "answer": …,
            "paraphrases": […]}, …], "question": …, "answer": …, "needed": […], "working": …}.
            "paraphrases" may be left out, and empty lines are skipped.

    Returns:
        The episodes, in order; at least one. What they say is not checked: see `check_episode`.

    Raises:
        EpisodesFileError: If the file can't be read or is not that; the first line at fault is
            named.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().split(b"\n")
    except (OSError, ValueError) as error:
        raise EpisodesFileError(path, "read", f"{error}.") from error
    found: list[Episode] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_episode(parse_json(line)))
            except (FactError, EpisodeError) as error:
                raise EpisodesFileError(path, "read", f"line {number}: {error}") from error
            except ValueError as error:
                raise EpisodesFileError(path, "read", f"line {number} {error}.") from None
    if not found:
        raise EpisodesFileError(path, "read", "there are none in it.")
    return found


def _fields(episode: Episode) -> dict[str, Any]:
    return {
        "facts": [
            {
                "prompt": _written(fact.prompt),
                "answer": fact.answer,
                "paraphrases": list(map(_written, fact.paraphrases)),
            }
            for fact in as_facts(episode.facts)
        ],
        "question": episode.question,
        "answer": episode.answer,
        "needed": list(episode.needed),
        "working": episode.working,
    }


def _written(prompt: Prompt) -> Any:
    """Return a prompt as files of facts have it."""
    if isinstance(prompt, str):
        return prompt
    return [{"role": role, "content": content} for role, content in prompt]


def _episode(value: Any) -> Episode:
    """Return the episode that a line describes.

    Raises:
        ValueError: With the reason, as a predicate.
    """
    if not isinstance(value, dict):
        raise ValueError(f"is {shown(value)}, but must be an object")
    fields = cast("dict[str, Any]", value)
    problems = [f"lacks {name}" for name in _FIELDS if name not in fields]
    problems += [f"has the unknown field {name}" for name in sorted(set(fields) - set(_FIELDS))]
    if problems:
        raise ValueError("; ".join(problems))
    for name in ("question", "answer", "working"):
        if not isinstance(fields[name], str):
            raise ValueError(f"has {shown(fields[name])} as {name}, but it must be text")
    if not _is_list(fields["needed"], str):
        raise ValueError(f"has {shown(fields['needed'])} as needed, but it must be a list of texts")
    if not _is_list(fields["facts"], dict):
        raise ValueError(f"has {shown(fields['facts'])} as facts, but it must be a list of objects")
    facts = [_fact(one) for one in fields["facts"]]
    needed = tuple(fields["needed"])
    return Episode(facts, fields["question"], fields["answer"], needed, fields["working"])


def _fact(fields: dict[str, Any]) -> Fact:
    if "role" in fields:  # a chat message: as_facts would take it for the beginning of a fact
        raise ValueError(f"has {shown(fields)} as a fact, but it must have a prompt and an answer")
    if not isinstance(fields.get("paraphrases", []), list):
        raise ValueError(f"has {shown(fields['paraphrases'])} as paraphrases, but not as a list")
    return as_facts(fields)[0]


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, kind) for one in cast("list[Any]", value)
    )

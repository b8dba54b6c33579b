"""Real text, from sources that anybody can have: what tables are to leave alone.

What comes with Python and with installed packages is always there. More is given by path: a file,
or a folder as a Debian package unpacks it (`apt-get download anarchism fortunes`, then
`dpkg-deb -x FILE FOLDER`), in plain text, Markdown, HTML, or one of these in gzip.
"""

from __future__ import annotations

import ast
import gzip
import html
import importlib.metadata
import json
import re
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

LOCOMO = "locomo/locomo10.json of github.com/snap-research/locomo (CC BY-NC 4.0)"
_TEXT_SUFFIXES = ("", ".txt", ".md", ".rst", ".html", ".htm", ".dict", ".yml", ".tsv")
_COMPRESSED = (".gz", ".dz")
_SHORTEST = 40  # characters; what is shorter is a heading or a remnant of markup


class Source(NamedTuple):
    """Some documents of one kind.

    Attributes:
        name: In results.
        documents: Texts; no n-gram reaches from one into the next.
    """

    name: str
    documents: list[str]


def sources(data: Path, given: Iterable[Path] = (), *, quick: bool = False) -> list[Source]:
    """Return all the text there is, by source.

    Args:
        data: Folder of the evaluation data; LoCoMo's conversations are left out where they are
            missing.
        given: Further files and folders; each is a source of its own.
        quick: A part of the reference manual and of the conversations, and what is given.
    """
    chats = conversations(data)
    if not chats:
        print(f"No chat text: {LOCOMO} is not in {data}.")
    found = [
        Source("Python's reference manual", _reference()[: 20 if quick else None]),
        Source("LoCoMo, chat", chats[: 4 if quick else None]),
        *(Source(path.stem or path.name, list(_read_all(path))) for path in given),
    ]
    if not quick:
        found += [
            Source("Python's standard library, docstrings and comments", _docstrings()),
            Source("installed packages, descriptions", _descriptions()),
        ]
    return [source for source in found if source.documents]


def conversations(data: Path) -> list[str]:
    """Return LoCoMo's sessions as chat logs, a turn a line; nothing where they are missing."""
    path = data / "locomo" / "locomo10.json"
    if not path.exists():
        return []
    sessions: list[str] = []
    for sample in json.loads(path.read_text(encoding="utf-8")):
        for turns in sample["conversation"].values():
            if isinstance(turns, list):
                lines = [f"{turn['speaker']}: {turn['text']}" for turn in turns if "text" in turn]
                sessions.append("\n".join(lines))
    return sessions


def _reference() -> list[str]:
    return [topics[key] for key in sorted(topics)]


def _docstrings() -> list[str]:
    """Return docstrings and comments of each module of the standard library, without its tests."""
    folder = Path(sysconfig.get_path("stdlib"))
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found: list[str] = []
    for file in sorted(folder.rglob("*.py")):
        if not {"site-packages", "test", "tests", "idle_test", "lib2to3"}.isdisjoint(file.parts):
            continue
        content = file.read_text(encoding="utf-8", errors="ignore")
        try:
            tree = ast.parse(content)
        except (SyntaxError, ValueError):
            continue
        texts = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
        # Lines of comments that follow one another are one text.
        comments = re.findall(r"(?:^[ \t]*# .*\n)+", content, re.MULTILINE)
        texts += [re.sub(r"^[ \t]*# ", "", comment, flags=re.MULTILINE) for comment in comments]
        found.append("\n\n".join(text for text in texts if text))
    return _long_enough(found)


def _descriptions() -> list[str]:
    """Return what installed packages say of themselves."""
    found = {
        distribution.metadata["Name"]: distribution.metadata.get_payload()
        for distribution in importlib.metadata.distributions()
    }
    ordered = sorted((name, text) for name, text in found.items() if isinstance(text, str))
    return _long_enough([text for _, text in ordered])


def _read_all(path: Path) -> Iterator[str]:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if file.suffix in _COMPRESSED:
            content, kind = gzip.decompress(file.read_bytes()), Path(file.stem).suffix
        elif file.suffix in _TEXT_SUFFIXES or not path.is_dir():
            content, kind = file.read_bytes(), file.suffix
        else:
            continue
        if kind not in _TEXT_SUFFIXES:
            continue
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            continue  # no text
        if kind in (".html", ".htm"):
            text = html.unescape(re.sub(r"<[^>]+>", " ", text))
        yield from _long_enough(re.split(r"\n%\n", text))  # collections of quotations part them so


def _long_enough(texts: Iterable[str]) -> list[str]:
    return [text for text in texts if len(text) >= _SHORTEST]

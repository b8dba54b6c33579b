"""Reference texts that pip brings: docstrings of public functions and classes of packages.

Nothing is imported: sources are read and parsed, so that the same releases give the same texts on
every machine. An object is a class or a function of a module, whose own name is public; modules may
be private, as numpy and torch export from such. A class comes with its public methods. What only
compiled code documents is left out.

A paragraph of 60 characters or more is kept where it first occurs and nowhere else. So no paragraph
is both in training and in validation; those that differ in a word, such as a model's name, may be.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

PACKAGES = ("torch", "transformers", "numpy", "huggingface_hub")
"""What an installation of this library has at least."""
CHARACTERS = 3_000_000
"""Of each package at most, by default."""

_NO_REFERENCE = {"test", "tests", "_tests", "testing", "_vendor"}
_SHORTEST_PARAGRAPH = 60  # characters; shorter ones ("Example:") may stand in many objects
_SHORTEST_OBJECT = 100  # characters of docstrings
_PARTS = 20  # one of so many is for validation, one more for choosing learning rates

_Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class ReferenceText(NamedTuple):
    """What one object's docstrings say.

    Attributes:
        name: Package, module and object, "numpy.lib._function_base_impl.percentile".
        text: Headers and docstrings.
    """

    name: str
    text: str


class Split(NamedTuple):
    """Objects, each in one part only.

    Attributes:
        training: About nine of ten.
        choosing: For the choice of learning rates.
        validation: For nothing but the figures.
    """

    training: list[ReferenceText]
    choosing: list[ReferenceText]
    validation: list[ReferenceText]


def collect(
    packages: Sequence[str] = PACKAGES, characters: int = CHARACTERS
) -> tuple[list[ReferenceText], list[dict[str, Any]]]:
    """Return the reference texts of packages, and what they are.

    Args:
        packages: Names, as they are imported.
        characters: Of each at most: files are read in the order of a hash of their paths, so that
            a part is spread over the package, and no object after so many. An object of more than
            a tenth is left out.

    Returns:
        Texts; and for each package its name, version, licence, objects and characters.

    Raises:
        ModuleNotFoundError: If a package is not installed.
    """
    seen: set[str] = set()
    texts: list[ReferenceText] = []
    described: list[dict[str, Any]] = []
    for package in packages:
        own, count = [], 0
        for text in _objects(package, seen):
            if len(text.text) > characters // 10:
                continue
            own.append(text)
            count += len(text.text)
            if count >= characters:
                break
        texts += own
        described.append(
            {
                "package": package,
                "version": metadata.version(package),
                "licence": licence(package),
                "objects": len(own),
                "characters": count,
            }
        )
    return texts, described


def split(texts: Iterable[ReferenceText]) -> Split:
    """Put each object into one part, by a hash of its name."""
    parts = Split([], [], [])
    for text in texts:
        part = xxhash.xxh3_64_intdigest(text.name.encode()) % _PARTS
        parts[{0: 2, 1: 1}.get(part, 0)].append(text)
    return parts


def digest(texts: Iterable[ReferenceText]) -> str:
    """Return a short name of some texts' content."""
    hashed = xxhash.xxh3_64()
    for name, text in texts:
        hashed.update(f"{name}\0{text}\0".encode())
    return hashed.hexdigest()


def licence(package: str) -> str:
    """Return what a package says of its licence."""
    described = metadata.metadata(package)
    given = described.get("License-Expression") or described.get("License") or ""
    if given.strip():
        return given.strip().splitlines()[0][:200].strip()
    classified = described.get_all("Classifier") or []
    named = [one.rsplit(" :: ", 1)[-1] for one in classified if one.startswith("License ::")]
    return ", ".join(named) or "not named"


def _objects(package: str, seen: set[str]) -> Iterator[ReferenceText]:
    """Yield what a package's objects say that was not said before."""
    for name, node in _definitions(package):
        parts, length = [], 0
        for header, docstring in _documented(name, node):
            kept = [part for part in re.split(r"\n\s*\n", docstring) if _is_new(part, seen)]
            if kept:
                parts.append("\n\n".join([header, *kept]))
                length += sum(map(len, kept))
        if length >= _SHORTEST_OBJECT:
            yield ReferenceText(name, "\n\n".join(parts))


def _definitions(package: str) -> Iterator[tuple[str, _Documented]]:
    """Yield public classes and functions of a package's modules, with their names."""
    for path, module in _modules(package):
        content = path.read_text(encoding="utf-8", errors="ignore")
        if '"""' not in content:
            continue
        try:
            with warnings.catch_warnings():  # of others' escape sequences
                warnings.simplefilter("ignore")
                tree = ast.parse(content)
        except (SyntaxError, ValueError):
            continue  # of another release of Python, or a template
        for node in tree.body:
            if isinstance(node, _Documented) and not node.name.startswith("_"):
                yield f"{module}.{node.name}", node


def _modules(package: str) -> list[tuple[Path, str]]:
    """Return a package's files and modules in the order of a hash of their paths."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"The package {package} is not installed.", name=package)
    root = Path(next(iter(spec.submodule_search_locations)))
    found: list[tuple[int, str, Path]] = []
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).with_suffix("").parts
        if _NO_REFERENCE.isdisjoint(parts):
            module = ".".join([package, *(part for part in parts if part != "__init__")])
            found.append((xxhash.xxh3_64_intdigest(module.encode()), module, path))
    return [(path, module) for _, module, path in sorted(found)]


def _documented(name: str, node: _Documented) -> Iterator[tuple[str, str]]:
    """Yield header and docstring of an object, then of a class's public methods."""
    docstring = ast.get_docstring(node)
    if docstring:
        yield _header(name, node), docstring
    if isinstance(node, ast.ClassDef):
        for method in node.body:
            is_function = isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and not method.name.startswith("_"):
                docstring = ast.get_docstring(method)
                if docstring:
                    yield _header(f"{node.name}.{method.name}", method), docstring


def _header(name: str, node: _Documented) -> str:
    if isinstance(node, ast.ClassDef):
        return f"class {name}({', '.join(map(ast.unparse, node.bases))})"
    return f"{name}({ast.unparse(node.args)})"


def _is_new(paragraph: str, seen: set[str]) -> bool:
    """Say whether a paragraph is kept; a long one only once."""
    plain = " ".join(paragraph.split())
    if len(plain) < _SHORTEST_PARAGRAPH:
        return bool(plain)
    if plain in seen:
        return False
    seen.add(plain)
    return True

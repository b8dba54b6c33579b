"""Packages that only a part of the library needs."""

from __future__ import annotations

import importlib.util

from engram_transformers.errors import MissingExtraError


def require_package(package: str, extra: str, purpose: str) -> None:
    """Raise unless an optional package is installed. It is not imported.

    Args:
        package: The package's import name.
        extra: Which of this library's extras brings it.
        purpose: What needs it, as the subject of a sentence: "The plot".

    Raises:
        MissingExtraError: If it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, extra, purpose)

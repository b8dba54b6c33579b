"""Packages that only a part of the library needs."""

from __future__ import annotations

import importlib.util

from engram_transformers.errors import MissingExtraError


def is_installed(package: str) -> bool:
    """Say whether an optional package can be imported. It is not imported."""
    return importlib.util.find_spec(package) is not None


def require_package(package: str, extra: str, purpose: str) -> None:
    """Raise unless an optional package is installed. It is not imported.

    Args:
        package: The package's import name.
        extra: Which of this library's extras brings it.
        purpose: What needs it, as the subject of a sentence: "The plot".

    Raises:
        MissingExtraError: If it is not installed.
    """
    if not is_installed(package):
        raise MissingExtraError(package, extra, purpose)

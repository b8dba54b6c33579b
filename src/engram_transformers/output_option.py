"""Options that name a file to be written: refused before the work is done, not behind it."""

from __future__ import annotations

import argparse
from pathlib import Path

from engram_transformers.explain_figure import PICTURE_FORMATS
from engram_transformers.extras import require_package


def require_writable(parser: argparse.ArgumentParser, option: str, path: Path) -> None:
    """Exit with wrong usage if there can be no such file.

    Args:
        parser: Told why.
        option: Its name.
        path: Its value.
    """
    if path.is_dir():
        parser.error(f"argument {option}: {path} is a folder")
    if not path.parent.is_dir():
        parser.error(f"argument {option}: there is no folder {path.parent}")


def require_picture(parser: argparse.ArgumentParser, option: str, path: Path) -> None:
    """Exit with wrong usage if there can be no such picture.

    Args:
        parser: Told why.
        option: Its name.
        path: Its value.

    Raises:
        MissingExtraError: If matplotlib is not installed.
    """
    require_writable(parser, option, path)
    if path.suffix.lower() not in PICTURE_FORMATS:
        endings = ", ".join(PICTURE_FORMATS)
        parser.error(f"argument {option}: {path.name} must end in one of {endings}")
    require_package("matplotlib", "demo", "The plot")

"""Where the library keeps files that it can compute again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Return the folder for recomputable files, without creating it.

    `$ENGRAM_CACHE` if set, else `$XDG_CACHE_HOME/engram-transformers`, else
    `~/.cache/engram-transformers`. Variables that are empty count as unset, and so does a relative
    `$XDG_CACHE_HOME`, which the XDG base directory specification tells programs to ignore.

    Returns:
        The folder's path; it may not exist.

    Raises:
        RuntimeError: If no variable is set and the user has no home folder.
    """
    own = os.environ.get("ENGRAM_CACHE")
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    if shared and Path(shared).is_absolute():
        return Path(shared) / "engram-transformers"
    return Path.home() / ".cache" / "engram-transformers"

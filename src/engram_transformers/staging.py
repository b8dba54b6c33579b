"""Writing several files of a folder in one step: all of them, or none."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

_SUFFIX = ".tmp"
_ABANDONED_SECONDS = 600.0
"""A file that is being staged is older than this only if its writer was killed."""


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files so that a folder holds either all of them or what it held before.

    Every file is written to a temporary name and flushed to the disk, then they are renamed, the
    last one last. After any exception, also KeyboardInterrupt, the files are put back as they were.
    If the process is killed between two renames, the last file is still the old one.

    Args:
        folder: Made if it does not exist, and removed again if writing fails.
        files: Name -> content.

    Raises:
        OSError: If a file can't be written.
    """
    *before_last, last = files
    staged = {name: temporary(folder, name) for name in files}
    backups = {name: temporary(folder, name) for name in before_last}
    made: list[Path] = []
    begun: list[str] = []
    try:
        _make_folder(folder, made)
        for name, backup in backups.items():
            if (folder / name).exists():
                _write(backup, (folder / name).read_bytes())
        for name, data in files.items():
            _write(staged[name], data)
        for name, path in staged.items():
            begun.append(name)
            os.replace(path, folder / name)
    except BaseException:
        # Which renames have happened is asked of the disk: Python may have been stopped behind one.
        renamed = [name for name in begun if not staged[name].exists()]
        if last not in renamed:
            for name in renamed:
                _put_back(folder / name, backups[name])
            _remove([*staged.values(), *backups.values()])
            _remove_folders(made)
        raise
    finally:
        _remove([*staged.values(), *backups.values()])
    _flush_folder(folder)
    remove_abandoned(folder, files)


def temporary(folder: Path, name: str) -> Path:
    """Return a new name beside a file, for what is not whole yet."""
    return folder / f".{name}.{secrets.token_hex(8)}{_SUFFIX}"


def _make_folder(folder: Path, made: list[Path]) -> None:
    """Make a folder and its parents, noting which ones are new."""
    if not folder.is_dir():
        if folder.parent != folder:
            _make_folder(folder.parent, made)
        made.append(folder)
        try:
            folder.mkdir()
        except FileExistsError:
            made.remove(folder)
            if not folder.is_dir():
                raise


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _put_back(target: Path, backup: Path) -> None:
    """Undo a rename: every file that was there has a backup."""
    if backup.exists():
        os.replace(backup, target)
    else:
        target.unlink(missing_ok=True)


def _remove_folders(made: list[Path]) -> None:
    for path in reversed(made):
        with contextlib.suppress(OSError, ValueError):
            path.rmdir()


def _remove(paths: list[Path]) -> None:
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            path.unlink()


def _flush_folder(folder: Path) -> None:
    """Flush the renames. Some systems and network drives can't: then it is theirs to do."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_abandoned(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed writers of some files left: it may hold facts that were erased since."""
    for name in names:
        for path in folder.glob(f".{name}.*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                    path.unlink()

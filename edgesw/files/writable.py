"""Checks that something can be written to a path, made before the work that would be lost otherwise."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from edgesw.errors import UsageError
from edgesw.files.atomic_write import staging_path


def nearest_folder(folder: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    place = folder.absolute()
    while not place.exists() and not place.is_symlink():
        place = place.parent
    return place


def check_writable_folder(folder: Path, instead: str) -> None:
    """UsageError if `folder` cannot be written to or created. `instead` is what the message tells the user to do."""
    place = nearest_folder(folder)
    if not place.is_dir():
        raise UsageError(f"'{place}' is not a folder and cannot be written to: {instead}.")
    _try(place / f".edgesw.{os.getpid()}.partial", place, instead)


def check_writable_file(path: Path, instead: str) -> None:
    """UsageError if `path` is a folder, or the folder it is in does not exist or cannot be written to."""
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder: {instead}.")
    if not path.parent.exists():
        raise UsageError(f"folder '{path.parent}' does not exist: create it, or {instead}.")
    check_writable_folder(path.parent, instead)
    _try(staging_path(path), path, instead)


def _try(made: Path, named: Path, instead: str) -> None:
    """Creates a file and removes it. UsageError, about `named`, where that fails: no question to the system foretells
    all that can be in the way, as a disk that is read-only, a name that is too long, a file system of another kind."""
    try:
        made.touch(exist_ok=False)
        made.unlink()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UsageError(f"'{named}' cannot be written to ({error.strerror}): {instead}.") from error

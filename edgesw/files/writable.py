"""Checks that something can be written to a path, made before the work that would be lost otherwise."""

from __future__ import annotations

import os
from pathlib import Path

from edgesw.errors import UsageError


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
    if not os.access(place, os.W_OK):
        raise UsageError(f"'{place}' cannot be written to: {instead}.")


def check_writable_file(path: Path, instead: str) -> None:
    """UsageError if `path` is a folder, or the folder it is in does not exist or cannot be written to."""
    if path.is_dir():
        raise UsageError(f"'{path}' is a folder: {instead}.")
    if not path.parent.exists():
        raise UsageError(f"folder '{path.parent}' does not exist: create it, or {instead}.")
    check_writable_folder(path.parent, instead)

"""Names of files that a download gives: none of them may lead out of its folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


def inside(folder: Path, name: str) -> Path | None:
    """The path `name` in a folder, which need not exist. None for one that leads out of it, for one that has
    `..` in it or is absolute wherever it leads, and for what is no name of a file."""
    path, words = folder / name, PurePosixPath(name)
    if words.is_absolute() or ".." in words.parts:
        return None
    try:
        real = path.resolve()
        path.is_file()  # what is too long for a name is told by asking
    except (OSError, ValueError, RuntimeError):  # a RuntimeError is for links that lead to each other
        return None
    return path if real.is_relative_to(folder.resolve()) else None

"""File names that come from a download: they must not lead out of their folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath


def inside(folder: Path, name: str) -> Path | None:
    """The path of `name` in a folder; neither has to exist. None for a name that leads out of the folder, contains `..`
    or is absolute (even if it leads back in), or is not a valid file name."""
    path, parts = folder / name, PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        return None
    try:
        real = path.resolve()
        path.is_file()  # raises for a name that is too long
    except (OSError, ValueError, RuntimeError):  # RuntimeError: links that lead to each other
        return None
    return path if real.is_relative_to(folder.resolve()) else None

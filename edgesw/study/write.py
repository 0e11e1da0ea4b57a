"""Writes an experiment's JSON and plot into a folder."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from edgesw.errors import UsageError
from edgesw.files.atomic_write import staged
from edgesw.study.plots import plot
from edgesw.study.result import StudyResult


def check_folder(folder: Path) -> None:
    """UsageError when `folder` is something else, or cannot be written to. Asked before anything long is done."""
    place = folder.absolute()
    while not place.exists() and not place.is_symlink():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise UsageError(f"'{place}' is not a folder that can be written to: choose another -o.")


def write_result(result: StudyResult, folder: Path) -> tuple[Path, Path]:
    """Write EXPERIMENT.json and EXPERIMENT.png, over those of an earlier run; returns their paths.

    Both are made under other names first, so that neither is ever half there.
    """
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    finals = folder / f"{result.experiment}.json", folder / f"{result.experiment}.png"
    try:
        with staged(*finals) as (table, picture):
            text = json.dumps(result.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)
            table.write_text(text + "\n", encoding="utf-8")
            plot(result, picture)
    except BaseException:
        if new:
            with contextlib.suppress(OSError):  # not empty: somebody else has put something there
                folder.rmdir()
        raise
    return finals

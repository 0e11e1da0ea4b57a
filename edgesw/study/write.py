"""Writes the JSON and the plot of an experiment into a folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from edgesw.files.atomic_write import staged
from edgesw.files.json_file import json_text
from edgesw.study.plots import plot
from edgesw.study.result import StudyResult


def write_result(result: StudyResult, folder: Path) -> tuple[Path, Path]:
    """Writes EXPERIMENT.json and EXPERIMENT.png over those of an earlier run, and returns their paths.

    Each appears only when both are complete. A folder that was created for them is removed if they cannot be written.
    """
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    finals = folder / f"{result.experiment}.json", folder / f"{result.experiment}.png"
    try:
        with staged(*finals) as (table, picture):
            table.write_text(json_text(result.to_dict()) + "\n", encoding="utf-8")
            plot(result, picture)
    except BaseException:
        if new:
            with contextlib.suppress(OSError):  # not empty: another program has put something there
                folder.rmdir()
        raise
    return finals

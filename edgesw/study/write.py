"""Writes an experiment's JSON and plot into a folder."""

from __future__ import annotations

import contextlib
from pathlib import Path

from edgesw.files.atomic_write import staged
from edgesw.files.json_file import json_text
from edgesw.study.plots import plot
from edgesw.study.result import StudyResult


def write_result(result: StudyResult, folder: Path) -> tuple[Path, Path]:
    """Write EXPERIMENT.json and EXPERIMENT.png, over those of an earlier run; returns their paths.

    Both are made under other names first, so that neither is ever half there.
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
            with contextlib.suppress(OSError):  # not empty: somebody else has put something there
                folder.rmdir()
        raise
    return finals

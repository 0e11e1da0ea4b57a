"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import unchanged

from edgesw.files.atomic_write import staged


def test_files_take_the_place_of_older_ones_together(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.png"
    first.write_text("old")
    with staged(first, second) as (one, two):
        one.write_text("new")
        two.write_text("drawn")
        assert first.read_text() == "old" and not second.exists()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.json": "new", "b.png": "drawn"}


def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    """A report that could not be written must not cost the user the report of yesterday."""
    final = tmp_path / "report.html"
    final.write_text("old")

    def write() -> None:
        with staged(final) as (partial,):
            partial.write_text("half of it")
            raise RuntimeError

    with unchanged(tmp_path), pytest.raises(RuntimeError):
        write()

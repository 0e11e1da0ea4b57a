"""Rows of the quality table that are saved in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.lib.results import Measured, Result, load_measured


def result(title: str, perplexity: float) -> Result:
    return Result(title, "", 4.5, "simulated", perplexity, 30.0, 0.1, 0.9, 100)


def test_a_row_measured_again_takes_the_place_of_the_older_one(tmp_path: Path) -> None:
    """Otherwise a table made in pieces would show figures of code that has changed since."""
    key = {"model": "tiny", "windows": 8}
    Measured(key, {}).with_rows([result("a", 40), result("b", 50)]).save(tmp_path / "rows.json")
    again = load_measured(tmp_path / "rows.json", key).with_rows([result("a", 35), result("c", 60)])
    assert [(row.title, row.perplexity) for row in again.rows.values()] == [("a", 35), ("b", 50), ("c", 60)]


def test_rows_of_another_text_do_not_join_a_table(tmp_path: Path) -> None:
    """Otherwise a table would show perplexities that cannot be compared."""
    Measured({"text_sha256": "one"}, {}).save(tmp_path / "rows.json")
    with pytest.raises(SystemExit, match="text_sha256 one, not two"):
        load_measured(tmp_path / "rows.json", {"text_sha256": "two"})

"""Sizes and counts as people read them."""

from __future__ import annotations

import pytest

from edgesw.system.sizes import counted, format_seconds, format_size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (94_849, "94.8 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (94_849_000, "94.8 MB"),
        (999_949_000, "999.9 MB"),
        (999_950_000, "1.00 GB"),
        (4_071_000_000, "4.07 GB"),
        (1_234_567_000_000, "1,234.57 GB"),
    ],
)
def test_no_size_is_written_as_zero_or_as_a_thousand(size: int, text: str) -> None:
    """A matrix of a small model is not "0.0 MB", and what rounds to 1,000 kB is a megabyte."""
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("window",), "0 windows"),
        (1, ("window",), "1 window"),
        (8, ("window",), "8 windows"),
        (1, ("matrix", "matrices"), "1 matrix"),
        (1200, ("matrix", "matrices"), "1,200 matrices"),
    ],
)
def test_a_count_agrees_with_its_noun(number: int, words: tuple[str, ...], text: str) -> None:
    assert counted(number, *words) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (40, "40 s"), (99, "99 s"), (200, "3 min"), (5399, "90 min"), (5400, "1.5 h")]
)
def test_times_are_written_as_people_say_them(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text

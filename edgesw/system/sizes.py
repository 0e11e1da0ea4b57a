"""Sizes and counts as text, written the same way in tables, messages, model cards and reports."""

from __future__ import annotations


def format_size(size: float) -> str:
    """`size` in bytes as text, in decimal units: `812 B`, `94.8 kB`, `94.8 MB`, `4.07 GB`."""
    if size < 1e3:
        return f"{size:.0f} B"
    if size < 999_950:  # from here on a tenth of a kB rounds up to a whole MB
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e6:.1f} MB" if size < 999_950_000 else f"{size / 1e9:,.2f} GB"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 window`, `8 windows`, `2 matrices`. `plural` is for nouns that take no s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def format_seconds(seconds: float) -> str:
    """Seconds as a person says them of something to wait for: 40 s, 3 min, 1.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

"""Output of benchmarks: Markdown tables and versions for stdout, lines of progress on stderr."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from collections.abc import Sequence

_START = time.monotonic()


def say(message: str) -> None:
    """Prints a line of progress to stderr, with the seconds since the start."""
    print(f"[{time.monotonic() - _START:5.0f} s] {message}", file=sys.stderr, flush=True)


class Stages:
    """The library's progress as lines: one for each new stage."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, stage: str, detail: str, done: int, total: int) -> None:
        if stage != self._last:
            say(f"edgesw: {stage}")
            self._last = stage


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table, padded to be read as plain text. The first `left` columns align left, the others right."""
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = ("-" * width if at < left else "-" * (width - 1) + ":" for at, width in enumerate(widths))
    return "\n".join([line(columns), f"| {' | '.join(rule)} |", *map(line, rows)])


def versions(*packages: str) -> str:
    """The versions that figures depend on: of edgesw, `packages` and Python, and the kind of machine."""
    named = (f"{package} {importlib.metadata.version(package)}" for package in ("edgesw", *packages))
    return f"{', '.join(named)}; Python {platform.python_version()}, {platform.system()} {platform.machine()}"


def megabytes(size: float) -> str:
    """Bytes as whole megabytes."""
    return f"{size / 1e6:,.0f} MB"

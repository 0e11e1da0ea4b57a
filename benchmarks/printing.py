"""What both benchmarks print: Markdown tables on stdout, versions, and lines of progress on stderr."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from collections.abc import Sequence

_START = time.monotonic()


def say(message: str) -> None:
    """A line for the person who waits, with the seconds since the start."""
    print(f"[{time.monotonic() - _START:5.0f} s] {message}", file=sys.stderr, flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first `left` columns are text and the others figures, padded to be read as it is."""
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
    """What a run's figures depend on: edgesw, `packages`, Python and the kind of machine."""
    named = (f"{package} {importlib.metadata.version(package)}" for package in ("edgesw", *packages))
    return f"{', '.join(named)}; Python {platform.python_version()}, {platform.system()} {platform.machine()}"


def megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"

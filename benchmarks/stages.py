"""Runs `edgesw` with the arguments given, and times the stages of a conversion.

    python benchmarks/stages.py FILE convert MODEL ...

The command is the real one; only its progress bar is replaced, by one that notes seconds and peak memory and writes
them to FILE as JSON: [[stage, seconds, peak resident bytes so far], ...].
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from pathlib import Path


class StageClock:
    """Takes the place of the progress bar."""

    def __init__(self) -> None:
        self._last, self._since, self._done = "Start", time.monotonic(), list[tuple[str, float, int]]()

    def __enter__(self) -> StageClock:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        Path(sys.argv[1]).write_text(json.dumps(self._done), encoding="utf-8")

    def __call__(self, stage: str, detail: str, done: int, total: int) -> None:
        if stage != self._last:
            self._end()
            self._last = stage

    def _end(self) -> None:
        now = time.monotonic()
        self._done.append((self._last, now - self._since, peak_bytes(resource.getrusage(resource.RUSAGE_SELF))))
        self._since = now


def peak_bytes(usage: resource.struct_rusage) -> int:
    """Peak resident memory: the kernel gives kilobytes, on a Mac bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    from edgesw.cli import main

    # By name: `edgesw.cli.convert` as an attribute is the click command, not its module.
    for command in ("convert", "detect"):
        importlib.import_module(f"edgesw.cli.{command}").Bar = StageClock
    main(sys.argv[2:])

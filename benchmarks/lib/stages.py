"""Runs `edgesw` with the arguments given, and measures the stages of a conversion or a validation.

    python -m benchmarks.lib.stages FILE convert MODEL ...

The command is the real one. Only its progress bar is replaced, by one that measures each stage and writes a list of
`Stage` to FILE as JSON.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

SAMPLED_EVERY = 0.05  # seconds


@dataclass(frozen=True)
class Stage:
    """The cost of one stage. Where the system has no /proc, all but seconds and `peak` is 0."""

    name: str
    seconds: float
    peak: int
    """Peak bytes resident since the process began."""
    anonymous: int = 0
    """Peak bytes of anonymous memory of the process and its workers, sampled within the stage; mapped files are not
    included."""
    mapped: int = 0
    """Peak bytes resident from mapped files: the system takes them back when it needs them."""
    read: int = 0
    """Bytes fetched from disk, without what the system had cached."""
    written: int = 0
    """Bytes sent to disk."""


class StageClock:
    """A progress bar that measures instead of drawing."""

    def __init__(self) -> None:
        self._last, self._done = "Start", list[Stage]()
        self._stopped = threading.Event()
        self._begin()
        if Path("/proc/self/status").exists():
            threading.Thread(target=self._sample, daemon=True).start()

    def __enter__(self) -> StageClock:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()
        self._stopped.set()
        Path(sys.argv[1]).write_text(json.dumps([asdict(stage) for stage in self._done]), encoding="utf-8")

    def __call__(self, stage: str, detail: str, done: int, total: int) -> None:
        if stage != self._last:
            self._end()
            self._last = stage

    def _begin(self) -> None:
        self._since, self._io, self._peaks = time.monotonic(), _proc_numbers("io"), {"RssAnon": 0, "RssFile": 0}

    def _end(self) -> None:
        io = _proc_numbers("io")
        read, written = (io.get(key, 0) - self._io.get(key, 0) for key in ("read_bytes", "write_bytes"))
        seconds, peak = time.monotonic() - self._since, peak_bytes(resource.getrusage(resource.RUSAGE_SELF))
        anonymous, mapped = self._peaks["RssAnon"], self._peaks["RssFile"]
        self._done.append(Stage(self._last, seconds, peak, anonymous, mapped, read, written))
        self._begin()

    def _sample(self) -> None:
        while not self._stopped.wait(SAMPLED_EVERY):
            processes = [_proc_numbers("status", process) for process in ("self", *_children())]
            for key, peak in self._peaks.items():
                self._peaks[key] = max(peak, sum(1024 * each.get(key, 0) for each in processes))


def _children() -> list[str]:
    """Process ids of this process's children."""
    lists = []
    for thread in Path("/proc/self/task").iterdir():
        try:
            lists.append((thread / "children").read_text())
        except OSError:  # a thread that has just ended
            continue
    return " ".join(lists).split()


def _proc_numbers(file: str, process: str = "self") -> dict[str, int]:
    """The numbers in a file of /proc/PROCESS; empty where there is no such file."""
    try:
        lines = Path(f"/proc/{process}/{file}").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {key: int(value.split()[0]) for key, value in pairs if value.split() and value.split()[0].isdigit()}


def peak_bytes(usage: resource.struct_rusage) -> int:
    """Peak resident memory in bytes. Linux counts kilobytes, macOS bytes."""
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    from edgesw.cli import main

    for command in ("convert", "detect", "validate"):
        vars(importlib.import_module(f"edgesw.cli.{command}"))["Bar"] = StageClock
    main(sys.argv[2:])

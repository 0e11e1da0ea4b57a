"""An `edgesw` command measured in a process of its own.

Imports nothing large, and nor may the modules that use it: a child starts as a copy of this process, which the kernel
counts in the child's peak memory.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from benchmarks.lib.printing import say
from benchmarks.lib.stages import Stage, peak_bytes

EDGESW = (sys.executable, "-c", "from edgesw.cli import main; main()")


@dataclass(frozen=True)
class Run:
    """What a command took: seconds of wall and processor time, peak bytes, bytes written, and its stages."""

    title: str
    wall: float
    cpu: float
    peak: int
    written: int
    stages: list[Stage]


def spawn(command: Sequence[str], output: int | IO[bytes], errors: IO[bytes] | None = None) -> resource.struct_rusage:
    """Runs a command and returns its resource usage. CalledProcessError when it fails."""
    child = subprocess.Popen(command, stdout=output, stderr=errors)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    return usage


def measured(title: str, *arguments: str, output: Path | None = None) -> Run:
    """Runs `edgesw` with `arguments`; bytes are counted below `output`. Exits when it fails."""
    say(title)
    with tempfile.TemporaryDirectory() as folder:
        stages = Path(folder) / "stages.json"
        started = time.monotonic()
        try:
            usage = spawn([sys.executable, "-m", "benchmarks.lib.stages", str(stages), *arguments], subprocess.DEVNULL)
        except subprocess.CalledProcessError as error:
            if error.returncode < 0:
                sys.exit(f"Error: edgesw {arguments[0]} was ended by signal {-error.returncode}.")
            sys.exit(error.returncode)  # edgesw has printed why
        wall = time.monotonic() - started
        timed = [Stage(**stage) for stage in json.loads(stages.read_text())]
    # The clock is started by a process that is already running.
    timed[0] = replace(timed[0], seconds=timed[0].seconds + wall - sum(stage.seconds for stage in timed))
    written = sum(file.stat().st_size for file in output.rglob("*") if file.is_file()) if output else 0
    return Run(title, wall, usage.ru_utime + usage.ru_stime, peak_bytes(usage), written, timed)

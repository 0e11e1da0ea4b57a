"""How long a user waits for what does no work: processor time, in a process of its own."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import edgesw as library

ROOT = Path(library.__file__).parents[1]


def timed(*words: str, **environment: str) -> tuple[float, float, str]:
    """Processor time and time on the clock, in seconds, and the output."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-c", "from edgesw.cli import main; main()", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    took = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime, took, ran.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("words", "seconds"), [("--help", 0.3), ("doctor", 3.0)])
def test_an_answer_takes_this_much_processor_time(words: str, seconds: float) -> None:
    """The first thing that a user does must not feel slow. The best of a few, as other programs run too."""
    assert min(timed(words, HF_HUB_OFFLINE="1")[0] for _ in range(4)) < seconds


@pytest.mark.slow
def test_doctor_does_not_wait_for_a_hub_that_is_silent() -> None:
    """It asks while it looks at the libraries, and gives up in time: in 5 s, and in as much more as the machine, busy
    with other programs, takes for a second of processor time."""
    used, alone, _ = min(timed("doctor", HF_HUB_OFFLINE="1") for _ in range(2))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call and says nothing
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        found = [timed("doctor", HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="0") for _ in range(2)]
    assert min(took for _, took, _ in found) < 5 * max(1, alone / used), found
    assert all("does not answer" in out for _, _, out in found)

"""Runs a reader on one hostile input and sees to it that nothing worse than one of our errors comes of it."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from edgesw.errors import EdgeswError

SECONDS, MOST_SECONDS = 5.0, 60.0  # of the processor, and in all: a busy machine makes anything wait
"""An input that takes longer hangs. Sound ones take milliseconds."""
MOST_BYTES, FACTOR = 24 << 20, 300
"""What a reader may allocate: so much, and so many times the file's size."""
ADDRESS_SPACE = 2 << 30
"""What the process may map beyond what it has: compiled libraries tell tracemalloc nothing."""

_folder: Path | None = None
_opened: list[str] = []
_LIBRARIES = tuple({os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, *sys.path) if path})


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: every file that Python opens while a reader runs. Hooks cannot be taken off."""
    if _folder is not None and event == "open" and isinstance(arguments[0], (str, bytes)):
        _opened.append(os.fsdecode(arguments[0]))


sys.addaudithook(_note)


class Hang(BaseException):
    """Raised in the midst of what takes too long."""


def _ring(number: int, frame: FrameType | None) -> None:
    raise Hang(f"takes longer than {MOST_SECONDS} s")


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Within the block an allocation far beyond what readers need fails, and what hangs is ended."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, _ring)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ADDRESS_SPACE, hard))
    try:
        yield
    finally:
        if pages:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def read_safely(read: Callable[[Path], object], folder: Path, size: int) -> bool:
    """Read `folder`, which holds a hostile input of `size` bytes: True where it was taken, False where it was refused.

    AssertionError for anything but one of our errors on one line, for too much memory or time, and for a file that is
    opened outside the folder. To be called within `limits`.
    """
    global _folder
    tracemalloc.start()
    began = time.process_time()
    _opened.clear()
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    _folder, said = folder, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read(folder)
    except EdgeswError as error:
        said = str(error)
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _folder, peak = None, tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak <= MOST_BYTES + FACTOR * size, f"{peak} bytes for a file of {size}"
    assert time.process_time() - began < SECONDS
    assert said is None or (said.isprintable() and 0 < len(said) <= 2000), f"no line for people: {said!r}"
    for name in _opened:
        real = os.path.realpath(name)
        assert real.startswith((str(folder), "/proc/", "/sys/", os.devnull, *_LIBRARIES)), f"opens {name}"
    return said is None

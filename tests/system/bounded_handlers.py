"""Handlers for a BoundedProcess of the tests, each of which does one thing that none should."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesw import errors


def _answer(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    return {"given": dict(given), "pid": os.getpid(), "path": sys.path, "folder": str(Path.cwd())}, [*files]


def _hang(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    while True:
        time.monotonic()


def _hold(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    return 7 ** (10**9), ()  # in compiled code that lets no other thread run


def _grow(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    return len(bytearray(given["bytes"])), ()


def _crash(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return None, ()


def _quit(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    os._exit(0)


def _panic(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    class PanicException(BaseException):
        pass

    raise PanicException("index out\nof bounds")


def _refuse(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    raise errors.PackageError("refused: convert again.")


def _talk(given: Mapping[str, Any], files: Sequence[bytes]) -> tuple[Any, Sequence[bytes]]:
    print("on stdout")
    os.write(1, b"past Python's stream")
    os.write(2, b"on stderr")
    return "a" * given["length"], ()


HANDLERS = {
    "answer": _answer,
    "hang": _hang,
    "hold": _hold,
    "grow": _grow,
    "crash": _crash,
    "quit": _quit,
    "panic": _panic,
    "refuse": _refuse,
    "talk": _talk,
}

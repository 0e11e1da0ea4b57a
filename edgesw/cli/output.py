"""The command line's standard streams: whatever is at their other end, what is printed ends in an exit code and at most
one line."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

from edgesw.errors import EdgeswError

STDOUT, STDERR = 1, 2


class _Stream(io.FileIO):
    """A descriptor to print to. A reader that has left, as `head` does, is no error: the rest goes nowhere."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            # Else what is buffered would fail once more when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if isinstance(error, BrokenPipeError) or self.fileno() == STDERR:
                return memoryview(data).nbytes
            raise EdgeswError(
                f"standard output cannot be written to ({error.strerror}): see where it goes, and run it again."
            ) from error


def open_output() -> None:
    """Puts streams in the place of Python's. A character that the encoding lacks is written as an escape: `\\u2026`.

    Ends the program where standard output is closed. Standard error and input are opened where they are closed: a file
    of a package would get their number, and what libraries print would end up in it.
    """
    for number in (0, STDERR):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
    sys.stderr = _text(STDERR, sys.stderr)
    if sys.stdout is None:
        sys.stderr.write("Error: standard output is closed: send it to a file, or to /dev/null.\n")
        sys.exit(1)
    sys.stdout = _text(STDOUT, sys.stdout)


def _text(number: int, before: TextIO | None) -> TextIO:
    encoding = before.encoding if before is not None else "utf-8"
    buffer = io.BufferedWriter(_Stream(number, "w", closefd=False))
    return io.TextIOWrapper(buffer, encoding, "backslashreplace", line_buffering=os.isatty(number) or number == STDERR)

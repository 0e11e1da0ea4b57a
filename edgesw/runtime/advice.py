"""Advice for programs that cannot be read or run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edgesw.errors import PackageError, UnsupportedError


@contextmanager
def advised() -> Iterator[None]:
    """Adds what to do next to errors from deep inside a program, which only say what is wrong there."""
    try:
        yield
    except UnsupportedError as error:
        raise UnsupportedError(f"{error} On a Mac, Core ML itself may run it.") from error
    except PackageError as error:
        raise PackageError(f"{error} Convert again.") from error

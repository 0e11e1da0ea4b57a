"""Silences the warnings of libraries."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from types import ModuleType


def coremltools() -> ModuleType:
    """Imports coremltools. That takes seconds, so it is imported only where it is used.

    On systems other than macOS the import warns about each missing system library, and about any version of torch.
    """
    with only_errors("coremltools"):
        import coremltools as module
    return module


@contextlib.contextmanager
def only_errors(name: str) -> Iterator[None]:
    """Lets only errors through the logger `name`."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

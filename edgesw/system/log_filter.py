"""Libraries without their warnings."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from types import ModuleType


def coremltools() -> ModuleType:
    """The module coremltools. It takes seconds to import, so it is asked for where it is used.

    Off a Mac its import warns about each missing system library, and it has a word to say on every version of torch.
    """
    with only_errors("coremltools"):
        import coremltools as module
    return module


@contextlib.contextmanager
def only_errors(name: str) -> Iterator[None]:
    """The logger `name` passes over what is no error."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

"""Importing coremltools without its warnings."""

from __future__ import annotations

import logging
from types import ModuleType


def coremltools() -> ModuleType:
    """The module coremltools. It takes seconds to import, so it is asked for where it is used.

    Off a Mac its import warns about each missing system library, and it has a word to say on every version of torch.
    """
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import coremltools as module
    finally:
        logger.setLevel(level)
    return module

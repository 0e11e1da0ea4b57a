"""Silences the warnings of libraries."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from types import ModuleType


def coremltools() -> ModuleType:
    """Imports coremltools. That takes seconds, so it is imported only where it is used.

    On systems other than macOS the import warns about each missing system library, and about any version of torch.
    """
    with only_errors("coremltools"), _spared():
        import coremltools as module
    return module


@contextlib.contextmanager
def _spared() -> Iterator[None]:
    """Within the block the import of coremltools leaves out what takes a third of it and what nothing here uses:
    transformers, which it only looks for, and its training of compressed models. The latter loads when it is asked for.
    """
    unused = "coremltools.optimize.torch"
    if "coremltools" in sys.modules:
        yield
        return
    hidden = {"transformers": None} if "transformers" not in sys.modules else {}
    sys.modules.update({**hidden, unused: ModuleType(unused)})  # type: ignore[dict-item]  # None: cannot be imported
    try:
        yield
    finally:
        for name in (*hidden, unused):
            sys.modules.pop(name, None)
        if (package := sys.modules.get("coremltools.optimize")) is not None:
            vars(package).pop("torch", None)
            vars(package)["__getattr__"] = partial(_late, package.__name__)


def _late(package: str, name: str) -> ModuleType:
    if name != "torch":
        raise AttributeError(f"module '{package}' has no attribute '{name}'")
    return import_module(f"{package}.{name}")


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

"""Imports of libraries that read settings from the current folder, without those: the folder may be downloaded.

numba's `.numba_config.yaml` can name a cache, whose files are pickles that run code. matplotlib's `matplotlibrc` can
have text typeset by TeX, which reads and runs more.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

_SETTINGS = (".numba_config.yaml", "matplotlibrc")


def numba() -> ModuleType:
    """numba, which looks for its file whenever it compiles."""
    with without_local_settings():
        module = import_module("numba")
    module.core.config._config_fname = os.path.join(os.devnull, "none")  # noqa: PTH118 (no path of ours)
    return module


@contextlib.contextmanager
def drawing(**settings: Any) -> Iterator[None]:
    """Within the block matplotlib draws by its own defaults and `settings`, whatever the user's are. Text is drawn as
    it is: a `$` in a name starts no formula, and a script that the font lacks gives boxes and not a warning."""
    with without_local_settings():
        matplotlib = import_module("matplotlib")
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"text.parse_math": False, **settings})
        yield


@contextlib.contextmanager
def without_local_settings() -> Iterator[None]:
    """Within the block these files are not found: the libraries ask for their bare names when they are imported."""
    exists = os.path.exists
    os.path.exists = lambda path: path not in _SETTINGS and exists(path)
    try:
        yield
    finally:
        os.path.exists = exists

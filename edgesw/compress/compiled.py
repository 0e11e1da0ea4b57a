"""How loops over single values are compiled: by numba, outside the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled, and kept on disk where there is a place for it. What is kept is made again when the function's own
    module changes, so it should call nothing compiled of another module."""
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # nowhere to write: compiled anew in each process
        return numba.njit(nogil=True, error_model="numpy")(function)


def part(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled as part of what calls it, which is quicker than to make it callable from Python too."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True}
    return numba.njit(**options)(function)

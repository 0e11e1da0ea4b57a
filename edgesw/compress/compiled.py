"""How loops over single values are compiled: by numba, to code that runs without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgesw.system import local_settings

numba = local_settings.numba()


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function when it is first called, and caches the result on disk where that is possible. The cache
    notices changes in the function's own module only, so a kernel should not call compiled code of other modules."""
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # nowhere to write the cache: each process compiles again
        return numba.njit(nogil=True, error_model="numpy")(function)


def subroutine(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function as part of the kernels that call it, which is faster than to make it callable from Python."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True}
    return numba.njit(**options)(function)

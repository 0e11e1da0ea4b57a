"""Python processes that import nothing from the current folder, which may be a downloaded model's or package's.

`python -m` and `python -c`, and with them multiprocessing's processes, would look there first: a `json.py` in it would
be run.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker, spawn, util
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
"""Where edgesw itself is imported from."""
_ISOLATED = "-I"
"""Python's isolated mode: neither the current folder nor PYTHONPATH. Python 3.10 has no -P."""


def safe_path() -> list[str]:
    """This process's module path without the current folder, unless edgesw itself is there."""
    here = os.path.realpath(".")
    return [
        entry
        for entry in sys.path
        if Path(entry).is_absolute() and (os.path.realpath(entry) != here or Path(here) == _ROOT)
    ]


def python_command(module: str, function: str) -> list[str]:
    """The command line of a process that calls a function of one of edgesw's modules."""
    program = f"import sys; sys.path[:] = {safe_path()!r}; from {module} import {function}; {function}()"
    return [sys.executable, _ISOLATED, "-c", program]


def isolate() -> None:
    """From now on this process, a program of edgesw's, and all that multiprocessing starts for it import nothing from
    the current folder. Libraries start such processes too: a progress bar's lock does on a Mac."""
    sys.path[:] = safe_path()
    util._args_from_interpreter_flags = _flags  # type: ignore[attr-defined]
    spawn.get_preparation_data = _preparation


class SafeSpawnContext(SpawnContext):
    """multiprocessing's context "spawn", whose processes import nothing from the current folder."""

    def __init__(self) -> None:
        with _isolated():
            resource_tracker.ensure_running()  # a process of its own, which the first lock would start


class _Process(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _isolated():
            return SpawnProcess._Popen(process_obj)


SafeSpawnContext.Process = _Process

_lock = threading.Lock()
_data = spawn.get_preparation_data


@contextlib.contextmanager
def _isolated() -> Iterator[None]:
    """What multiprocessing starts within the block is isolated and has the safe path: it has no setting for either. A
    program that uses edgesw as a library keeps its own processes as they are."""
    with _lock:
        before = util._args_from_interpreter_flags, spawn.get_preparation_data  # type: ignore[attr-defined]
        util._args_from_interpreter_flags = _flags  # type: ignore[attr-defined]
        spawn.get_preparation_data = _preparation
        try:
            yield
        finally:
            util._args_from_interpreter_flags, spawn.get_preparation_data = before  # type: ignore[attr-defined]


def _flags() -> list[str]:
    return [*subprocess._args_from_interpreter_flags(), _ISOLATED]  # type: ignore[attr-defined]


def _preparation(name: str) -> dict[str, Any]:
    return {**_data(name), "sys_path": safe_path()}

"""How a Python process is started so that it imports nothing from the current folder, which may be a download."""

from __future__ import annotations

import sys
from pathlib import Path

import edgesw

NEUTRAL_FOLDER = "/"
"""The folder to start such a process in: an empty entry of PYTHONPATH means the current one."""
_SAFE = ["-P"] if sys.version_info >= (3, 11) else []
# Before the first import from a file: the module path without the current folder, and with the folder of this edgesw,
# before installed packages, which may have another.
_PROGRAM = (
    "import sys; paths = [path for path in sys.path if path]; "
    "at = next((n for n, path in enumerate(paths) if path.endswith('-packages')), len(paths)); "
    "sys.path[:] = [*paths[:at], sys.argv[2], *paths[at:]]; "
    "import runpy; del sys.argv[2]; runpy.run_module(sys.argv.pop(1), run_name='__main__')"
)


def child_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of edgesw in a Python of its own, to be started in NEUTRAL_FOLDER."""
    return [sys.executable, *_SAFE, "-c", _PROGRAM, module, str(Path(edgesw.__file__).parents[1]), *arguments]

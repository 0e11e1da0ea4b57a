"""The command line. Each command parses, calls the library and prints: data on stdout, people on stderr."""

from __future__ import annotations

import signal
import sys

TYPE_CHECKING = False  # typing takes long to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `edgesw`. Every error that a user can meet ends in one line on stderr and an exit code."""
    # Before anything else is imported: that takes a while, and Ctrl-C may be pressed in it.
    signal.signal(signal.SIGINT, _leave)
    from edgesw.system.safe_path import isolate

    isolate()
    from edgesw.cli.output import open_output
    from edgesw.cli.program import run

    open_output()
    code = run(arguments)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to say
    sys.exit(code)


def _leave(number: int, frame: object) -> None:
    import os

    os.write(2, b"Error: interrupted; nothing was left behind.\n")
    os._exit(INTERRUPTED)

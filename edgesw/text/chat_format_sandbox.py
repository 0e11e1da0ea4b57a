"""Reads a chat form off a template in a process of its own: a template is downloaded code, which may never end or take
all memory."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict

from edgesw.files.type_check import structure
from edgesw.text.chat_format import ChatFormat
from edgesw.text.chat_format_derive import derive_format

SECONDS = 15.0
"""Real templates take less than one."""
MEMORY = 1 << 30
"""Bytes that the process may have, where the system keeps to that."""


def derive_format_sandboxed(template: str, tokens: Mapping[str, str], seconds: float = SECONDS) -> ChatFormat | None:
    """As `derive_format`, and None too where that takes longer than `seconds` or too much memory."""
    asked = json.dumps({"template": template, "tokens": dict(tokens)})
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "edgesw.text.chat_format_sandbox"], input=asked, capture_output=True, text=True,
            encoding="utf-8", timeout=seconds, check=False,
        )  # fmt: skip
        found = json.loads(ran.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return None if found is None else structure(ChatFormat, found)


def _main() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    asked = json.loads(sys.stdin.buffer.read())
    form = derive_format(asked["template"], asked["tokens"])
    sys.stdout.write(json.dumps(form and asdict(form)))


if __name__ == "__main__":
    _main()

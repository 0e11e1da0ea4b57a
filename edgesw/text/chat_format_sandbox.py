"""Derives a ChatFormat in a process of its own, with limits on time and memory: a template is downloaded code."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict

from edgesw.files.type_check import structure
from edgesw.system.safe_path import python_command
from edgesw.text.chat_format import ChatFormat
from edgesw.text.chat_format_derive import derive_format

SECONDS = 15.0
"""The default time limit; templates of published models take less than a second."""
MEMORY = 1 << 30
"""The process's memory limit in bytes, on systems that enforce one."""


def derive_format_sandboxed(template: str, tokens: Mapping[str, str], seconds: float = SECONDS) -> ChatFormat | None:
    """Like `derive_format`, but also None if that takes longer than `seconds` or more than MEMORY."""
    request = json.dumps({"template": template, "tokens": dict(tokens)})
    try:
        ran = subprocess.run(
            python_command(__name__, "main"), input=request, capture_output=True, text=True, encoding="utf-8",
            timeout=seconds, check=False,
        )  # fmt: skip
        chat_format = json.loads(ran.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return None if chat_format is None else structure(ChatFormat, chat_format)


def main() -> None:
    """The process: derives the format of a request on stdin."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not available on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    request = json.loads(sys.stdin.buffer.read())
    chat_format = derive_format(request["template"], request["tokens"])
    sys.stdout.write(json.dumps(chat_format and asdict(chat_format)))

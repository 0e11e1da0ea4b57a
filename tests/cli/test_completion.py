"""Completion in the shell, as bash itself asks for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(sys.executable).parent


def bash(program: str) -> str:
    """What bash prints, with `edgesw` on its path."""
    environment = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["bash", "-c", program], capture_output=True, text=True, env=environment, check=True).stdout


@pytest.fixture(scope="module", autouse=True)
def _new_bash() -> None:
    version = re.match(r"(\d+)\.(\d+)", bash("echo $BASH_VERSION"))
    if version is None or tuple(map(int, version.groups())) < (4, 4):
        pytest.skip("click completes in bash from 4.4 on; macOS comes with 3.2")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("conv", {"convert"}),
        ("recipes s", {"show"}),
        ("--v", {"--verbose", "--version"}),
        ("convert --cal", {"--calibrate"}),
        ("convert --target ", {"coreml", "onnx"}),
    ],
)
def test_bash_completes(line: str, offered: set[str]) -> None:
    """The README promises it; and a library that prints while it is imported would break it in silence."""
    words = f"edgesw {line}".split(" ")
    asked = 'eval "$(_EDGESW_COMPLETE=bash_source edgesw)"; complete -p edgesw >&2; '
    asked += f"COMP_WORDS=({' '.join(word or chr(39) * 2 for word in words)}); COMP_CWORD={len(words) - 1}; "
    assert set(bash(asked + '_edgesw_completion edgesw; printf "%s\\n" "${COMPREPLY[@]}"').split()) == offered

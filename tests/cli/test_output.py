"""What is at the other end of the standard streams: closed, full, left, or of another encoding."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = [sys.executable, "-c", "from edgesw.cli import main; main()"]


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = (
        f'set -o pipefail; edgesw() {{ "{sys.executable}" -c "from edgesw.cli import main; main()" "$@"; }}; {command}'
    )
    return subprocess.run(
        ["bash", "-c", script], env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    "words",
    [
        "recipes list",
        "--help",
        "verify PACKAGE",
        pytest.param("recipes list --json", marks=pytest.mark.slow),
        pytest.param("recipes show mistral-7b", marks=pytest.mark.slow),
        pytest.param("inspect PACKAGE", marks=pytest.mark.slow),
    ],
)
def test_a_reader_that_leaves_is_no_error(words: str, tiny_package: Path) -> None:
    """`edgesw ... | head -1` under `set -o pipefail` would fail for some commands, at times, and not for others."""
    command = f"edgesw {words.replace('PACKAGE', str(tiny_package))}"
    gone = shell(f"{command} | true")
    assert (gone.returncode, gone.stderr) == (0, "")
    first = shell(f"{command} | head -1")
    assert (first.returncode, first.stderr) == (0, "") and first.stdout.count("\n") == 1


def test_a_verdict_outlives_its_reader(tiny_package: Path) -> None:
    """A damaged package must not pass because nobody read the line."""
    gone = shell(f"edgesw verify {tiny_package}/nowhere 2>&1 | true")
    assert gone.returncode == 2


@pytest.mark.parametrize("words", ["recipes list", "recipes list --json", "--help", "verify PACKAGE"])
def test_a_closed_stdout_is_an_error(words: str, tiny_package: Path) -> None:
    """With exit code 0 a script would go on without the output."""
    ran = shell(f"edgesw {words.replace('PACKAGE', str(tiny_package))} >&-")
    assert ran.returncode == 1
    assert ran.stderr == "Error: standard output is closed: send it to a file, or to /dev/null.\n"


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "<&-", "2>&- <&-"])
def test_streams_that_are_closed_do_not_matter_where_they_are_not_needed(closed: str, tiny_package: Path) -> None:
    """cron and others start programs without them."""
    assert shell(f"edgesw verify {tiny_package} {closed}").returncode == 0
    assert shell(f"edgesw verify {tiny_package}/nowhere {closed}").returncode == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_is_told_without_an_option_that_the_command_lacks(tiny_package: Path) -> None:
    """`verify` has no -o to choose another of."""
    ran = shell(f"edgesw verify {tiny_package} > /dev/full")
    assert ran.returncode == 1 and ran.stderr.count("\n") == 1
    assert ran.stderr.startswith("Error: standard output cannot be written to (No space left on device)")
    assert "-o" not in ran.stderr


@pytest.mark.parametrize(
    "encoding", ["latin-1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ascii", "utf-8"))]
)
def test_characters_that_the_encoding_lacks_are_escaped(encoding: str, tiny_package: Path, tmp_path: Path) -> None:
    """In a terminal with another encoding the name of a folder would end the command."""
    package = tmp_path / "模型…"
    package.symlink_to(tiny_package)
    for command in ("verify", "inspect"):
        ran = shell(f"edgesw {command} {package} | cat", PYTHONIOENCODING=encoding)
        assert ran.returncode == 0, ran.stderr
        assert (
            "\\u6a21" if encoding == "latin-1" else "模"
        ) in ran.stdout or encoding == "ascii"  # click prints either


def test_ctrl_c_is_one_line_from_the_first_import_on() -> None:
    """Importing the command line takes a third of a second: Ctrl-C in it would print a traceback."""
    program = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'WHERE': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from edgesw.cli import main; main(['recipes', 'list'])"
    )
    for where in ("edgesw.system.safe_path", "edgesw.cli.program", "click", "yaml", "rich.progress"):
        ran = subprocess.run([sys.executable, "-c", program.replace("WHERE", where)], capture_output=True, text=True)
        assert (ran.returncode, ran.stdout) == (130, ""), (where, ran.stderr)
        assert ran.stderr == "Error: interrupted; nothing was left behind.\n"


def test_little_is_imported_before_ctrl_c_is_answered() -> None:
    """What `edgesw` itself imports before that is time in which Ctrl-C prints a traceback."""
    program = "import sys; before = set(sys.modules); import edgesw.cli; print(*sorted(set(sys.modules) - before))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"typing", "logging", "pathlib", "re", "click", "importlib"} & set(ran.stdout.split()), ran.stdout


@pytest.mark.slow
def test_ctrl_c_at_any_time_is_no_traceback() -> None:
    """Python's own start alone, a few hundredths of a second, is not ours to answer for."""
    for step in range(20):
        process = subprocess.Popen([*PROGRAM, "--help"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        time.sleep(0.1 + step / 50)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert "Traceback" not in said, said

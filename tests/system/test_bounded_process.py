"""What a process with limits works on can neither hang, fill nor end the process that asks, whatever it does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgesw.errors import EdgeswError, PackageError
from edgesw.system.bounded_process import _HELD, BoundedProcess, Failed, Overrun, Restarted

MEMORY = 1 << 28
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[BoundedProcess]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    made = BoundedProcess("bounded_handlers")
    yield made
    made.close()


def ask(process: BoundedProcess, call: str, seconds: float = 60, **given: Any) -> Any:
    return process.ask(call, given, seconds=seconds, memory=MEMORY, most=1 << 20)[0]


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 60
    while not gone(pid):
        assert time.monotonic() < end, "a process is left over"
        time.sleep(0.01)


def test_values_and_files_come_back_as_they_went(process: BoundedProcess) -> None:
    """Half of a surrogate pair, bytes of every kind, and more than a pipe holds."""
    files = [b"", bytes(range(256)) * 2000, b"x"]
    value, back = process.ask(
        "answer", {"text": "é\ud800\n", "number": 2**70}, files, seconds=60, memory=MEMORY, most=1 << 20
    )
    assert value["given"] == {"text": "é\ud800\n", "number": 2**70}
    assert back == files


@pytest.mark.parametrize(
    ("call", "said"),
    [("hang", "takes more than 1 s"), ("hold", "takes more than 1 s"), ("crash", "crashes or"), ("quit", "crashes or")],
)
def test_a_process_that_hangs_or_ends_is_replaced(process: BoundedProcess, call: str, said: str) -> None:
    """Else one bad tokenizer would end the command, or the whole service that uses the Python API."""
    before = ask(process, "answer")["pid"]
    began = time.monotonic()
    with pytest.raises(Overrun, match=said):
        ask(process, call, seconds=1)
    assert time.monotonic() - began < 30
    assert gone(before), "it still runs, or is a zombie"
    assert ask(process, "answer")["pid"] != before


@LINUX
def test_memory_is_limited_by_call(process: BoundedProcess) -> None:
    """An allocation beyond the limit fails before the machine has to swap; the next call has its own."""
    assert ask(process, "grow", bytes=MEMORY // 2) == MEMORY // 2
    with pytest.raises(Failed, match="too much memory"):
        ask(process, "grow", bytes=MEMORY * 2)
    assert ask(process, "grow", bytes=MEMORY // 2) == MEMORY // 2


def test_memory_is_watched_where_the_system_sets_no_limit(
    process: BoundedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """macOS: the process's memory is looked at while it works."""
    monkeypatch.setattr("edgesw.system.bounded_process._WATCHED", True)
    before = ask(process, "answer")["pid"]
    with pytest.raises(Overrun, match="of memory"):
        process.ask("hang", {}, seconds=60, memory=1 - _HELD, most=1 << 20)
    assert gone(before)


def test_an_answer_that_is_too_long_is_not_taken(process: BoundedProcess) -> None:
    """It would fill this process's memory in place of the other's."""
    with pytest.raises(Overrun, match="far more text"):
        ask(process, "talk", length=1 << 21)


def test_errors_of_ours_arrive_as_they_are_and_others_as_what_they_say(process: BoundedProcess) -> None:
    with pytest.raises(PackageError, match=r"^refused: convert again\.$"):
        ask(process, "refuse")
    with pytest.raises(Failed, match=r"^index out of bounds$"):
        ask(process, "panic")


def test_nothing_of_what_libraries_print_is_seen(process: BoundedProcess, capfd: pytest.CaptureFixture[str]) -> None:
    """A panic of the tokenizers library prints a backtrace."""
    assert ask(process, "talk", length=3) == "aaa"
    assert capfd.readouterr() == ("", "")


def test_a_process_that_does_not_start_is_no_fault_of_the_files() -> None:
    """Nobody should download a model again because of a damaged installation."""
    with pytest.raises(EdgeswError, match="the process for no_such_module does not start"):
        ask(BoundedProcess("no_such_module"), "answer")


def test_arguments_that_are_no_json_leave_the_process_alone(process: BoundedProcess) -> None:
    before = ask(process, "answer")["pid"]
    with pytest.raises(TypeError):
        ask(process, "answer", value=object())
    assert ask(process, "answer")["pid"] == before


def test_a_process_that_ended_between_two_calls_is_replaced_in_silence(process: BoundedProcess) -> None:
    """A system short of memory kills the one that does nothing: no file is to blame for that."""
    before = ask(process, "answer")["pid"]
    os.kill(before, signal.SIGKILL)
    time.sleep(0.2)
    assert ask(process, "answer")["pid"] != before


def test_a_process_started_anew_is_not_taken_for_the_former(process: BoundedProcess) -> None:
    """It has nothing of what was loaded there."""
    first = process.start()
    process.close()
    with pytest.raises(Restarted):
        process.ask("answer", {}, seconds=60, memory=MEMORY, most=1 << 20, generation=first)


def test_modules_of_the_current_folder_are_not_imported(
    process: BoundedProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A downloaded folder may have a json.py in it: inside it, `edgesw detect .` must not run that."""
    for name in ("json", "struct", "signal", "runpy", "tokenizers", "sitecustomize", "edgesw"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.environ["PYTHONPATH"] + os.pathsep)  # an empty entry means the current folder
    found = ask(process, "answer")
    assert not (tmp_path / "sprung").exists()
    assert found["folder"] == "/"
    assert not {"", ".", str(tmp_path)} & set(found["path"])


PROGRAM = """
import sys, threading, _thread, time
sys.path.insert(0, {folder!r})
from edgesw.system.bounded_process import BoundedProcess
process = BoundedProcess("bounded_handlers")
ask = lambda call: process.ask(call, {{}}, seconds=60, memory=1 << 28, most=1 << 20)
print(ask("answer")[0]["pid"], flush=True)
{then}
"""


def program(then: str) -> subprocess.Popen[str]:
    folder = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(folder=folder, then=then)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join([folder, *sys.path])},
    )  # fmt: skip


@pytest.mark.parametrize(
    "then",
    [
        "",
        "raise ValueError",
        *(pytest.param(end, marks=pytest.mark.slow) for end in ("sys.exit(3)", "import os; os._exit(0)")),
    ],
)
def test_no_process_is_left_at_the_end(then: str) -> None:
    """Each would keep its memory until the machine is restarted."""
    with program(then) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        running.communicate(timeout=60)
        wait_until_gone(pid)


@pytest.mark.parametrize("call", ["hang", pytest.param("answer", marks=pytest.mark.slow)])
def test_no_process_is_left_when_the_asking_one_is_killed(call: str) -> None:
    """Not even one that is busy with an endless loop."""
    with program(f"ask({call!r}); time.sleep(60)") as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        running.kill()
        running.communicate(timeout=60)
        wait_until_gone(pid)


def test_ctrl_c_is_heard_while_the_process_works() -> None:
    """And ends the process, so that its late answer is not taken for that to the next call."""
    then = "try:\n    ask('hang')\nexcept KeyboardInterrupt:\n    print('stopped', ask('answer')[0]['pid'])"
    with program(then) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline())
        time.sleep(0.5)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert out.startswith("stopped ") and int(out.split()[1]) != pid, err
    assert running.returncode == 0, err
    wait_until_gone(pid)

"""BoundedProcess: a process that works on downloaded data for this one, with limits on its time and memory."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from edgesw import errors
from edgesw.system.safe_path import python_command
from edgesw.system.sizes import format_size

START_SECONDS = 120.0
"""How long a process may take to import what it works with."""
_WATCHED = sys.platform == "darwin"  # macOS knows RLIMIT_AS, but does not enforce it
_WATCH_SECONDS = 0.2
_HELD = 1 << 30  # what a watched process may have of former calls: to look at it before each would take milliseconds
_HEAD = 8
# One thread each: a limit on processor time then means what it says, and numpy maps no memory for others.
_ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class Overrun(Exception):
    """The process took too long or ended, and is gone. The message is half a sentence: what it did."""


class Restarted(Overrun):
    """It is not the process that was meant."""


class Failed(Exception):
    """The process raised an error of another library. The message is that error's."""


class BoundedProcess:
    """A process that answers calls of the HANDLERS in `module`, one at a time; see edgesw.system.bounded_child.

    It is started by the first call, or by `start`, ahead of time; killed when it takes too long or more memory than it
    may, or when this process ends; and started again by the next call.
    """

    def __init__(self, module: str) -> None:
        self._module, self._lock = module, threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner, self._ready = 0, False
        self._allowed = "", ""
        """What is said of a process that took too long, and of one that ended or took too much memory."""
        self.generation = 0
        """How many times it was started: what a former process had in its memory is gone."""

    def start(self) -> int:
        """Starts the process, unless it runs, and does not wait for it. Returns its generation."""
        with self._lock:
            self._start()
            return self.generation

    def ask(
        self, call: str, arguments: Mapping[str, Any], files: Sequence[bytes] = (), *, seconds: float, memory: int,
        most: int, generation: int | None = None,
    ) -> tuple[Any, list[bytes]]:  # fmt: skip
        """What the handler `call` returns: a value of JSON, and files.

        It may take `seconds`, `memory` bytes beyond what the process has, and `most` bytes of answer. With a
        `generation`, only that process may answer.

        Raises Overrun where it takes more, and Failed, or an error of edgesw.errors, where it raises that.
        """
        with self._lock:
            self._start()
            if generation is not None and generation != self.generation:
                raise Restarted("was started anew")
            head = {"call": call, "arguments": arguments, "seconds": seconds, "memory": memory}
            message = _packed(head, files)
            try:
                self._wait_until_ready()
                self._allowed = f"takes more than {seconds:.0f} s", f"takes more than {format_size(memory)} of memory"
                deadline, limit = time.monotonic() + seconds, _HELD + memory if _WATCHED else 0
                self._send(message, deadline, limit)
                answer, found = self._receive(deadline, limit, most)
            except BaseException:  # Ctrl-C, too: the next answer would be that to another call
                self._kill()
                raise
        if "raised" not in answer:
            return answer.get("value"), found
        kind = getattr(errors, str(answer.get("kind")), None)
        ours = isinstance(kind, type) and issubclass(kind, errors.EdgeswError)
        raise (kind if ours and kind else Failed)(str(answer["raised"]))

    def close(self) -> None:
        """Ends the process; the next call starts another."""
        with self._lock:
            self._kill()

    def _start(self) -> None:
        if self._process is not None and self._owner != os.getpid():  # a fork of this process: the child is not its own
            self._process = None
        if self._process is not None and self._process.poll() is None:
            return
        self._kill()  # it ended by itself, without a call: the system may have been short of memory
        if self.generation == 0:
            atexit.register(self.close)
        # A session of its own: Ctrl-C is this process's to handle.
        self._process = subprocess.Popen(
            [*python_command("edgesw.system.bounded_child", "main"), self._module], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", env={**os.environ, **_ENVIRONMENT},
            start_new_session=True, bufsize=0,
        )  # fmt: skip
        self._owner, self._ready = os.getpid(), False
        self.generation += 1
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            os.set_blocking(pipe.fileno(), False)

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        try:
            self._receive(time.monotonic() + START_SECONDS, 0, 1 << 10)
        except Overrun as error:
            raise errors.EdgeswError(
                f"the process for {self._module} does not start: `python -c 'import {self._module}'` says why."
            ) from error
        self._ready = True

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe and pipe.close()

    def _send(self, message: bytes, deadline: float, limit: int) -> None:
        assert self._process is not None and self._process.stdin is not None
        left, pipe = memoryview(message), self._process.stdin.fileno()
        while left:
            try:
                left = left[os.write(pipe, left) :]
            except BlockingIOError:
                self._wait(pipe, select.POLLOUT, deadline, limit)
            except BrokenPipeError:
                raise Overrun(self._ended()) from None

    def _receive(self, deadline: float, limit: int, most: int) -> tuple[dict[str, Any], list[bytes]]:
        length = int.from_bytes(self._read(_HEAD, deadline, limit), "little")
        if length > most:
            raise Overrun("gives far more text than it was given")
        head = json.loads(self._read(length, deadline, limit))
        lengths = head.get("files", [])
        if sum(lengths) > most:
            raise Overrun("gives far more than it was given")
        return head, [self._read(length, deadline, limit) for length in lengths]

    def _read(self, count: int, deadline: float, limit: int) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        pipe, found = self._process.stdout.fileno(), bytearray()
        while len(found) < count:
            try:
                piece = os.read(pipe, min(count - len(found), 1 << 20))
            except BlockingIOError:
                self._wait(pipe, select.POLLIN, deadline, limit)
                continue
            if not piece:
                raise Overrun(self._ended())
            found += piece
        return bytes(found)

    def _wait(self, pipe: int, event: int, deadline: float, limit: int) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        while True:
            left = deadline - time.monotonic()
            if poll.poll(max(0.0, min(left, _WATCH_SECONDS) if limit else left) * 1000):
                return
            if left <= 0:
                raise Overrun(self._allowed[0])
            if limit and self._resident() > limit:
                raise Overrun(self._allowed[1])

    def _resident(self) -> int:
        """The bytes of memory that the process has, where the system does not bound them."""
        assert self._process is not None
        ran = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self._process.pid)], capture_output=True, text=True, check=False
        )
        return int(ran.stdout.strip() or 0) << 10

    def _ended(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return f"ends or {self._allowed[1]}"
        if code == -signal.SIGXCPU:
            return self._allowed[0]
        return f"crashes or {self._allowed[1]}"


def _packed(head: dict[str, Any], files: Sequence[bytes]) -> bytes:
    text = json.dumps({**head, "files": [len(file) for file in files]}).encode("ascii")
    return b"".join((len(text).to_bytes(_HEAD, "little"), text, *files))


def text_length(value: object) -> int:
    """Roughly how long the texts in a value are, of which limits are a multiple."""
    if isinstance(value, str):
        return len(value) + 1
    if isinstance(value, Mapping):
        return sum(map(text_length, value.values()))
    return sum(map(text_length, value)) if isinstance(value, (list, tuple)) else 8

"""The process on the other end of a BoundedProcess: reads a call, works on it within limits, and answers.

A module of handlers has a table `HANDLERS`: the name of a call -> a function of its arguments and files, which returns
a value of JSON and files.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

Handler = Callable[[Mapping[str, Any], Sequence[bytes]], tuple[Any, Sequence[bytes]]]

_HEAD = 8
_LONGEST = 4000


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):  # libraries print, compiled ones past Python's streams
        os.dup2(null, number)
    threading.Thread(target=_end_with_parent, args=(calls.fileno(),), daemon=True).start()
    handlers: Mapping[str, Handler] = import_module(sys.argv[1]).HANDLERS
    _answer(answers, {}, ())
    while head := calls.read(_HEAD):
        call = json.loads(calls.read(int.from_bytes(head, "little")))
        files = [calls.read(length) for length in call["files"]]
        try:
            with _limits(call["seconds"], call["memory"]):
                value, made = handlers[call["call"]](call["arguments"], files)
            answer: tuple[dict[str, Any], Sequence[bytes]] = {"value": value}, made
        except BaseException as error:  # the tokenizers library panics with a class that is no Exception
            said = "it takes too much memory" if isinstance(error, MemoryError) else " ".join(str(error).split())
            answer = {"kind": type(error).__name__, "raised": (said or type(error).__name__)[:_LONGEST]}, ()
        del files
        _answer(answers, *answer)
        del answer


def _answer(answers: BinaryIO, head: dict[str, Any], files: Sequence[bytes]) -> None:
    text = json.dumps({**head, "files": [len(file) for file in files]}).encode("ascii")
    for part in (len(text).to_bytes(_HEAD, "little"), text, *files):
        answers.write(part)
    answers.flush()


def _end_with_parent(pipe: int) -> None:
    """Ends the process when nobody is left who could call."""
    poll = select.poll()
    poll.register(pipe, 0)  # whatever is registered, the end of the other side is reported
    poll.poll()
    os._exit(1)


@contextlib.contextmanager
def _limits(seconds: float, memory: int) -> Iterator[None]:
    """Within the block the process may take so much more memory, and is killed after so much processor time: nobody
    may be left who watches the clock."""
    import resource

    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    limits = {resource.RLIMIT_CPU: int(used + seconds) + 5, resource.RLIMIT_CORE: 0}
    with contextlib.suppress(OSError):  # no such file on macOS, which does not enforce it either
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limits[resource.RLIMIT_AS] = pages * resource.getpagesize() + memory
    before = {kind: resource.getrlimit(kind) for kind in limits}
    try:
        for kind, limit in limits.items():
            soft, hard = before[kind]
            resource.setrlimit(kind, (limit if soft == resource.RLIM_INFINITY else min(limit, soft), hard))
        yield
    finally:
        for kind, both in before.items():
            resource.setrlimit(kind, both)

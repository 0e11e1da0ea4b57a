"""Worker processes that end with the process that started them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.connection import wait

from edgesw.system.safe_path import SafeSpawnContext


@contextlib.contextmanager
def worker_processes(count: int) -> Iterator[Executor]:
    """An executor of `count` processes. Tasks that have not begun when the block ends are dropped."""
    pool = ProcessPoolExecutor(count, SafeSpawnContext(), initializer=_become_worker)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _become_worker() -> None:
    """Ignores Ctrl-C, which reaches the whole process group and is the parent's to handle, and ends with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=end_with, args=(parent.sentinel,), daemon=True).start()

"""Work on parts of a matrix in one thread per core: numpy and compiled loops run without the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


_limit: int | None = None


def limit_cores(count: int) -> None:
    """From now on this process uses at most `count` cores: others need the rest."""
    global _limit
    _limit = count


def cores() -> int:
    """The number of processor cores that this process may use."""
    if _limit is not None:
        return _limit
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threaded(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results of `work`, in the order of the items."""
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(min(cores(), len(items))) as threads:
        return list(threads.map(work, items))

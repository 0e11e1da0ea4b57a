"""Work on parts of a matrix in as many threads as there are cores: numpy and what is compiled run outside the lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


_most: int | None = None


def use_cores(count: int) -> None:
    """From here on this process takes no more than so many: others have the rest."""
    global _most
    _most = count


def cores() -> int:
    """The processor cores that this process may use."""
    if _most is not None:
        return _most
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threaded(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """The results in the order of the items."""
    if len(items) == 1:
        return [work(items[0])]
    with ThreadPoolExecutor(min(cores(), len(items))) as threads:
        return list(threads.map(work, items))

"""MatrixWorkers: worker processes that compress matrices and put them into a store, ahead of its reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.matrix_file import find_matrix, matrix_path, save_matrix
from edgesw.compress.plan import CompressionPlan
from edgesw.compress.threads import cores, limit_cores
from edgesw.errors import EdgeswError

_IMPORTANCE = "importance"


@dataclass(frozen=True)
class MatrixTask:
    """One matrix to compress, in paths, names and indices: little data to send to a process, which must see the same
    files."""

    checkpoint: Path
    name: str
    plan: CompressionPlan
    """Of this matrix alone."""
    importance: Path
    """An archive of mean squares by matrix name."""
    hold_out: HoldOut
    """Of this matrix alone."""
    cores: int
    output: Path


def matrix_tasks(
    checkpoint: Path,
    plan: CompressionPlan,
    importance: Mapping[str, np.ndarray],
    hold_out: HoldOut,
    folder: Path,
    workers: int,
) -> list[MatrixTask]:
    """The tasks of `workers` processes, in the plan's order: all matrices that are not in the store's `folder` yet.
    `importance` is written to the folder too."""
    with (folder / _IMPORTANCE).open("wb") as file:
        np.savez(file, **importance)  # type: ignore[arg-type]
    return [
        MatrixTask(
            checkpoint,
            matrix.name,
            CompressionPlan((matrix,)),
            folder / _IMPORTANCE,
            hold_out.only(matrix.name),
            max(1, cores() // workers),
            matrix_path(folder, matrix.name),
        )
        for matrix in plan.matrices
        if find_matrix(matrix_path(folder, matrix.name), matrix.scheme) is None
    ]


def compress_task(task: MatrixTask) -> None:
    """Compresses the matrix and writes it to the task's output. Raises EdgeswError as CompressedDecoder does."""
    limit_cores(task.cores)
    with np.load(task.importance) as stored:
        importance = {task.name: stored[task.name]} if task.name in stored else None
    decoder = CompressedDecoder(_opened(task.checkpoint), task.plan, importance, task.hold_out)
    save_matrix(task.output, decoder.matrix(task.name))


@lru_cache(maxsize=1)
def _opened(path: Path) -> Checkpoint:
    return open_checkpoint(str(path))


class MatrixWorkers:
    """Runs tasks in order, only a few ahead of the matrix that the reader waits for. Matrices come out bit for bit as
    this process would compress them."""

    def __init__(self, executor: Executor, workers: int, tasks: Sequence[MatrixTask]) -> None:
        self._executor, self._ahead, self._tasks = executor, workers + 1, deque(tasks)
        self._begun: dict[str, Future[None]] = {}

    def finish(self, name: str) -> None:
        """Waits until the matrix is in the store, if its task has begun. EdgeswError if a process has died."""
        try:
            self._begin()
            if name in self._begun:
                self._begun.pop(name).result()
                self._begin()
        except BrokenExecutor as error:
            raise EdgeswError("a worker process was killed (out of memory?): use fewer --workers.") from error

    def _begin(self) -> None:
        while self._tasks and len(self._begun) < self._ahead:
            task = self._tasks.popleft()
            self._begun[task.name] = self._executor.submit(compress_task, task)

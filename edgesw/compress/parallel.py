"""AheadMatrices: a decoder whose matrices other processes compress ahead of the one that asks for them."""

from __future__ import annotations

from collections import deque
from concurrent.futures import BrokenExecutor, Executor, Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.matrix_file import find_matrix, kept_path, load_matrix, save_matrix
from edgesw.compress.matrix_store import KeptMatrices
from edgesw.compress.plan import CompressionPlan
from edgesw.compress.threads import cores, use_cores
from edgesw.errors import EdgeswError


@dataclass(frozen=True)
class MatrixTask:
    """One matrix to compress, in paths, names and places: all that a process is sent, which must see the same files."""

    checkpoint: Path
    name: str
    plan: CompressionPlan
    """Of this matrix alone."""
    importance: Path | None
    """An .npz of mean squares by matrix name."""
    hold_out: HoldOut
    """Of this matrix alone."""
    cores: int
    output: Path


def compress_task(task: MatrixTask) -> None:
    """Compress the matrix and write it to the task's output. Raises EdgeswError as CompressedDecoder does."""
    use_cores(task.cores)
    importance = None
    if task.importance is not None:
        with np.load(task.importance) as stored:
            importance = {task.name: stored[task.name]} if task.name in stored else None
    decoder = CompressedDecoder(_opened(task.checkpoint), task.plan, importance, task.hold_out)
    save_matrix(task.output, decoder.matrix(task.name))


@lru_cache(maxsize=1)
def _opened(path: Path) -> Checkpoint:
    return open_checkpoint(str(path))


class AheadMatrices(KeptMatrices):
    """What `decoder` compresses, each matrix by itself, to the last bit: workers of an executor do it in the plan's
    order, a few ahead of who asks."""

    def __init__(
        self, decoder: CompressedDecoder, checkpoint: Path, executor: Executor, workers: int, folder: Path, keep: bool
    ) -> None:
        """`folder` is the caller's to remove: matrices wait in it until they are asked for, and if `keep`
        stay for the next to ask."""
        super().__init__(decoder, folder)
        self._executor, self._ahead, self._keep = executor, workers + 1, keep
        importance = folder / "importance.npz" if decoder.importance else None
        if importance is not None:
            np.savez(importance, **decoder.importance)  # type: ignore[arg-type]
        self._tasks = deque(
            MatrixTask(
                checkpoint,
                matrix.name,
                CompressionPlan((matrix,)),
                importance,
                decoder.hold_out.only(matrix.name),
                max(1, cores() // workers),
                kept_path(folder, matrix.name),
            )
            for matrix in self.plan.matrices
            if find_matrix(kept_path(folder, matrix.name), matrix.scheme) is None
        )
        self._begun: dict[str, Future[None]] = {}

    def matrix(self, name: str) -> CompressedMatrix:
        if self.progress:
            self.progress(name)
        try:
            self._begin()
            if name in self._begun:
                self._begun.pop(name).result()
                self._begin()
        except BrokenExecutor as error:
            raise EdgeswError("a worker process was ended from outside (no memory?): use fewer --workers.") from error
        path = kept_path(self._folder, name)
        if not path.exists():  # asked for twice, or not in the plan's order
            return self._decoder.matrix(name)
        matrix = load_matrix(path, self.plan.scheme(name))
        if not self._keep:
            path.unlink()
        return matrix

    def _begin(self) -> None:
        while self._tasks and len(self._begun) < self._ahead:
            task = self._tasks.popleft()
            self._begun[task.name] = self._executor.submit(compress_task, task)

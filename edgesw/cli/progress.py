"""The progress bar: stage, current step, time left. It is on stderr, and only on a terminal; the time that each stage
took, which --verbose adds, is printed everywhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edgesw.cli.verbosity import verbosity
from edgesw.errors import printable


class Bar:
    """A progress callback that draws one line per stage: see `edgesw.progress.Progress`."""

    def __init__(self) -> None:
        console = Console(stderr=True, highlight=False)
        asked = verbosity()
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}", style="dim", markup=False),
            console=console,
            disable=asked.quiet or not console.is_terminal,
        )
        self._verbose, self._began = asked.verbose, 0.0
        self._tasks: dict[str, TaskID] = {}
        self._last: str | None = None

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        self._progress.stop()

    def __call__(self, stage: str, detail: str, done: int, total: int) -> None:
        if stage != self._last:
            self._finish()
            self._last, self._began = stage, time.perf_counter()
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage, total=total, detail=printable(detail))
        self._progress.update(self._tasks[stage], completed=done, total=total, detail=printable(detail))

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Takes the bar off the screen while something else is printed."""
        self._finish()
        self._progress.stop()
        yield
        self._progress.start()

    def _finish(self) -> None:
        """Completes the line of the last stage: the library reports when a step begins, not when a stage ends."""
        if self._last is not None:
            task = self._tasks[self._last]
            total = self._progress.tasks[task].total
            self._progress.update(task, completed=total, detail="")
            if self._verbose:
                took = f"{self._last}: {time.perf_counter() - self._began:.1f} s"
                self._progress.console.print(took, markup=False, soft_wrap=True)
            self._last = None

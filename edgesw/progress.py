"""Progress: how the library reports what it is doing."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, str, int, int], None]
"""Called before each step with (stage, name of the step, steps done, steps in the stage)."""


class StepProgress:
    """Counts the steps of one stage. It is called with the name of each step before the step begins."""

    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self._progress, self._stage, self._total, self._done = progress, stage, total, 0

    def __call__(self, name: str) -> None:
        self._progress(self._stage, name, self._done, self._total)
        self._done += 1

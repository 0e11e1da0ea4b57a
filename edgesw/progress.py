"""How the library says what it is doing."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, str, int, int], None]
"""Called with (stage, what is being done, steps done, steps in the stage)."""


class StepProgress:
    """Counts the steps of one stage: called with what each is about to do."""

    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self._progress, self._stage, self._total, self._done = progress, stage, total, 0

    def __call__(self, name: str) -> None:
        self._progress(self._stage, name, self._done, self._total)
        self._done += 1

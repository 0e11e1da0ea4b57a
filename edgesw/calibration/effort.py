"""Effort: how much of a text error compensation reads."""

from __future__ import annotations

EFFORTS = ("fast", "balanced", "best")
"""No error compensation; compensation on some windows of the text; on all of it."""
MOST_WINDOWS = 256
# `balanced` reads this many windows for models up to this size, and fewer for larger ones, but never below the minimum.
BALANCED_WINDOWS, BALANCED_PARAMETERS, FEWEST_WINDOWS = 32, 150e6, 8


def compensation_windows(parameters: int, effort: str) -> int:
    """The most windows of a text for error compensation of a model; 0: its errors are not compensated."""
    if effort == "balanced":
        return max(FEWEST_WINDOWS, int(BALANCED_WINDOWS * min(1, BALANCED_PARAMETERS / parameters) ** 0.5))
    return 0 if effort == "fast" else MOST_WINDOWS

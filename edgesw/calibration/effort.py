"""Effort: how much of a text error compensation reads."""

from __future__ import annotations

EFFORTS = ("fast", "balanced", "best")
"""No error compensation; compensation on some windows of the text; on all of it."""
MOST_WINDOWS = 256
# The windows that `balanced` reads of a model with so many parameters. A larger one gets fewer, down to the fewest.
BALANCED_WINDOWS, BALANCED_PARAMETERS, FEWEST_WINDOWS = 32, 150e6, 8


def compensation_windows(parameters: int, effort: str) -> int:
    """The most windows of a text for error compensation of a model; 0: its errors are not compensated."""
    if effort == "balanced":
        return max(FEWEST_WINDOWS, int(BALANCED_WINDOWS * min(1, BALANCED_PARAMETERS / parameters) ** 0.5))
    return 0 if effort == "fast" else MOST_WINDOWS

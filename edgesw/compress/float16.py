"""Conversion to float16, the type of everything that is stored beside codes."""

from __future__ import annotations

import numpy as np


def to_float16(values: np.ndarray) -> np.ndarray:
    """Float16; a value beyond its range becomes the largest finite number of its sign."""
    largest = np.finfo(np.float16).max
    return np.clip(values, -largest, largest).astype(np.float16)

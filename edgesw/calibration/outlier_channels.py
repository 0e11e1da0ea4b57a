"""Outlier channels: columns with a very large input, where quantization errors count hundreds of times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgesw.decoder.names import down_proj
from edgesw.recipes.coordinates import Coordinates

# A column is held out if the mean square of its input is at least this many times the mean over its matrix's columns.
# 16 bits per weight remove its error. One more bit per weight of all columns removes three quarters of theirs, so per
# bit both gain the same if the column's error is 16 * 3 / 4 times the mean. Measured too: docs/compression.md.
TIMES_MEAN = 12.0
# Where all columns share one range of 8 bits, those with the largest inputs are held out until quantizing the others
# adds noise of at most this share of their power (-30 dB), but at most this share of a matrix's columns. Measured in
# docs/activations.md.
MOST_NOISE, MOST_COLUMNS = 1e-3, 1 / 32
LEVELS = 255


def outlier_channels(mean_squares: np.ndarray, times_mean: float = TIMES_MEAN) -> tuple[int, ...]:
    """The columns of a matrix, ascending, whose input has a mean square of at least `times_mean` times the mean."""
    bound = times_mean * mean_squares.mean()
    return tuple(np.flatnonzero(mean_squares >= bound).tolist()) if bound > 0 else ()


def outlier_channels_by_matrix(
    mean_squares: Mapping[str, np.ndarray], times_mean: float = TIMES_MEAN
) -> dict[str, tuple[int, ...]]:
    """The `outlier_channels` by matrix name, from the mean squares of the inputs, (columns,) each."""
    found = {name: outlier_channels(each, times_mean) for name, each in mean_squares.items()}
    return {name: columns for name, columns in found.items() if columns}


def range_channels(mean_squares: np.ndarray, extremes: np.ndarray) -> tuple[int, ...]:
    """The columns of a matrix, ascending, that widen the range of its input the most.

    `mean_squares` (columns,) and `extremes` (2, columns), the smallest and the largest value, are those of the inputs.
    Rounding to steps s adds a noise of s^2 / 12.
    """
    largest = np.abs(extremes).max(0)
    order = np.argsort(-largest, kind="stable")
    squares, largest = mean_squares[order].astype(np.float64), largest[order].astype(np.float64)
    rest = np.cumsum(squares[::-1])[::-1]  # power of this column and all smaller ones
    noise = np.square(2 * largest / LEVELS) / 12 * np.arange(len(order), 0, -1)
    few = int(len(order) * MOST_COLUMNS)
    count = next((at for at in range(few) if noise[at] <= MOST_NOISE * rest[at]), few)
    return tuple(sorted(order[:count].tolist()))


def columns_of(scalars: Iterable[Coordinates]) -> dict[str, tuple[int, ...]]:
    """The columns of `down_proj` that contain these scalars, by matrix name, ascending.

    A correction has a value for each row of a column, so a whole column takes no more bytes than one scalar in it.
    """
    found: dict[str, set[int]] = {}
    for layer, _, column in scalars:
        found.setdefault(down_proj(layer), set()).add(column)
    return {name: tuple(sorted(columns)) for name, columns in found.items()}


def joined(*parts: Mapping[str, Iterable[int]]) -> dict[str, tuple[int, ...]]:
    """The columns of all parts together, by matrix name, ascending."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: tuple(sorted({column for part in parts for column in part.get(name, ())})) for name in names}

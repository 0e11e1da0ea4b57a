"""Columns whose input spikes: a rounding error in one of them counts hundreds of times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgesw.decoder.names import down_proj
from edgesw.recipes.coordinates import Coordinates

# A column is held out when the mean square of its input is at least this many times the mean over its matrix's columns.
# 16 bits a weight take its error away. One bit a weight for all columns takes away three quarters of theirs, so the two
# buy as much a bit when the column's error is 16 * 3 / 4 times the mean. Measured as well: docs/compression.md.
TIMES_MEAN = 12.0
# Where all columns share one range of 8 bits, columns of the largest inputs are held out until rounding the others
# adds noise of at most this share of their power (-30 dB), and of a matrix at most this share. Measured:
# docs/activations.md.
MOST_NOISE, MOST_COLUMNS = 1e-3, 1 / 32
LEVELS = 255


def spiking(mean_squares: np.ndarray, times_mean: float = TIMES_MEAN) -> tuple[int, ...]:
    """The columns of a matrix, ascending, whose input's mean square (columns,) is this far above the others'."""
    bound = times_mean * mean_squares.mean()
    return tuple(np.flatnonzero(mean_squares >= bound).tolist()) if bound > 0 else ()


def spiking_columns(
    mean_squares: Mapping[str, np.ndarray], times_mean: float = TIMES_MEAN
) -> dict[str, tuple[int, ...]]:
    """The columns by matrix name, ascending, from the mean squares of the inputs, (columns,) each."""
    found = {name: spiking(each, times_mean) for name, each in mean_squares.items()}
    return {name: columns for name, columns in found.items() if columns}


def range_columns(mean_squares: np.ndarray, extremes: np.ndarray) -> tuple[int, ...]:
    """The columns of a matrix, ascending, that set the range of its input: from the mean squares (columns,) and the
    least and largest values (2, columns) of each. ActivationQuantization to steps s adds a noise of s^2 / 12."""
    largest = np.abs(extremes).max(0)
    order = np.argsort(-largest, kind="stable")
    squares, largest = mean_squares[order].astype(np.float64), largest[order].astype(np.float64)
    rest = np.cumsum(squares[::-1])[::-1]  # power of this column and all smaller ones
    noise = np.square(2 * largest / LEVELS) / 12 * np.arange(len(order), 0, -1)
    few = int(len(order) * MOST_COLUMNS)
    count = next((at for at in range(few) if noise[at] <= MOST_NOISE * rest[at]), few)
    return tuple(sorted(order[:count].tolist()))


def columns_of(scalars: Iterable[Coordinates]) -> dict[str, tuple[int, ...]]:
    """The columns that scalars of `down_proj` are in, by matrix name, ascending.

    A correction has a value for each row of a column, so the whole column takes no more room than one scalar in it.
    """
    found: dict[str, set[int]] = {}
    for layer, _, column in scalars:
        found.setdefault(down_proj(layer), set()).add(column)
    return {name: tuple(sorted(columns)) for name, columns in found.items()}


def joined(*parts: Mapping[str, Iterable[int]]) -> dict[str, tuple[int, ...]]:
    """All columns of all parts, by matrix name, ascending."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: tuple(sorted({column for part in parts for column in part.get(name, ())})) for name in names}

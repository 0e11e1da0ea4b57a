"""Columns whose input spikes: a rounding error in one of them counts hundreds of times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgesw.checkpoint.spec import Coordinates
from edgesw.outliers.run import down_proj

# A column is held out when the mean square of its input is at least this many times the mean over its matrix's columns.
TIMES_MEAN = 12.0


def spiking_columns(
    mean_squares: Mapping[str, np.ndarray], times_mean: float = TIMES_MEAN
) -> dict[str, tuple[int, ...]]:
    """The columns by matrix name, ascending, from the mean squares of the inputs, (columns,) each."""
    found = {name: np.flatnonzero(each >= times_mean * each.mean()) for name, each in mean_squares.items()}
    return {
        name: tuple(columns.tolist()) for name, columns in found.items() if len(columns) and mean_squares[name].any()
    }


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

"""The scalars of largest magnitude in the layers' matrices, which super weights are compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.decoder.weights import Places

MOST = 1000
# In a small model MOST scalars may be more than this share of its matrices; then only this share is removed.
LARGEST_SHARE = 1e-4


@dataclass(frozen=True)
class Largest:
    """The places of the scalars, their number, and the smallest magnitude among them."""

    places: Places
    count: int
    smallest: float


def default_count(spec: DecoderSpec) -> int:
    """The number of scalars to remove: MOST, or fewer for a tiny model."""
    scalars = sum(prod(spec.matrix_shape(name)) for name in spec.matrices())
    return min(MOST, max(1, int(scalars * LARGEST_SHARE)))


def largest_others(
    spec: DecoderSpec, weights: Weights, count: int, without: Places, progress: Callable[[int], None] | None = None
) -> Largest:
    """Finds the `count` largest magnitudes in all matrices of the layers, except those at `without`. Holds one matrix
    at a time in memory, and calls `progress(matrices)` before each."""
    names = spec.matrices()
    magnitudes, matrices, flat = np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64)
    for index, name in enumerate(names):
        if progress:
            progress(index)
        values = np.abs(weights.tensor(name))
        if name in without:
            values[without[name]] = -1
        values = values.ravel()
        # Only magnitudes above the smallest so far can enter: later matrices add few.
        least = magnitudes.min() if len(magnitudes) == count else np.float32(-0.5)
        found = np.flatnonzero(values > least)
        magnitudes = np.concatenate([magnitudes, values[found]])
        matrices = np.concatenate([matrices, np.full(len(found), index)])
        flat = np.concatenate([flat, found])
        if len(magnitudes) > count:
            kept = np.argpartition(magnitudes, -count)[-count:]
            magnitudes, matrices, flat = magnitudes[kept], matrices[kept], flat[kept]
    places = {}
    for index in np.unique(matrices):
        row, column = np.divmod(flat[matrices == index], spec.matrix_shape(names[index])[1])
        places[names[index]] = (row, column)
    return Largest(places, len(magnitudes), float(magnitudes.min()))

"""The scalars of largest magnitude in the layers' matrices: what super weights are compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np

from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.decoder.weights import Places

MOST = 1000
# A model so small that MOST scalars are more than this share of its matrices has fewer of them removed.
LARGEST_SHARE = 1e-4


@dataclass(frozen=True)
class Largest:
    """Where the scalars are, how many, and the smallest magnitude among them."""

    places: Places
    count: int
    smallest: float


def how_many(spec: DecoderSpec) -> int:
    """MOST, or fewer for a tiny model."""
    scalars = sum(prod(spec.matrix_shape(name)) for name in spec.matrices())
    return min(MOST, max(1, int(scalars * LARGEST_SHARE)))


def largest_others(
    spec: DecoderSpec, weights: Weights, count: int, without: Places, progress: Callable[[int], None] | None = None
) -> Largest:
    """The `count` largest magnitudes in all matrices of the layers, those at `without` passed over. One matrix at a
    time in memory; `progress(matrices)` is called before each."""
    names = spec.matrices()
    magnitudes, matrices, flat = np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64)
    for index, name in enumerate(names):
        if progress:
            progress(index)
        values = np.abs(weights.tensor(name))
        if name in without:
            values[without[name]] = -1
        values = values.ravel()
        # Only what beats the smallest so far can enter: later matrices add a handful each.
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

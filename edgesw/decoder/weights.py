"""Float weights seen through a wrapper: cached, or with something changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np

from edgesw.decoder.names import down_proj
from edgesw.decoder.ops import Weights
from edgesw.recipes.coordinates import Coordinates

Places = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Scalars by the canonical name of their matrix: row numbers and column numbers, int64 (scalars,) each."""


class CachedWeights:
    """`Weights` that read a tensor once and keep it in memory: all tensors, or only those with these `names`."""

    def __init__(self, weights: Weights, names: Collection[str] | None = None) -> None:
        self._weights, self._names, self._cache = weights, names, dict[str, np.ndarray]()

    def tensor(self, name: str) -> np.ndarray:
        if name in self._cache:
            return self._cache[name]
        values = self._weights.tensor(name)
        if self._names is None or name in self._names:
            self._cache[name] = values
        return values

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._weights.rows(name, rows)


class ChangedWeights:
    """`Weights` whose tensors go through `change(name, values)` when they are read; the embedding's rows do not.
    `change` returns other values and leaves those it gets as they are."""

    def __init__(self, weights: Weights, change: Callable[[str, np.ndarray], np.ndarray]) -> None:
        self._weights, self._change = weights, change

    def tensor(self, name: str) -> np.ndarray:
        return self._change(name, self._weights.tensor(name))

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._weights.rows(name, rows)


def places_of(coordinates: Iterable[Coordinates]) -> Places:
    """Scalars of `down_proj` as places in their matrices."""
    by_name: dict[str, list[tuple[int, int]]] = {}
    for layer, row, column in coordinates:
        by_name.setdefault(down_proj(layer), []).append((row, column))
    return {name: (np.array(pairs)[:, 0], np.array(pairs)[:, 1]) for name, pairs in by_name.items()}


def scaled(weights: Weights, places: Places, factor: float) -> ChangedWeights:
    """The weights with the scalars at `places` multiplied by `factor`; 0 removes them."""

    def change(name: str, values: np.ndarray) -> np.ndarray:
        if name in places:
            values = values.copy()
            values[places[name]] *= factor
        return values

    return ChangedWeights(weights, change)

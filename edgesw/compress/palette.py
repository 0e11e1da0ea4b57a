"""Palettes: exact one-dimensional k-means over the values of a group of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

Item, Result = TypeVar("Item"), TypeVar("Result")
# Rows of a histogram that one thread adds at a time, in values: large matrices share one palette among few threads.
CHUNK = 1 << 22


def fit_palettes(
    weights: np.ndarray,
    bits: int,
    group: int,
    importance: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
) -> np.ndarray:
    """Palettes, float16 (groups, 2**bits) ascending, for every `group` rows (0: all) of float32 (rows, columns).

    The least squared error there is, before entries are rounded to float16. That of a column is weighted by its
    `importance` (columns,). Values where the boolean mask `held_out` is set do not count.
    """
    from edgesw.compress.kmeans import BINS, add_to_histogram, exact_clusters

    rows, columns = weights.shape
    step = group or rows
    weights = np.ascontiguousarray(weights, np.float32)
    each = np.ones(columns) if importance is None else importance / max(float(importance.mean()), 1e-30) + 1e-6
    nothing = np.zeros((0, 0), bool)

    def histogram(part: slice) -> np.ndarray:
        found = np.zeros((2, BINS))
        mask = nothing if held_out is None else np.ascontiguousarray(held_out[part])
        add_to_histogram(weights[part], each.astype(np.float64), mask, found[0], found[1])
        return found

    def palette(start: int) -> np.ndarray:
        end = min(start + step, rows)
        lines = max(1, CHUNK // columns)
        if end - start <= lines:
            found = histogram(slice(start, end))
        else:  # one large group: its parts are what threads share
            parts = [slice(first, min(first + lines, end)) for first in range(start, end, lines)]
            found = sum(_threaded(histogram, parts), np.zeros((2, BINS)))
        return exact_clusters(found[0], found[1], 2**bits)

    starts = range(0, rows, step)
    return np.stack(_threaded(palette, starts) if len(starts) > 1 else [palette(0)]).astype(np.float16)


def encode_palettes(weights: np.ndarray, palettes: np.ndarray, group: int) -> np.ndarray:
    """Codes, uint8 (rows, columns): the nearest entry of each value's palette."""
    from edgesw.compress.kmeans import nearest

    rows, columns = weights.shape
    step = group or rows
    weights = np.ascontiguousarray(weights, np.float32)
    codes = np.empty(weights.shape, np.uint8)
    lines = min(step, max(1, CHUNK // columns))

    def encode(start: int) -> None:
        end = min(start + lines, start - start % step + step)
        nearest(weights[start:end], palettes[start // step].astype(np.float32), codes[start:end])

    _threaded(encode, [start for group_start in range(0, rows, step)
                       for start in range(group_start, min(group_start + step, rows), lines)])  # fmt: skip
    return codes


def _threaded(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results in order. What is compiled runs outside the interpreter's lock."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(work, items))

"""Codes that stand for values of several rows, one below the other, compiled with numba: the nearest entries, and
coordinate descent.

Loops are written out even where numpy has a function: numba compiles loops in a fraction of the time.
"""

from __future__ import annotations

import numpy as np

from edgesw.compress.compiled import kernel, subroutine
from edgesw.compress.output_error import WIDTH

# How often a row of a block is gone over in a descent, at most: until no code changes.
SWEEPS = 2


@subroutine
def _nearest_vector(target: np.ndarray, counts: np.ndarray, palette: np.ndarray, distances: np.ndarray) -> int:
    """The index of the entry of palette (vector, entries) that is nearest to target (vector,). Of its values only those
    with a count of 1 matter, not those with 0."""
    distances[:] = np.float32(0)
    for k in range(target.shape[0]):
        entries, value, weight = palette[k], target[k], counts[k]
        for entry in range(entries.shape[0]):
            off = entries[entry] - value
            distances[entry] += weight * off * off
    # Read as integers, the bits of numbers from 0 on have the order of the numbers, and their minimum is vectorized.
    bits = distances.view(np.int32)
    least = bits[0]
    for entry in range(bits.shape[0]):
        least = min(least, bits[entry])
    best = 0
    while bits[best] != least:
        best += 1
    return best


@kernel
def encode_vectors(weights: np.ndarray, exact: np.ndarray, palette: np.ndarray, codes: np.ndarray) -> None:
    """Fills in `codes`, uint8 (rows / vector, columns): the index of the entry of palette, float32 (vector, entries),
    that is nearest to the values of the vector's rows in the column. Places where `exact` (rows, columns) is True are
    left out."""
    vector, entries = palette.shape
    target, counts = np.empty(vector, np.float32), np.empty(vector, np.float32)
    distances = np.empty(entries, np.float32)
    for row in range(codes.shape[0]):
        for i in range(codes.shape[1]):
            for k in range(vector):
                target[k] = weights[row * vector + k, i]
                counts[k] = np.float32(0) if exact[row * vector + k, i] else np.float32(1)
            codes[row, i] = _nearest_vector(target, counts, palette, distances)


@kernel
def vector_totals(
    weights: np.ndarray, importance: np.ndarray, exact: np.ndarray, codes: np.ndarray, palette: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The weighted sum of the values with each entry's code, and the sum of their weights: float64 (vector, entries)
    each."""
    vector = palette.shape[0]
    sums, totals = np.zeros(palette.shape), np.zeros(palette.shape)
    for row in range(codes.shape[0]):
        for i in range(codes.shape[1]):
            for k in range(vector):
                if not exact[row * vector + k, i]:
                    sums[k, codes[row, i]] += importance[i] * weights[row * vector + k, i]
                    totals[k, codes[row, i]] += importance[i]
    return sums, totals


@subroutine
def _clearances(palette: np.ndarray, clear: np.ndarray) -> None:
    """How far from an entry, squared, it is the nearest for certain: half the distance to the nearest other entry."""
    vector, entries = palette.shape
    for a in range(entries):
        clear[a] = np.inf
    for a in range(entries):
        for b in range(a):
            distance = np.float32(0)
            for k in range(vector):
                distance += (palette[k, a] - palette[k, b]) * (palette[k, a] - palette[k, b])
            clear[a], clear[b] = min(clear[a], distance / 4), min(clear[b], distance / 4)


@kernel
def descend_vectors(
    gradients: np.ndarray,
    hessian: np.ndarray,
    exact: np.ndarray,
    codes: np.ndarray,
    palettes: np.ndarray,
    owners: np.ndarray,
    steps: np.ndarray,
) -> None:
    """As `descend_palettes` in edgesw/compress/descent.py, for codes (rows / vector, n) of the entries of palettes,
    float32 (palettes, vector, entries); owners are (rows / vector,), ascending."""
    vector, entries = palettes.shape[1:]
    target, counts = np.empty(vector, np.float32), np.empty(vector, np.float32)
    distances, clear = np.empty(entries, np.float32), np.empty(entries, np.float32)
    steps[:] = np.float32(0)
    for row in range(codes.shape[0]):
        palette = palettes[owners[row]]
        if row == 0 or owners[row] != owners[row - 1]:
            _clearances(palette, clear)
        for _ in range(SWEEPS):
            still = True
            for i in range(codes.shape[1]):
                code, moved, free = codes[row, i], np.float32(0), 0
                for k in range(vector):
                    at = row * vector + k
                    away = gradients[at, i] / hessian[i, i]
                    target[k] = palette[k, code] + away
                    counts[k] = np.float32(0) if exact[at, i] else np.float32(1)
                    moved += away * away
                    free += 0 if exact[at, i] else 1
                if free == 0 or (free == vector and moved < clear[code]):
                    continue
                other = _nearest_vector(target, counts, palette, distances)
                if other == code:
                    continue
                codes[row, i] = other
                still = False
                for k in range(vector):
                    if counts[k]:
                        at, step = row * vector + k, palette[k, other] - palette[k, code]
                        steps[at, i] += step
                        for j in range(WIDTH):
                            gradients[at, j] -= step * hessian[i, j]
            if still:
                break

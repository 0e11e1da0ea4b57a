"""Codes that stand for values of several rows, one below the other: the nearest entries, and coordinate descent; compiled
with numba.

Loops are written out even where numpy has a function: numba compiles loops in a fraction of the time.
"""

from __future__ import annotations

import numpy as np

from edgesw.compress.compiled import kernel, subroutine


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
def _add(to: np.ndarray, values: np.ndarray, factor: float) -> None:
    """to += factor * values, over whole arrays: numba vectorizes such a loop, but not one that starts at an index."""
    for j in range(to.shape[0]):
        to[j] += factor * values[j]


@kernel
def descend_vectors(
    gradients: np.ndarray,
    hessian: np.ndarray,
    exact: np.ndarray,
    codes: np.ndarray,
    palettes: np.ndarray,
    owners: np.ndarray,
    sweeps: int,
    steps: np.ndarray,
) -> None:
    """As `descend_palettes` in edgesw/compress/descent.py, for codes (rows / vector, n) of the entries of palettes,
    float32 (palettes, vector, entries); owners are (rows / vector,)."""
    vector, entries = palettes.shape[1:]
    target, counts = np.empty(vector, np.float32), np.empty(vector, np.float32)
    distances = np.empty(entries, np.float32)
    steps[:] = np.float32(0)
    for row in range(codes.shape[0]):
        palette = palettes[owners[row]]
        for _ in range(sweeps):
            still = True
            for i in range(codes.shape[1]):
                code = codes[row, i]
                for k in range(vector):
                    at = row * vector + k
                    target[k] = palette[k, code] + gradients[at, i] / hessian[i, i]
                    counts[k] = np.float32(0) if exact[at, i] else np.float32(1)
                other = _nearest_vector(target, counts, palette, distances)
                if other == code or not counts.any():
                    continue
                codes[row, i] = other
                still = False
                for k in range(vector):
                    if counts[k]:
                        step = palette[k, other] - palette[k, code]
                        steps[row * vector + k, i] += step
                        _add(gradients[row * vector + k], hessian[i], -step)
            if still:
                break

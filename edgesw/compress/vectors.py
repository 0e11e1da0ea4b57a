"""Palettes of vectors: k-means over the values of neighbouring rows in a column."""

from __future__ import annotations

import numpy as np

from edgesw.compress.float16 import to_float16
from edgesw.compress.palette import column_weights
from edgesw.compress.threads import threaded

# Rounds of Lloyd's algorithm. It ends at a local optimum near its start, unlike the exact method for single values.
ROUNDS = 12
SEED, SAMPLE = 0, 32  # the first entries are drawn from this many vectors per entry


def fit_vectors(
    weights: np.ndarray,
    code_bits: int,
    group: int,
    vector: int,
    importance: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Palettes, float16 (groups, 2**code_bits, vector), for every `group` rows (0: all) of float32 (rows, columns), and
    codes, uint8 (rows / vector, columns). `vector` divides the rows of every group.

    The squared error is weighted by the column's `importance` (columns,); values where `held_out` (rows, columns) is
    True do not count. The start is that of k-means++ (Arthur and Vassilvitskii, 2007), with a fixed seed.
    """
    from edgesw.compress.vector_codes import encode_vectors, vector_totals  # takes long to load

    rows, columns = weights.shape
    step = group or rows
    weights = np.ascontiguousarray(weights, np.float32)
    each = column_weights(columns, importance).astype(np.float32)
    apart = np.zeros(weights.shape, bool) if held_out is None else np.ascontiguousarray(held_out)
    codes = np.empty((rows // vector, columns), np.uint8)

    def fit(start: int) -> np.ndarray:
        own, own_codes = slice(start, start + step), codes[start // vector : (start + step) // vector]
        entries = _first_entries(weights[own], each, 2**code_bits, vector)
        for _ in range(ROUNDS):
            encode_vectors(weights[own], apart[own], entries, own_codes)
            sums, totals = vector_totals(weights[own], each, apart[own], own_codes, entries)
            np.divide(sums, totals, out=entries, where=totals > 0)
        palette = to_float16(entries)
        encode_vectors(weights[own], apart[own], palette.astype(np.float32), own_codes)
        # Where most values are equal, evenly spaced entries may be better, and trying them takes little time.
        even, even_codes = to_float16(_even_entries(weights[own], code_bits, vector)), np.empty_like(own_codes)
        encode_vectors(weights[own], apart[own], even.astype(np.float32), even_codes)
        left_out = apart[own]
        if _error(weights[own], each, left_out, even, even_codes) < _error(
            weights[own], each, left_out, palette, own_codes
        ):
            own_codes[:], palette = even_codes, even
        return palette.T

    return np.array(threaded(fit, range(0, rows, step))), codes


def _even_entries(weights: np.ndarray, code_bits: int, vector: int) -> np.ndarray:
    """Entries, float32 (vector, 2**code_bits): every combination of evenly spaced values, as many in each place."""
    levels = np.linspace(weights.min(), weights.max(), 2 ** (code_bits // vector), dtype=np.float32)
    combined = np.stack(np.meshgrid(*[levels] * vector, indexing="ij")).reshape(vector, -1)
    return np.ascontiguousarray(np.resize(combined.T, (2**code_bits, vector)).T)


def _error(weights: np.ndarray, each: np.ndarray, apart: np.ndarray, palette: np.ndarray, codes: np.ndarray) -> float:
    """The weighted squared error of a palette, float16 (vector, entries), with these codes."""
    total, vector = 0.0, len(palette)
    for k, entries in enumerate(palette.astype(np.float32)):
        off = np.where(apart[k::vector], np.float32(0), weights[k::vector] - entries[codes])
        total += float(np.square(off, dtype=np.float64).sum(0) @ each)
    return total


def _first_entries(weights: np.ndarray, importance: np.ndarray, count: int, vector: int) -> np.ndarray:
    """Entries, float32 (vector, count), drawn from the vectors, with probabilities proportional to the weighted squared
    distance from the entries drawn before."""
    rng = np.random.default_rng(SEED)
    rows, columns = weights.shape
    places = rng.permutation(rows // vector * columns)[: SAMPLE * count]
    row, column = np.divmod(places, columns)
    points = np.stack([weights[row * vector + k, column] for k in range(vector)])
    weight = importance[column].astype(np.float64)
    entries = np.empty((vector, count), np.float32)
    distance = np.ones(len(places))
    for index in range(count):
        chances = np.cumsum(distance * weight)
        at = min(int(np.searchsorted(chances, rng.uniform() * chances[-1], side="right")), len(places) - 1)
        entries[:, index] = points[:, at]
        off = np.square(points - points[:, at : at + 1]).sum(0)
        distance = off if index == 0 else np.minimum(distance, off)
    return entries

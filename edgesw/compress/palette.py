"""Palettes: exact one-dimensional k-means over the values of a group of rows."""

from __future__ import annotations

import numpy as np

from edgesw.compress.float16 import to_float16
from edgesw.compress.threads import cores, threaded


def fit_palettes(
    weights: np.ndarray,
    bits: int,
    group: int,
    importance: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
) -> np.ndarray:
    """Palettes, float16 (groups, 2**bits) ascending, for every `group` rows (0: all) of float32 (rows, columns).

    Before entries are rounded to float16 they have the smallest possible squared error, if the weights are float16
    exactly; if not, clusters cut between float16 values only. The error of each column is weighted by its `importance`
    (columns,). Values where the boolean mask `held_out` is set do not count. Entries are clipped to float16's range.
    """
    from edgesw.compress.bins import Histogram, add_to_histogram, distinct_totals, empty_histogram
    from edgesw.compress.kmeans import exact_clusters

    rows, columns = weights.shape
    step = group or rows
    weights = np.ascontiguousarray(weights, np.float32)
    each = column_weights(columns, importance).astype(np.float64)
    nothing = np.zeros((0, 0), bool)

    def add(part: slice, histogram: Histogram) -> Histogram:
        mask = nothing if held_out is None else np.ascontiguousarray(held_out[part])
        add_to_histogram(weights[part], each, mask, histogram)
        return histogram

    def palette(histogram: Histogram) -> np.ndarray:
        count, mean = distinct_totals(histogram)
        return np.asarray(exact_clusters(histogram.totals[: count + 1], mean, 2**bits))

    def palettes_of(groups: slice) -> list[np.ndarray]:
        histogram = empty_histogram()
        starts = range(groups.start, groups.stop, step)
        return [palette(add(slice(start, min(start + step, groups.stop)), histogram)) for start in starts]

    if step >= rows:  # one large group: threads share its rows
        whole, *others = threaded(lambda part: add(part, empty_histogram()), _shares(rows, 1))
        for other in others:
            whole.weight[:] += other.weight
            whole.beyond[:] += other.beyond
            whole.marks[:] |= other.marks
            whole.any_beyond[:] |= other.any_beyond
        found = [palette(whole)]
    else:
        found = [entries for share in threaded(palettes_of, _shares(rows, step)) for entries in share]
    return to_float16(np.asarray(found))


def column_weights(columns: int, importance: np.ndarray | None) -> np.ndarray:
    """The weight of each column's squared error, (columns,): its importance relative to the mean, or 1 without one. A
    small constant is added, so that columns whose inputs are all zero still get a fit."""
    return np.ones(columns) if importance is None else importance / max(float(importance.mean()), 1e-30) + 1e-6


def encode_palettes(weights: np.ndarray, palettes: np.ndarray, group: int) -> np.ndarray:
    """Codes, uint8 (rows, columns): the index of the nearest entry in each value's palette."""
    from edgesw.compress.bins import encode, float16_of_bins

    rows = len(weights)
    step = group or rows
    weights = np.ascontiguousarray(weights, np.float32)
    codes = np.empty(weights.shape, np.uint8)
    float16s = float16_of_bins()

    def encode_share(share: slice) -> None:
        for start in range(share.start, share.stop, step):
            part = slice(start, min(start + step, share.stop))
            encode(weights[part], palettes[start // step].astype(np.float32), float16s, codes[part])

    threaded(encode_share, _shares(rows, 1 if step >= rows else step))
    return codes


def decode_palettes(codes: np.ndarray, palettes: np.ndarray, group: int) -> np.ndarray:
    """The matrix, float32 (rows, columns), for codes (rows / vector, columns) and palettes (groups, entries) or, with
    vectors, (groups, entries, vector)."""
    vector = 1 if palettes.ndim == 2 else palettes.shape[2]
    rows, columns = len(codes) * vector, codes.shape[1]
    own = np.arange(0, rows, vector) // (group or rows)
    values = palettes.astype(np.float32)[own[:, None], codes]
    return values if palettes.ndim == 2 else values.transpose(0, 2, 1).reshape(rows, columns)


def _shares(rows: int, step: int) -> list[slice]:
    """One slice of the rows per thread, each of whole groups of `step` rows."""
    each = -(-rows // step // cores()) * step or rows
    return [slice(start, min(start + each, rows)) for start in range(0, rows, each)]

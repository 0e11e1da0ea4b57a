"""Palettes: one-dimensional k-means over the values of a group of rows."""

from __future__ import annotations

import numpy as np

LLOYD_STEPS = 20


def fit_palettes(
    weights: np.ndarray,
    bits: int,
    group: int,
    importance: np.ndarray | None = None,
    held_out: np.ndarray | None = None,
) -> np.ndarray:
    """Palettes, float16 (groups, 2**bits) ascending, for every `group` rows (0: all) of float32 (rows, columns).

    The squared error of a column is weighted by its `importance` (columns,). Values where the boolean mask `held_out`
    is set do not count. Lloyd's iteration on the distinct values: each step is a few prefix sums.
    """
    rows, columns = weights.shape
    step = group or rows
    each = np.ones(columns) if importance is None else importance / max(float(importance.mean()), 1e-30) + 1e-6
    palettes = []
    for start in range(0, rows, step):
        values = weights[start : start + step]
        counts = np.broadcast_to(each, values.shape)
        if held_out is not None:
            counts = np.where(held_out[start : start + step], 0, counts)
        palettes.append(_palette(values.ravel(), counts.ravel(), 2**bits))
    return np.stack(palettes).astype(np.float16)


def encode_palettes(weights: np.ndarray, palettes: np.ndarray, group: int) -> np.ndarray:
    """Codes, uint8 (rows, columns): the nearest entry of each value's palette."""
    rows = weights.shape[0]
    step = group or rows
    codes = np.empty(weights.shape, np.uint8)
    for index, start in enumerate(range(0, rows, step)):
        palette = palettes[index].astype(np.float32)
        edges = (palette[1:] + palette[:-1]) / 2
        codes[start : start + step] = np.searchsorted(edges, weights[start : start + step])
    return codes


def _palette(values: np.ndarray, weights: np.ndarray, entries: int) -> np.ndarray:
    # Checkpoints hold 16-bit floats, so the distinct values are few and a histogram is exact.
    distinct, index = np.unique(values, return_inverse=True)
    counts = np.bincount(index, weights)
    distinct, counts = distinct[counts > 0], counts[counts > 0]
    if len(distinct) <= entries:
        return np.pad(distinct, (0, entries - len(distinct)), mode="edge")
    position = np.concatenate([[0.0], np.cumsum(counts)])
    total = np.concatenate([[0.0], np.cumsum(distinct * counts)])
    palette = _start(distinct, counts, entries)
    for _ in range(LLOYD_STEPS):
        edges = np.searchsorted(distinct, (palette[1:] + palette[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(distinct)]])
        weight, sums = np.diff(position[edges]), np.diff(total[edges])
        filled = np.diff(edges) > 0
        palette = np.sort(np.divide(sums, weight, out=palette, where=filled))
    return palette


def _start(distinct: np.ndarray, counts: np.ndarray, entries: int) -> np.ndarray:
    """Where Lloyd's iteration starts: entries as dense as the cube root of the density, which is optimal for many
    entries (Panter and Dite, 1951), and unlike quantiles reaches out to lone outliers."""
    edges = np.linspace(float(distinct[0]), float(distinct[-1]), 1025)
    density, _ = np.histogram(distinct, edges, weights=counts)
    reached = np.concatenate([[0.0], np.cumsum(np.cbrt(density))])
    return np.interp((np.arange(entries) + 0.5) * reached[-1] / entries, reached, edges)

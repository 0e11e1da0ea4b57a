"""One-dimensional k-means, solved exactly on a histogram of 16-bit keys; compiled with numba.

The optimum for k clusters is a partition of the sorted values into k runs. It is found by paying a price for each run:
for a given price the best partition into any number of runs takes one pass over the values, and the price at which it
has k runs is soon found, since runs grow with the cube root of the price (Grønlund et al., arXiv 1701.07204, section 4).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

BINS = 1 << 16
_PASSES = 64


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled without the interpreter's lock, and kept on disk where there is a place for it."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # nowhere to write: compiled anew in each process
        return numba.njit(nogil=True)(function)


@_compiled
def add_to_histogram(
    values: np.ndarray, each: np.ndarray, left_out: np.ndarray, weights: np.ndarray, sums: np.ndarray
) -> None:
    """Add float32 (rows, columns) to a histogram: `weights` and `sums` float64 (BINS,), of weight and weight * value.

    `each` (columns,) are the columns' weights; `left_out` is a boolean mask of the shape of `values`, or (0, 0).
    A bin is a float16 (subnormals included), in ascending order, so 16-bit values are kept apart exactly; a float32
    goes to the float16 next to it towards zero and counts there with its own value.
    """
    bits = values.view(np.uint32)
    masked = left_out.shape[0] > 0
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            if masked and left_out[row, column]:
                continue
            value, magnitude = values[row, column], np.int64(bits[row, column] & np.uint32(0x7FFFFFFF))
            if magnitude < 0x38800000:  # below float16's smallest normal number
                key = np.int64(abs(value) * np.float32(16777216.0))
            else:
                key = min((magnitude >> 13) - (112 << 10), np.int64(0x7BFF))
            at = 0x8000 + key if value >= 0 else 0x7FFF - key
            weights[at] += each[column]
            sums[at] += each[column] * value


@_compiled
def _part(total: np.ndarray, weights: np.ndarray, sums: np.ndarray, start: int, end: int) -> float:
    """Best value up to `start` with the run from `start` to `end` after it, which takes sum^2 / weight off the error."""
    run = sums[end] - sums[start]
    return total[start] + run * run / (weights[end] - weights[start])


@_compiled
def _best_runs(weights: np.ndarray, sums: np.ndarray, price: float, before: np.ndarray) -> int:
    """Runs of the partition with the largest sum of (sum^2 / weight - price) over runs; `before` gets each run's start.

    `weights` and `sums` are running totals (n + 1,). Starts only move forward as ends do (the error is Monge), so of
    each start it is enough to know from which end on it is the best.
    """
    count = weights.shape[0] - 1
    total, runs = np.empty(count + 1), np.empty(count + 1, np.int64)
    starts, since = np.empty(count + 1, np.int64), np.empty(count + 1, np.int64)
    total[0], runs[0], starts[0], since[0] = 0.0, 0, 0, 1
    head = tail = 0
    for end in range(1, count + 1):
        while head < tail and since[head + 1] <= end:
            head += 1
        start = starts[head]
        total[end] = _part(total, weights, sums, start, end) - price
        runs[end], before[end] = runs[start] + 1, start
        if end == count:
            break
        # Where does a run that begins here become better than all known ones?
        while True:
            known, low = starts[tail], max(since[tail], end + 1)
            if _part(total, weights, sums, end, low) >= _part(total, weights, sums, known, low):
                if tail == head:
                    starts[tail], since[tail] = end, low
                    break
                tail -= 1
                continue
            if _part(total, weights, sums, end, count) < _part(total, weights, sums, known, count):
                break
            high, step = count, 8
            while low + step < high:
                if _part(total, weights, sums, end, low + step) >= _part(total, weights, sums, known, low + step):
                    high = low + step
                    break
                low += step
                step *= 2
            while high - low > 1:
                middle = (low + high) >> 1
                if _part(total, weights, sums, end, middle) >= _part(total, weights, sums, known, middle):
                    high = middle
                else:
                    low = middle
            tail += 1
            starts[tail], since[tail] = end, high
            break
    return int(runs[count])


@_compiled
def _runs_by_count(weights: np.ndarray, sums: np.ndarray, clusters: int) -> np.ndarray:
    """Starts of the best partition into exactly `clusters` runs, by dynamic programming with divide and conquer.

    For values so regular that no price gives this number: every one of several numbers is then as good at one price.
    """
    count = weights.shape[0] - 1
    before = np.zeros((clusters, count + 1), np.int32)
    total, grown = np.zeros(count + 1), np.zeros(count + 1)
    for end in range(1, count + 1):
        total[end] = sums[end] * sums[end] / weights[end]
    stack = np.empty((64, 4), np.int64)
    for cluster in range(1, clusters):
        stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = cluster + 1, count, cluster, count - 1
        top = 0
        while top >= 0:
            low, high, first, last = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
            top -= 1
            end = (low + high) >> 1
            best, chosen = -1.0, first
            for start in range(first, min(last, end - 1) + 1):
                value = _part(total, weights, sums, start, end)
                if value > best:
                    best, chosen = value, start
            grown[end], before[cluster, end] = best, chosen
            if end < high:
                top += 1
                stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = end + 1, high, chosen, last
            if low < end:
                top += 1
                stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = low, end - 1, first, chosen
        total, grown = grown.copy(), total
    starts = np.zeros(clusters, np.int64)
    end = count
    for cluster in range(clusters - 1, 0, -1):
        end = before[cluster, end]
        starts[cluster] = end
    return starts


@_compiled
def _starting_price(weights: np.ndarray, values: np.ndarray, clusters: int) -> float:
    """The price for about this many runs: errors of many clusters follow the density (Panter and Dite, 1951)."""
    width = (values[-1] - values[0]) / 64
    density = np.zeros(65)
    for index in range(values.shape[0]):
        density[int((values[index] - values[0]) / width)] += weights[index] / width
    return float(2 * (np.cbrt(density).sum() * width) ** 3 / 12 / clusters**3)


@_compiled
def exact_clusters(histogram: np.ndarray, histogram_sums: np.ndarray, clusters: int) -> np.ndarray:
    """Centroids, float64 (clusters,) ascending, with the least weighted squared error of all. Where there are fewer
    values than clusters, each value is one and the last repeats."""
    filled = np.nonzero(histogram > 0)[0]
    count = len(filled)
    centroids = np.zeros(clusters)
    if count == 0:
        return centroids
    each, parts = histogram[filled], histogram_sums[filled]
    if count <= clusters:
        centroids[:count] = parts / each
        centroids[count:] = centroids[count - 1]
        return centroids
    weights, sums = np.zeros(count + 1), np.zeros(count + 1)
    weights[1:], sums[1:] = np.cumsum(each), np.cumsum(parts)
    before = np.zeros(count + 1, np.int64)
    price, low, high = _starting_price(each, parts / each, clusters), 0.0, np.inf
    runs = 0
    for turn in range(_PASSES):
        runs = _best_runs(weights, sums, price, before)
        if runs == clusters:
            break
        if runs > clusters:
            low = price
        else:
            high = price
        price *= (runs / clusters) ** 3
        if turn > 8 or not low < price < high:
            price = 2 * low if high == np.inf else high / 2 if low == 0 else np.sqrt(low * high)
        if high - low <= 1e-13 * high:
            break
    starts = np.zeros(clusters, np.int64)
    if runs == clusters:
        end = count
        for cluster in range(clusters - 1, -1, -1):
            end = before[end]
            starts[cluster] = end
    else:
        starts = _runs_by_count(weights, sums, clusters)
    for cluster in range(clusters):
        start, end = starts[cluster], starts[cluster + 1] if cluster + 1 < clusters else count
        centroids[cluster] = (sums[end] - sums[start]) / (weights[end] - weights[start])
    return centroids


@_compiled
def nearest(values: np.ndarray, palette: np.ndarray, codes: np.ndarray) -> None:
    """Write to `codes` (rows, columns) the nearest entry of an ascending float32 palette for each value."""
    edges = (palette[1:] + palette[:-1]) / 2
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            low, high = 0, len(edges)
            while low < high:
                middle = (low + high) >> 1
                if values[row, column] > edges[middle]:
                    low = middle + 1
                else:
                    high = middle
            codes[row, column] = low

"""One-dimensional k-means, solved exactly on a histogram of 16-bit keys; compiled with numba.

The optimum for k clusters is a partition of the sorted values into k runs. It is found by paying a price for each run:
for a given price the best partition into any number of runs takes one pass over the values, and the price at which it
has k runs is soon found, since runs fall with the price's cube root (Grønlund et al., arXiv 1701.07204, section 4).
Values so regular that no price gives k runs have a price at which more and fewer are equally good: two such partitions
are joined to one of k (Aggarwal, Schieber and Tokuyama, 1994, lemma 4).

Loops are written out where numpy has a word for them: numba compiles those in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

BINS = 1 << 16
_PASSES = 200  # more than any search takes; each pass is one over the distinct values


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled without the interpreter's lock, and kept on disk where there is a place for it."""
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # nowhere to write: compiled anew in each process
        return numba.njit(nogil=True, error_model="numpy")(function)


def _part(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled as part of what calls it, which is quicker than to make it callable from Python too."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True}
    return numba.njit(**options)(function)


@_part
def _bin(value: float, bits: int) -> int:
    """The bin of a float32, given also as its bits: float16's order, subnormals included, cut off towards zero."""
    magnitude = np.int64(bits & np.uint32(0x7FFFFFFF))
    if magnitude < 0x38800000:  # below float16's smallest normal number
        key = np.int64(abs(value) * np.float32(16777216.0))
    else:
        key = min((magnitude >> 13) - (112 << 10), np.int64(0x7BFF))
    return int(0x8000 + key if value >= 0 else 0x7FFF - key)


@_compiled
def add_to_histogram(
    values: np.ndarray, each: np.ndarray, left_out: np.ndarray, histogram: np.ndarray, filled: np.ndarray
) -> None:
    """Add float32 (rows, columns) to `histogram`, float64 (BINS, 2): weight and weight * value.

    `each` (columns,) are the columns' weights; `left_out` is a boolean mask of the shape of `values`, or (0, 0).
    A bin is a float16, so 16-bit values are kept apart exactly; a float32 counts with its own value in the bin of the
    float16 next to it towards zero, what is beyond float16's range in the last. `filled` (BINS / 8) marks bins in use
    by eights.
    """
    bits = values.view(np.uint32)
    masked = left_out.shape[0] > 0
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            if masked and left_out[row, column]:
                continue
            value = values[row, column]
            at = _bin(value, bits[row, column])
            histogram[at, 0] += each[column]
            histogram[at, 1] += each[column] * value
            filled[at >> 3] = True


@_part
def _running_totals(histogram: np.ndarray, filled: np.ndarray) -> tuple[np.ndarray, float]:
    """Running totals (n + 1, 2) of the filled bins, of weight and weight * (value - mean), and the mean. Empties both
    arguments."""
    totals = np.empty((BINS + 1, 2))
    totals[0, 0] = totals[0, 1] = 0.0
    count, weight, total = 0, 0.0, 0.0
    for eight in range(filled.shape[0]):
        if filled[eight]:
            filled[eight] = False
            for at in range(8 * eight, 8 * eight + 8):
                if histogram[at, 0] > 0:
                    count += 1
                    totals[count, 0], totals[count, 1] = histogram[at, 0], histogram[at, 1]
                    weight, total = weight + histogram[at, 0], total + histogram[at, 1]
                    histogram[at, 0] = histogram[at, 1] = 0.0
    mean = total / weight if count else 0.0
    end, weight, total = 0, 0.0, 0.0
    for at in range(1, count + 1):
        total += totals[at, 1] - mean * totals[at, 0]
        weight += totals[at, 0]
        if weight > totals[end, 0]:  # a weight too small to tell joins the next
            end += 1
        totals[end, 0], totals[end, 1] = weight, total
    return totals[: end + 1], mean


@_part
def _better(best: np.ndarray, totals: np.ndarray, new: int, known: int, end: int) -> bool:
    """Is the run from `new` to `end`, after the best up to `new`, as good as that from `known`? A run takes
    sum^2 / weight off the error. Both sides are multiplied by both weights: two divisions would take longer."""
    weight, sums = totals[end, 0] - totals[new, 0], totals[end, 1] - totals[new, 1]
    known_weight, known_sums = totals[end, 0] - totals[known, 0], totals[end, 1] - totals[known, 1]
    left = (best[new] - best[known]) * weight * known_weight + sums * sums * known_weight
    return bool(left >= known_sums * known_sums * weight)


@_part
def _best_runs(totals: np.ndarray, price: float, before: np.ndarray) -> tuple[int, float]:
    """How many runs the partition with the largest sum of (sum^2 / weight - price) over its runs has, and that sum
    without the price. `before` gets the start of the last run for each end.

    Starts only move forward as ends do (the error is Monge), so of each start it is enough to know from which end on it
    is the best.
    """
    count = totals.shape[0] - 1
    best = np.empty(count + 1)
    starts, since = np.empty(count + 1, np.int64), np.empty(count + 1, np.int64)
    best[0], starts[0], since[0] = 0.0, 0, 0
    head = tail = 0
    for end in range(1, count + 1):
        while head < tail and since[head + 1] <= end:
            head += 1
        start = starts[head]
        sums = totals[end, 1] - totals[start, 1]
        best[end] = best[start] + sums * sums / (totals[end, 0] - totals[start, 0]) - price
        before[end] = start
        # From which end on is a run that begins here better than those from all known starts?
        low = max(since[tail], end + 1)
        while end < count and _better(best, totals, end, starts[tail], low):
            if tail == head:
                tail -= 1
                break
            tail -= 1
            low = max(since[tail], end + 1)
        high, step = low, 1
        if tail >= head:
            while high < count:  # worse at `low`: is it better a little later?
                high = min(low + step, count)
                if _better(best, totals, end, starts[tail], high):
                    break
                low, step = high, 2 * step
            if low == high or end == count:
                continue
            while high - low > 1:
                middle = (low + high) >> 1
                if _better(best, totals, end, starts[tail], middle):
                    high = middle
                else:
                    low = middle
        tail += 1
        starts[tail], since[tail] = end, high
    runs, end = 0, count
    while end > 0:
        runs, end = runs + 1, before[end]
    return runs, best[count] + runs * price


@_part
def _starting_price(totals: np.ndarray, clusters: int) -> float:
    """The price for about this many runs: error falls with the cube of the integral of the density's cube root, over
    12 k^2 (Panter and Dite, 1951)."""
    count, root = totals.shape[0] - 1, 0.0
    step = max(1, count // 256)
    for cell in range(step, count - step + 1, step):
        weight = totals[cell, 0] - totals[cell - step, 0]
        here = (totals[cell, 1] - totals[cell - 1, 1]) / (totals[cell, 0] - totals[cell - 1, 0])
        after = cell + step
        there = (totals[after, 1] - totals[after - 1, 1]) / (totals[after, 0] - totals[after - 1, 0])
        root += (weight * (there - here) ** 2) ** (1 / 3)
    return max(root**3 / 6 / clusters**3, 1e-300)


@_part
def _joined(more: np.ndarray, fewer: np.ndarray, clusters: int) -> np.ndarray:
    """Ends of a partition into `clusters` runs, no worse than two that are best at one price and have more and fewer.

    It follows `more` until an edge of it lies within one of `fewer`, and then `fewer`.
    """
    ahead = clusters - (len(fewer) - 1)
    at = 0
    while more[at + 1 + ahead] > fewer[at + 1]:
        at += 1
    ends = np.empty(clusters + 1, np.int64)
    for end in range(clusters + 1):
        ends[end] = more[end] if end <= at + ahead else fewer[end - ahead]
    return ends


@_part
def _ends(before: np.ndarray, runs: int, count: int) -> np.ndarray:
    """Ends of a partition's runs (runs + 1,), with 0 at the front."""
    ends = np.zeros(runs + 1, np.int64)
    ends[runs] = count
    for run in range(runs - 1, 0, -1):
        ends[run] = before[ends[run + 1]]
    return ends


@_part
def _partition(totals: np.ndarray, clusters: int, price: float) -> tuple[np.ndarray, float]:
    """Ends (clusters + 1,) of the best partition into `clusters` runs, and the price that gave it, from a first guess.

    Prices that give too many and too few runs close in on it. The price at which two partitions are equally good is
    where a third between them is better, if there is one: after that there is none, and they are joined.
    """
    count = totals.shape[0] - 1
    before = np.zeros(count + 1, np.int64)
    # What is best at no price and at any price: every value by itself, and all together.
    more, fewer = np.arange(count + 1), np.arange(0, 2 * count, count)
    low, high, gain_of_more, gain_of_fewer = 0.0, np.inf, 0.0, 0.0
    for value in range(count):
        weight, sums = totals[value + 1, 0] - totals[value, 0], totals[value + 1, 1] - totals[value, 1]
        gain_of_more += sums * sums / weight
    tie = False
    for turn in range(_PASSES):
        runs, gain = _best_runs(totals, price, before)
        ends = _ends(before, runs, count)
        if runs == clusters:
            return ends, price
        if tie and (runs >= len(more) - 1 or runs <= len(fewer) - 1):
            break
        if runs > clusters:
            more, low, gain_of_more = ends, price, gain
        else:
            fewer, high, gain_of_fewer = ends, price, gain
        tie = len(more) - len(fewer) <= 3 or turn > 12
        if tie:
            price = (gain_of_more - gain_of_fewer) / (len(more) - len(fewer))
        elif low > 0 and high < np.inf:
            part = np.log((len(more) - 1) / clusters) / np.log((len(more) - 1) / (len(fewer) - 1))
            price = low * (high / low) ** part
        else:  # further than the law says, more so every time, so as to have a price on either side
            further = min(0.5, 2.0**turn * 0.5 / clusters)
            price *= (runs / clusters) ** 3 * (1 + further if runs > clusters else 1 - further)
    return _joined(more, fewer, clusters), price


@_part
def _centroids(totals: np.ndarray, mean: float, centroids: np.ndarray) -> None:
    """Write to `centroids` (clusters,) those with the least weighted squared error of all, ascending. Where there are
    fewer values than clusters, each value is one and the last repeats; 0 where there are none."""
    count, clusters = totals.shape[0] - 1, len(centroids)
    for cluster in range(clusters):
        centroids[cluster] = 0.0
    if count <= clusters:
        ends = np.arange(count + 1)
    else:
        price = _starting_price(totals, clusters)
        step = count // (8 * clusters)
        if step > 1:  # a coarse look at it, cheap, brings the price close
            coarse = np.zeros((count // step + 1, 2))
            for at in range(1, len(coarse)):
                coarse[at, 0], coarse[at, 1] = totals[count % step + at * step, 0], totals[count % step + at * step, 1]
            price = _partition(coarse, clusters, price)[1]
        ends = _partition(totals, clusters, price)[0]
    for run in range(len(ends) - 1):
        start, end = ends[run], ends[run + 1]
        centroids[run] = mean + (totals[end, 1] - totals[start, 1]) / (totals[end, 0] - totals[start, 0])
    for cluster in range(max(1, count), clusters):
        centroids[cluster] = centroids[cluster - 1]


@_compiled
def exact_clusters(histogram: np.ndarray, filled: np.ndarray, clusters: int) -> np.ndarray:
    """The centroids, float64 (clusters,), of what `add_to_histogram` added up. Empties its arguments."""
    totals, mean = _running_totals(histogram, filled)
    centroids = np.empty(clusters)
    _centroids(totals, mean, centroids)
    return centroids


@_compiled
def encode(values: np.ndarray, palette: np.ndarray, codes: np.ndarray) -> None:
    """Write to `codes` (rows, columns) the nearest entry of an ascending float32 palette for each float32 value.

    A table by bin says how many edges lie below the whole bin; those within it are compared one by one.
    """
    edges = np.full(len(palette), np.float32(np.inf))
    for code in range(len(palette) - 1):
        edges[code] = (palette[code] + palette[code + 1]) / 2
    edge_bits, bits = edges.view(np.uint32), values.view(np.uint32)
    table = np.empty(BINS, np.uint8)
    start = 0
    for code in range(len(palette)):
        end = _bin(edges[code], edge_bits[code]) + 1 if code < len(palette) - 1 else BINS
        table[start:end] = code
        start = end
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            value = values[row, column]
            code = table[_bin(value, bits[row, column])]
            while value > edges[code]:
                code += 1
            codes[row, column] = code

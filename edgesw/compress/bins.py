"""Bins of values, one per float16, from which palettes are fitted and codes looked up; compiled with numba.

Bins are in the order of their float16 values. One loop over a row finds the bins; it has no branches, so that the
compiler vectorizes it. The rest is a table look-up for each value.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from edgesw.compress.compiled import kernel, subroutine

BINS = 1 << 16
_SHIFT = 3  # a mark for every 8 bins


class Histogram(NamedTuple):
    """The weight in each bin, empty between uses, and the memory that goes with it."""

    weight: np.ndarray  # float64 (BINS,)
    beyond: np.ndarray  # float64 (BINS,): weight times the difference of the value from the bin's float16
    any_beyond: np.ndarray  # bool (1,): is there anything in `beyond`?
    marks: np.ndarray  # bool (BINS / 8,): which eights of bins are in use
    values: np.ndarray  # float32 (BINS,): the float16 of each bin
    totals: np.ndarray  # float64 (BINS + 1, 2)


@cache
def float16_of_bins() -> np.ndarray:
    """The float16 of each bin, float32 (BINS,); 0 for bins that are never used."""
    magnitudes = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    values = np.zeros(BINS, np.float32)
    values[0x8000 : 0x8000 + 0x7C00] = magnitudes
    values[0x7FFF : 0x7FFF - 0x7C00 : -1] = -magnitudes
    return values


def empty_histogram() -> Histogram:
    marks, any_beyond = np.zeros(BINS >> _SHIFT, bool), np.zeros(1, bool)
    return Histogram(np.zeros(BINS), np.zeros(BINS), any_beyond, marks, float16_of_bins(), np.empty((BINS + 1, 2)))


@subroutine
def _find_bins(values: np.ndarray, bits: np.ndarray, bins: np.ndarray) -> bool:
    """Writes the bins of float32 `values`, which are also given as int32 `bits`, to `bins`, uint16. A value between two
    float16 goes to the bin of the one nearer to zero, one beyond float16's range to the last bin. Returns whether all
    values are float16 exactly."""
    apart = np.int32(0)
    for at in range(len(values)):
        magnitude = bits[at] & np.int32(0x7FFFFFFF)
        normal = min((magnitude >> np.int32(13)) - np.int32(112 << 10), np.int32(0x7BFF))
        small = min(abs(values[at]), np.float32(1e-3)) * np.float32(16777216.0)
        below = np.int32(small)  # below float16's smallest normal number its numbers are multiples of 2^-24
        is_small = magnitude < np.int32(0x38800000)
        key = below if is_small else normal
        bins[at] = 0x8000 + key if values[at] >= 0 else 0x7FFF - key
        lost = np.float32(below) != small if is_small else magnitude != (normal + np.int32(112 << 10)) << np.int32(13)
        apart |= np.int32(lost)
    return bool(apart == 0)


@kernel
def add_to_histogram(values: np.ndarray, each: np.ndarray, left_out: np.ndarray, histogram: Histogram) -> None:
    """Adds float32 (rows, columns) to the histogram. `each` (columns,) are the columns' weights; `left_out` is a
    boolean mask of the shape of `values`, or (0, 0) for none.

    Every float16 has a bin of its own; any other value counts with its exact value in the bin that `_find_bins` gives.
    """
    weight, marks = histogram.weight, histogram.marks
    bins = np.empty(values.shape[1], np.uint16)
    for row in range(values.shape[0]):
        here = values[row]
        exact = _find_bins(here, here.view(np.int32), bins)
        if left_out.shape[0] == 0:
            for column in range(len(bins)):
                weight[bins[column]] += each[column]
                marks[bins[column] >> _SHIFT] = True
        else:
            for column in range(len(bins)):
                if not left_out[row, column]:
                    weight[bins[column]] += each[column]
                    marks[bins[column] >> _SHIFT] = True
        if not exact:
            histogram.any_beyond[0] = True
            for column in range(len(bins)):
                more = here[column] - histogram.values[bins[column]]
                if more != 0 and (left_out.shape[0] == 0 or not left_out[row, column]):
                    histogram.beyond[bins[column]] += each[column] * more


@kernel
def distinct_totals(histogram: Histogram) -> tuple[int, float]:
    """Returns the number of filled bins and the mean of the values. `histogram.totals` gets a running total for each
    filled bin, after a first one of zero: weight and weight * (value - mean). The rest of the histogram is emptied."""
    weights, totals = histogram.weight, histogram.totals
    any_beyond = histogram.any_beyond[0]
    histogram.any_beyond[0] = False
    count, weight, total = 0, 0.0, 0.0
    for mark in range(len(histogram.marks)):
        if histogram.marks[mark]:
            histogram.marks[mark] = False
            for at in range(mark << _SHIFT, (mark + 1) << _SHIFT):
                # Written for empty bins too, and overwritten: a branch here would often be mispredicted.
                here = weights[at]
                sum_here = here * histogram.values[at]
                if any_beyond:
                    sum_here += histogram.beyond[at]
                    histogram.beyond[at] = 0.0
                totals[count + 1, 0], totals[count + 1, 1] = here, sum_here
                count += here > 0
                weight += here
                total += sum_here
                weights[at] = 0.0
    mean = total / weight if count else 0.0
    totals[0, 0] = totals[0, 1] = 0.0
    end, weight, total = 0, 0.0, 0.0
    for at in range(1, count + 1):
        total += totals[at, 1] - mean * totals[at, 0]
        weight += totals[at, 0]
        if weight > totals[end, 0]:  # a weight that vanishes in the sum joins the next bin
            end += 1
        totals[end, 0], totals[end, 1] = weight, total
    return end, mean


@subroutine
def _bin_of(value: float, one: np.ndarray, found: np.ndarray) -> int:
    one[0] = value
    _find_bins(one, one.view(np.int32), found)
    return int(found[0])


@kernel
def encode(values: np.ndarray, palette: np.ndarray, float16s: np.ndarray, codes: np.ndarray) -> None:
    """Writes the index of the nearest entry of an ascending float32 palette for each float32 value to `codes` (rows,
    columns). `float16s` are the values of the bins.

    There are two tables by bin: the code of the bin's float16; and, for rows with other values, the number of edges
    between entries that lie below the whole bin. Edges within the bin are compared one by one.
    """
    edges = np.full(len(palette), np.float32(np.inf))
    nearest, least = np.empty(BINS, np.uint8), np.empty(BINS, np.uint8)
    bins, one = np.empty(values.shape[1], np.uint16), np.empty(1, np.float32)
    start = low = 0
    for code in range(len(palette)):
        end = high = BINS
        if code < len(palette) - 1:
            edges[code] = (palette[code] + palette[code + 1]) / 2
            at = _bin_of(edges[code], one, bins)
            high = at + 1
            end = at + (float16s[at] <= edges[code])
        nearest[start:end] = code
        least[low:high] = code
        start, low = end, high
    for row in range(values.shape[0]):
        here = values[row]
        if _find_bins(here, here.view(np.int32), bins):
            for column in range(len(bins)):
                codes[row, column] = nearest[bins[column]]
        else:
            for column in range(len(bins)):
                code = least[bins[column]]
                while here[column] > edges[code]:
                    code += 1
                codes[row, column] = code

"""One-dimensional k-means, solved exactly on the distinct values and their weights; compiled with numba.

The optimum for k clusters is a partition of the sorted values into k runs. Each run is given a price: for a given price
one pass over the values finds the best partition into any number of runs, and a few passes find the price at which it
has k, since the number of runs falls with the price's cube root (Grønlund et al., arXiv 1701.07204, section 4). If the
values are so regular that no price gives k runs, there is one at which partitions into more and into fewer runs are
equally good; two such partitions are joined to one of k (Aggarwal, Schieber and Tokuyama, 1994, lemma 4).

Loops are written out even where numpy has a function: numba compiles loops in a fraction of the time.
"""

from __future__ import annotations

import numpy as np

from edgesw.compress.compiled import kernel, subroutine

_PASSES = 200  # over the distinct values: more than any search takes
_CELLS = 8  # per cluster, in the coarse search


@subroutine
def _better(best: np.ndarray, totals: np.ndarray, new: int, known: int, end: int) -> bool:
    """Whether the run from `new` to `end`, after the best runs up to `new`, is as good as the one from `known`. A run
    reduces the error by sum^2 / weight. Both sides are multiplied by both weights: two divisions would take longer."""
    weight, sums = totals[end, 0] - totals[new, 0], totals[end, 1] - totals[new, 1]
    known_weight, known_sums = totals[end, 0] - totals[known, 0], totals[end, 1] - totals[known, 1]
    left = (best[new] - best[known]) * weight * known_weight + sums * sums * known_weight
    return bool(left >= known_sums * known_sums * weight)


@subroutine
def _best_runs(totals: np.ndarray, price: float, before: np.ndarray) -> int:
    """The number of runs in the partition with the largest sum of (sum^2 / weight - price) over its runs. `before` gets
    the start of the last run for each end.

    As ends move forward, best starts never move back (the error is Monge): for each start it is enough to know the
    first end for which it is the best.
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
        # The first end for which a run that begins here is better than those from all known starts.
        low = max(since[tail], end + 1)
        while end < count and _better(best, totals, end, starts[tail], low):
            if tail == head:
                tail -= 1
                break
            tail -= 1
            low = max(since[tail], end + 1)
        high, step = low, 1
        if tail >= head:
            while high < count:  # worse at `low`: tries later ends
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
    return runs


@subroutine
def _starting_price(totals: np.ndarray, clusters: int) -> float:
    """A price that gives about this many runs. The error is the cube of the integral of the density's cube root,
    divided by 12 k^2 (Panter and Dite, 1951)."""
    count, root = totals.shape[0] - 1, 0.0
    step = max(1, count // 64)
    for cell in range(step, count - step + 1, step):
        weight = totals[cell, 0] - totals[cell - step, 0]
        here = (totals[cell, 1] - totals[cell - 1, 1]) / (totals[cell, 0] - totals[cell - 1, 0])
        after = cell + step
        there = (totals[after, 1] - totals[after - 1, 1]) / (totals[after, 0] - totals[after - 1, 0])
        root += (weight * (there - here) ** 2) ** (1 / 3)
    return max(root**3 / 6 / clusters**3, 1e-300)


@subroutine
def _joined(more: np.ndarray, fewer: np.ndarray, clusters: int) -> np.ndarray:
    """Ends of a partition into `clusters` runs, made of two that are the best at one price and have more and fewer
    runs. It is as good as they are: it follows `more` until one of its runs lies within a run of `fewer`, and then
    `fewer`."""
    ahead = clusters - (len(fewer) - 1)
    at = 0
    while more[at + 1 + ahead] > fewer[at + 1]:
        at += 1
    ends = np.empty(clusters + 1, np.int64)
    for end in range(clusters + 1):
        ends[end] = more[end] if end <= at + ahead else fewer[end - ahead]
    return ends


@subroutine
def _ends(before: np.ndarray, runs: int, count: int) -> np.ndarray:
    """Ends of a partition's runs (runs + 1,), with 0 at the front."""
    ends = np.zeros(runs + 1, np.int64)
    ends[runs] = count
    for run in range(runs - 1, 0, -1):
        ends[run] = before[ends[run + 1]]
    return ends


@subroutine
def _gain(totals: np.ndarray, ends: np.ndarray) -> float:
    """By how much a partition reduces the error: the sum of sum^2 / weight over its runs."""
    gain = 0.0
    for run in range(len(ends) - 1):
        start, end = ends[run], ends[run + 1]
        gain += (totals[end, 1] - totals[start, 1]) ** 2 / (totals[end, 0] - totals[start, 0])
    return gain


@subroutine
def _partition(totals: np.ndarray, clusters: int, price: float) -> tuple[np.ndarray, float]:
    """Ends (clusters + 1,) of the best partition into `clusters` runs, and the price that gave it.

    The search begins at `price` and narrows down between prices that give too many and too few runs. At the price where
    two partitions are equally good, one between them is better if there is any; if there is none, they are joined.
    """
    count = totals.shape[0] - 1
    before = np.zeros(count + 1, np.int64)
    # The best partitions at a price of zero and at a very high one: every value by itself, and all together.
    more, fewer = np.arange(count + 1), np.arange(0, 2 * count, count)
    low, high = 0.0, np.inf
    tie = False
    for turn in range(_PASSES):
        runs = _best_runs(totals, price, before)
        ends = _ends(before, runs, count)
        if runs == clusters:
            return ends, price
        if tie and (runs >= len(more) - 1 or runs <= len(fewer) - 1):
            break
        if runs > clusters:
            more, low = ends, price
        else:
            fewer, high = ends, price
        tie = len(more) - len(fewer) <= 3 or turn > 12
        if tie:
            price = (_gain(totals, more) - _gain(totals, fewer)) / (len(more) - len(fewer))
        elif low > 0 and high < np.inf:
            part = np.log((len(more) - 1) / clusters) / np.log((len(more) - 1) / (len(fewer) - 1))
            price = low * (high / low) ** part
        else:  # a little further than the law says, and more every time, to get a price on either side
            further = min(0.5, 2.0**turn * 0.5 / clusters)
            price *= (runs / clusters) ** 3 * (1 + further if runs > clusters else 1 - further)
    return _joined(more, fewer, clusters), price


@subroutine
def _coarse(totals: np.ndarray, clusters: int) -> np.ndarray:
    """Running totals of cells, several per cluster. None has more than its share of the values, or of their range, so
    that outliers have cells of their own."""
    count, cells = totals.shape[0] - 1, _CELLS * clusters
    first = totals[1, 1] / totals[1, 0]
    last = (totals[count, 1] - totals[count - 1, 1]) / (totals[count, 0] - totals[count - 1, 0])
    most, furthest = count // cells, (last - first) / cells
    coarse = np.zeros((count + 1, 2))
    cell, start, end_of_cell = 0, 0, first + furthest
    for at in range(1, count):
        weight, total = totals[at + 1, 0] - totals[at, 0], totals[at + 1, 1] - totals[at, 1]
        if at - start >= most or total > end_of_cell * weight:  # the next value begins a cell
            cell += 1
            coarse[cell, 0], coarse[cell, 1] = totals[at, 0], totals[at, 1]
            start, end_of_cell = at, total / weight + furthest
    cell += 1
    coarse[cell, 0], coarse[cell, 1] = totals[count, 0], totals[count, 1]
    return coarse[: cell + 1]


@kernel
def exact_clusters(totals: np.ndarray, mean: float, clusters: int) -> np.ndarray:
    """The centroids, float64 (clusters,) ascending, with the smallest possible weighted squared error.

    `totals` (n + 1, 2) are running totals of weight and weight * (value - mean) over n ascending values, beginning with
    zeros. With fewer values than clusters each value is a centroid and the last one repeats; without any all are 0.
    """
    count = totals.shape[0] - 1
    centroids = np.zeros(clusters)
    if count <= clusters:
        ends = np.arange(count + 1)
    else:
        price = _starting_price(totals, clusters)
        if count > 2 * _CELLS * clusters:  # a search over fewer values, which is cheap, gives a close price
            price = _partition(_coarse(totals, clusters), clusters, price)[1]
        ends = _partition(totals, clusters, price)[0]
    for run in range(len(ends) - 1):
        start, end = ends[run], ends[run + 1]
        centroids[run] = mean + (totals[end, 1] - totals[start, 1]) / (totals[end, 0] - totals[start, 0])
    for cluster in range(max(1, count), clusters):
        centroids[cluster] = centroids[cluster - 1]
    return centroids

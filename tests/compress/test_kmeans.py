"""One-dimensional k-means, compared with an exact solver and with textbook dynamic programming."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edgesw.compress.bins import Histogram, add_to_histogram, distinct_totals, empty_histogram
from edgesw.compress.kmeans import exact_clusters

VALUES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, count: rng.standard_normal(count) * 0.2,
    "heavy tails": lambda rng, count: rng.standard_t(1.2, count),
    "regular grid": lambda rng, count: (np.arange(count) - count // 2) / 64,  # many partitions are equally good
    "even clumps": lambda rng, count: np.repeat(np.arange(-(-count // 7)) / 8, 7)[:count],
    "few values": lambda rng, count: rng.choice([-0.5, 0.0, 0.25, 3.0], count),
    "one value": lambda rng, count: np.full(count, -0.37),
    "outliers": lambda rng, count: np.where(rng.uniform(size=count) < 0.01, 60.0, 0.05) * rng.standard_normal(count),
    "far from zero": lambda rng, count: 500 + rng.standard_normal(count),
    "tiny and large": lambda rng, count: rng.standard_normal(count) * rng.choice([1e-7, 1e-3, 1e3], count),
}


def histogram_of(values: np.ndarray, each: np.ndarray) -> Histogram:
    histogram = empty_histogram()
    add_to_histogram(values[None], each, np.zeros((0, 0), bool), histogram)
    return histogram


def centroids_of(histogram: Histogram, clusters: int) -> np.ndarray:
    count, mean = distinct_totals(histogram)
    return np.asarray(exact_clusters(histogram.totals[: count + 1], mean, clusters))


def error(values: np.ndarray, each: np.ndarray, centroids: np.ndarray) -> float:
    distances = np.abs(values.astype(np.float64)[:, None] - centroids).min(1)
    return float((each * distances**2).sum())


def least_error(values: np.ndarray, each: np.ndarray, clusters: int) -> float:
    """E[k][j] = min over i of E[k - 1][i] + cost(i, j), over sorted values: every start is tried."""
    order = np.argsort(values)
    x, w = values[order].astype(np.float64), each[order]
    x = x - np.average(x, weights=w)
    zero, one, two = (np.concatenate([[0], np.cumsum(w * x**power)]) for power in (0, 1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        cost = two - two[:, None] - (one - one[:, None]) ** 2 / (zero - zero[:, None])
    cost[np.tril_indices(len(cost))] = np.inf  # a run is not empty
    total = cost[0]
    for _ in range(clusters - 1):
        total = np.minimum(total, (total[:, None] + cost).min(0))
    return float(total[-1])


@pytest.mark.parametrize("kind", VALUES)
def test_no_palette_has_less_error_than_ours(kind: str) -> None:
    """A palette short of the optimum costs quality for nothing, at every width and whatever the weights look like."""
    # Exact one-dimensional k-means; coremltools has no native build for every machine.
    kmeans1d = pytest.importorskip("coremltools._deps.kmeans1d")
    rng = np.random.default_rng(7)
    for count, clusters in [
        (1, 1),
        (5, 16),
        (300, 1),
        (900, 2),
        (2000, 4),
        (900, 5),
        (2000, 16),
        (900, 64),
        (2000, 256),
    ]:
        values = VALUES[kind](rng, count).astype(np.float16).astype(np.float32)
        each = np.ones(count)
        ours = centroids_of(histogram_of(values, each), clusters)
        best = np.array(kmeans1d.cluster(values.astype(np.float64), clusters).centroids)
        rounding = 1e-14 * np.square(values.astype(np.float64)).sum()
        assert error(values, each, ours) <= error(values, each, best) * (1 + 1e-9) + rounding
        assert (np.diff(ours) >= 0).all()


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("clusters", [1, 2, 3, 8, 30])
def test_weighted_error_is_the_least_there_is(kind: str, clusters: int) -> None:
    """Columns that matter must draw entries to them: with calibration every column has another weight."""
    rng = np.random.default_rng(clusters)
    values = VALUES[kind](rng, 150).astype(np.float16).astype(np.float32)
    each = rng.uniform(size=150) ** 6 + 1e-6
    ours = centroids_of(histogram_of(values, each), clusters)
    rounding = 1e-13 * float((each * values.astype(np.float64) ** 2).sum())
    assert error(values, each, ours) <= least_error(values, each, clusters) * (1 + 1e-9) + rounding


def test_where_no_price_gives_the_number_two_partitions_are_joined() -> None:
    """Equal gaps: 8 pairs of values cost the same to tell apart, so the error falls by equal steps from 8 to 16 runs.
    A search by price alone would never end there, or return the wrong number of entries."""
    values = np.sort(np.concatenate([np.arange(8), np.arange(8) + 0.125])).astype(np.float32)
    for clusters in range(8, 17):
        centroids = centroids_of(histogram_of(values, np.ones(16)), clusters)
        assert len(np.unique(centroids)) == clusters
        assert error(values, np.ones(16), centroids) == pytest.approx((16 - clusters) * 2 * 0.0625**2)


def test_float32_values_count_as_they_are() -> None:
    """Checkpoints in float32 are not rounded to float16 before the fit: the centroid is their own mean."""
    values = np.array([1.00001, 1.00002, -2.00003], np.float32)
    centroids = centroids_of(histogram_of(values, np.ones(3)), 2)
    assert centroids == pytest.approx([-2.00003, 1.000015], rel=1e-6)

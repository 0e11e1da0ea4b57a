"""Bins, which every value goes through, compared with numpy."""

from __future__ import annotations

import numpy as np
import pytest

from edgesw.compress.bins import add_to_histogram, distinct_totals, empty_histogram, encode, float16_of_bins

NOTHING = np.zeros((0, 0), bool)


def test_every_float16_has_a_bin_of_its_own() -> None:
    """Two 16-bit values in one bin would share an entry for no reason: all of them, subnormals and both zeros too."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    values = halves[np.isfinite(halves)][None]
    histogram = empty_histogram()
    add_to_histogram(values, np.ones(values.shape[1]), NOTHING, histogram)
    assert not histogram.any_beyond[0]
    count, mean = distinct_totals(histogram)
    distinct = np.unique(values)  # -0.0 is 0.0 there
    totals = histogram.totals[: count + 1]
    assert len(distinct) == count
    assert mean == 0
    assert np.diff(totals[:, 1]) / np.diff(totals[:, 0]) == pytest.approx(distinct, rel=1e-6, abs=1e-6)


def test_held_out_places_leave_nothing_behind() -> None:
    """A held-out scalar that still counted would pull an entry towards itself, weighted or not, 16-bit or float32."""
    rng = np.random.default_rng(2)
    values = rng.standard_normal((6, 50)).astype(np.float32)
    values[:3] = values[:3].astype(np.float16)
    mask = rng.uniform(size=values.shape) < 0.3
    each = rng.uniform(size=50)
    histogram = empty_histogram()
    add_to_histogram(values, each, mask, histogram)
    kept = np.broadcast_to(each, values.shape)[~mask]
    count, mean = distinct_totals(histogram)
    assert mean == pytest.approx(np.average(values[~mask], weights=kept), rel=1e-6)
    assert histogram.totals[count, 0] == pytest.approx(kept.sum())


def test_a_histogram_is_emptied_for_the_next_group() -> None:
    """The next group of rows starts with the same memory: anything left in it would leak into its palette."""
    histogram = empty_histogram()
    add_to_histogram(np.linspace(-3, 3, 500, dtype=np.float32)[None], np.ones(500), NOTHING, histogram)
    assert histogram.any_beyond[0]
    distinct_totals(histogram)
    assert not any(part.any() for part in (histogram.weight, histogram.beyond, histogram.any_beyond, histogram.marks))


def test_codes_of_float16_rows_are_those_of_the_comparison() -> None:
    """16-bit rows take their codes from a table: for every float16 it must say what comparing with each entry says,
    ties between entries and edges at, before and after zero included."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    values = halves[np.isfinite(halves)][None]
    for entries in (
        [-1.0, 1.0],
        [-3.0, -1.0, -1.0, 2.0],
        [-6e-8, 0.0, 6e-8, 1.2e-7],
        [-65504.0, -65472.0, 0.1, 65504.0],
    ):
        palette = np.array(entries, np.float16).astype(np.float32)
        codes = np.empty(values.shape, np.uint8)
        encode(values, palette, float16_of_bins(), codes)
        edges = (palette[1:] + palette[:-1]) / 2
        assert (codes[0] == np.searchsorted(edges, values[0], side="left")).all()


def test_codes_are_of_the_nearest_entry() -> None:
    """A code of another entry is an error that no palette makes good: float32 values right and left of every edge,
    entries closer than a bin, repeated entries, zeros of both signs, subnormals, values beyond float16's range."""
    rng = np.random.default_rng(3)
    for entries in (1, 2, 4, 16, 256):
        spread = rng.standard_normal(entries) * rng.choice([1e-8, 1e-3, 1.0, 1e4], entries)
        palette = np.sort(spread.astype(np.float16).astype(np.float32))
        palette[entries // 2 :: 3] = palette[entries // 2]
        palette = np.sort(palette)
        edges = (palette[1:] + palette[:-1]) / 2
        near = [np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf)), edges, palette]
        far = np.array([0.0, -0.0, 1e-9, -1e-9, 6e-8, 1e6, -1e6, 65504, -65504], np.float32)
        values = np.concatenate([*near, far, rng.standard_normal(500).astype(np.float32)])[None]
        codes = np.empty(values.shape, np.uint8)
        encode(values, palette, float16_of_bins(), codes)
        distance = np.abs(values[0].astype(np.float64)[:, None] - palette)
        chosen = np.take_along_axis(distance, codes[0][:, None].astype(np.int64), 1)[:, 0]
        assert (chosen <= distance.min(1) * (1 + 1e-6)).all()

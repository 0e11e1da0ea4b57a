"""Palettes, against an exact solver."""

from __future__ import annotations

import numpy as np
import pytest

from edgesw.compress.decoder import compress_matrix
from edgesw.compress.matrix import Scheme


@pytest.mark.parametrize(("bits", "most"), [(2, 1.01), (3, 1.01), (4, 1.02), (6, 1.2)])
def test_error_is_near_the_optimum(bits: int, most: float) -> None:
    """A bad palette costs quality for nothing: the squared error stays within this factor of the exact optimum's."""
    # Exact one-dimensional k-means; coremltools has no native build for every machine.
    kmeans1d = pytest.importorskip("coremltools._deps.kmeans1d")
    x = np.random.default_rng(bits).standard_normal((32, 576)).astype(np.float16).astype(np.float32)
    matrix = compress_matrix(x, Scheme("palette", bits, 16))
    best = 0.0
    for part in np.split(x, 2):
        codes, centroids = kmeans1d.cluster(part.ravel().astype(np.float64), 2**bits)
        best += np.square(np.array(centroids)[codes] - part.ravel()).sum()
    assert np.square(matrix.dequantize() - x).sum() <= most * best


def test_each_group_of_rows_has_its_own_palette() -> None:
    """Groups of rows with other ranges must not share entries, or the small ones vanish."""
    x = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    x[16:] *= 1e-3
    matrix = compress_matrix(x, Scheme("palette", 4, 16))
    assert matrix.palettes is not None
    assert matrix.palettes.shape == (2, 16)
    error = np.square(matrix.dequantize() - x)
    assert error[16:].mean() < 0.02 * np.square(x[16:]).mean()


def test_few_distinct_values_are_exact() -> None:
    """A ternary matrix fits a palette without loss; anything else would be damage for nothing."""
    x = np.random.default_rng(0).choice([-0.5, 0.0, 0.5], (8, 32)).astype(np.float32)
    assert (compress_matrix(x, Scheme("palette", 2, 0)).dequantize() == x).all()


def test_an_outlier_is_merged_without_hold_out_and_exact_with_it() -> None:
    """The reason for this project: squared error sacrifices one scalar of 5.875 among many small ones."""
    x = np.random.default_rng(0).standard_normal((256, 512)).astype(np.float32) * 0.1
    x[7, 300] = 5.875
    scheme = Scheme("palette", 3, 0)
    plain, held = compress_matrix(x, scheme), compress_matrix(x, scheme, held_out=[(7, 300)])
    assert plain.dequantize()[7, 300] < 2
    assert held.dequantize()[7, 300] == pytest.approx(5.875, rel=2**-10)
    assert np.square(held.dequantize() - x).sum() < np.square(plain.dequantize() - x).sum()

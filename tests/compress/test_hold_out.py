"""Held-out scalars: exact in the matrix, and no part of what the dense part is fitted to."""

from __future__ import annotations

import numpy as np
import pytest

from edgesw.compress.decoder import compress_matrix
from edgesw.compress.matrix import Scheme

SCHEMES = [Scheme("palette", 4, 16), Scheme("palette", 2, 0), Scheme("block", 4, 32), Scheme("block", 2, 32, True)]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_correction_restores_the_scalars(scheme: Scheme) -> None:
    """y = x @ dense.T + x[columns] @ delta must equal x times the true scalars: that is what the graphs compute."""
    x = np.random.default_rng(3).standard_normal((32, 64)).astype(np.float32) * 0.1
    places = [(3, 10), (3, 40), (20, 10)]
    for row, column in places:
        x[row, column] = 6.066
    matrix = compress_matrix(x, scheme, held_out=places)
    correction = matrix.correction()
    assert correction is not None
    assert correction.columns.tolist() == [10, 40]
    assert np.count_nonzero(correction.delta) == 3
    full = matrix.dense()
    full[:, correction.columns] += correction.delta.astype(np.float32).T
    assert (matrix.dequantize() == full).all()
    for row, column in places:
        assert full[row, column] == pytest.approx(float(np.float16(6.066)), rel=2**-10)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_value_of_a_held_out_scalar_does_not_reach_the_dense_part(scheme: Scheme) -> None:
    """Otherwise the spike still sets its neighbours' scale or takes a palette entry, and hold-out buys nothing."""
    x = np.random.default_rng(4).standard_normal((32, 64)).astype(np.float32)
    y = x.copy()
    x[5, 6], y[5, 6] = 1000.0, -1.0
    one, two = (compress_matrix(values, scheme, held_out=[(5, 6)]) for values in (x, y))
    assert (one.dense() == two.dense()).all()


def test_nothing_held_out_means_no_correction() -> None:
    """A correction without content would cost three ops a matrix for nothing."""
    assert compress_matrix(np.ones((2, 32), np.float32), Scheme("block", 4, 32)).correction() is None

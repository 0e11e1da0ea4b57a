"""Palettes, compared with an exact solver."""

from __future__ import annotations

import numpy as np
import pytest

from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import MatrixHoldOut
from edgesw.compress.palette_scheme import PaletteCodes, PaletteScheme


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_error_is_the_least_there_is(bits: int) -> None:
    """A bad palette costs quality for nothing: but for entries rounded to float16, the error is the exact optimum's."""
    # Exact one-dimensional k-means; coremltools has no native build for every machine.
    kmeans1d = pytest.importorskip("coremltools._deps.kmeans1d")
    x = np.random.default_rng(bits).standard_normal((24, 576)).astype(np.float16).astype(np.float32)
    matrix = compress_matrix(x, PaletteScheme(bits, 16))
    best = 0.0
    for part in (x[:16], x[16:]):  # the last group has fewer rows
        codes, centroids = kmeans1d.cluster(part.ravel().astype(np.float64), 2**bits)
        best += np.square(np.array(centroids)[codes] - part.ravel()).sum()
    assert np.square(matrix.dequantize() - x).sum() <= (1 + 1e-6 * 4**bits) * best


@pytest.mark.parametrize("group", [0, 16])
def test_threads_change_nothing(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same checkpoint must give the same package on every machine, whatever its number of cores."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((70, 300)).astype(np.float16).astype(np.float32)
    importance, places = rng.uniform(size=300), [(3, 5), (69, 299)]
    matrices = []
    for threads in (1, 2, 7):
        monkeypatch.setattr("edgesw.compress.palette.cores", lambda threads=threads: threads)
        matrices.append(compress_matrix(x, PaletteScheme(4, group), importance, MatrixHoldOut(scalars=places)))
    for matrix in matrices[1:]:
        assert (matrix.dense.palettes == matrices[0].dense.palettes).all()
        assert (matrix.dense.codes == matrices[0].dense.codes).all()


def test_columns_that_the_input_never_reaches_do_not_break_the_fit() -> None:
    """Calibration may leave columns, or all of them, at 0: entries must stay finite and go to the other columns."""
    x = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    some = np.zeros(64)
    some[:8] = 1.0
    error = np.square(compress_matrix(x, PaletteScheme(3, 16), some).dequantize() - x)
    assert error[:, :8].mean() < 0.7 * error[:, 8:].mean()
    every = compress_matrix(x, PaletteScheme(3, 16), np.zeros(64)).dequantize()
    assert (every == compress_matrix(x, PaletteScheme(3, 16)).dequantize()).all()


def test_what_float16_cannot_hold_becomes_its_largest_number() -> None:
    """bfloat16 weights reach beyond float16: an infinite entry would ruin every row that uses it."""
    x = np.array([[1e6, 7e4, 1.0, -1e6], [2.0, 1.0, 0.0, -3.0]], np.float32)
    decoded = compress_matrix(x, PaletteScheme(3, 0)).dequantize()
    assert decoded.tolist() == [[65504, 65504, 1, -65504], [2, 1, 0, -3]]


def test_a_group_held_out_whole_and_zeros_of_both_signs() -> None:
    """Nothing left to fit is no reason to fail, and -0.0 is no entry of its own."""
    x = np.array([[-0.0, 0.0, 1.0, 2.0]], np.float32)
    held = compress_matrix(
        x, PaletteScheme(2, 0), hold_out=MatrixHoldOut(scalars=tuple((0, column) for column in range(4)))
    )
    assert (held.dequantize() == x).all()
    assert (compress_matrix(np.repeat(x, 3, 0)[:, :3], PaletteScheme(1, 0)).dequantize() == x[:, :3]).all()


def test_each_group_of_rows_has_its_own_palette() -> None:
    """Groups of rows with other ranges must not share entries, or the small ones vanish."""
    x = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    x[16:] *= 1e-3
    matrix = compress_matrix(x, PaletteScheme(4, 16))
    assert isinstance(matrix.dense, PaletteCodes)
    assert matrix.dense.palettes.shape == (2, 16)
    error = np.square(matrix.dequantize() - x)
    assert error[16:].mean() < 0.02 * np.square(x[16:]).mean()


def test_few_distinct_values_are_exact() -> None:
    """A ternary matrix fits a palette without loss; anything else would be damage for nothing."""
    x = np.random.default_rng(0).choice([-0.5, 0.0, 0.5], (8, 32)).astype(np.float32)
    assert (compress_matrix(x, PaletteScheme(2, 0)).dequantize() == x).all()


def test_an_outlier_is_merged_without_hold_out_and_exact_with_it() -> None:
    """The reason for this project: in a large matrix the least squared error is to sacrifice one scalar of 5.875."""
    x = np.random.default_rng(0).standard_normal((1024, 512)).astype(np.float32) * 0.1
    x[7, 300] = 5.875
    scheme = PaletteScheme(3, 0)
    plain, held = compress_matrix(x, scheme), compress_matrix(x, scheme, hold_out=MatrixHoldOut(scalars=((7, 300),)))
    assert plain.dequantize()[7, 300] < 2
    assert held.dequantize()[7, 300] == pytest.approx(5.875, rel=2**-10)
    assert np.square(held.dequantize() - x).sum() < np.square(plain.dequantize() - x).sum()


def test_an_outlier_in_a_small_group_takes_an_entry_from_the_others() -> None:
    """Among 16 rows one scalar of 5.875 is worth an entry: it survives without hold-out, and the others pay for it."""
    x = np.random.default_rng(0).standard_normal((16, 512)).astype(np.float32) * 0.1
    x[7, 300] = 5.875
    scheme = PaletteScheme(3, 16)
    plain, held = (
        compress_matrix(x, scheme, hold_out=MatrixHoldOut(scalars=places)).dequantize() for places in ((), ((7, 300),))
    )
    assert plain[7, 300] == 5.875
    assert np.square(plain - x).sum() > 1.2 * np.square(held - x).sum()

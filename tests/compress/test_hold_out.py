"""Held-out scalars and columns are exact in the matrix, and the dense part is not fitted to them."""

from __future__ import annotations

import numpy as np
import pytest

from edgesw.compress.block_scheme import BlockScheme
from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import HoldOut, MatrixHoldOut
from edgesw.compress.matrix import Corrections
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.compress.scheme import Scheme

SCHEMES = [PaletteScheme(4, 16), PaletteScheme(2, 0), BlockScheme(4, 32), BlockScheme(2, 32, True)]


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_correction_restores_the_scalars(scheme: Scheme) -> None:
    """y = x @ dense.T with x[columns] * delta added to its rows must equal x times the true scalars: that is what the
    graphs compute."""
    x = np.random.default_rng(3).standard_normal((32, 64)).astype(np.float32) * 0.1
    places = [(3, 10), (3, 40), (20, 10)]
    for row, column in places:
        x[row, column] = 6.066
    matrix = compress_matrix(x, scheme, hold_out=MatrixHoldOut(scalars=tuple(places)))
    correction = matrix.corrections().scalars
    assert correction is not None and matrix.corrections().columns is None
    assert [*zip(correction.rows.tolist(), correction.columns.tolist(), strict=True)] == places
    full = matrix.dense.decode()
    full[correction.rows, correction.columns] += correction.delta
    assert (matrix.dequantize() == full).all()
    for row, column in places:
        assert full[row, column] == pytest.approx(float(np.float16(6.066)), rel=2**-10)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_value_of_a_held_out_scalar_does_not_reach_the_dense_part(scheme: Scheme) -> None:
    """Otherwise the spike still sets its neighbours' scale or takes a palette entry, and holding out gains nothing."""
    x = np.random.default_rng(4).standard_normal((32, 64)).astype(np.float32)
    y = x.copy()
    x[5, 6], y[5, 6] = 1000.0, -1.0
    one, two = (compress_matrix(values, scheme, hold_out=MatrixHoldOut(scalars=((5, 6),))) for values in (x, y))
    assert (one.dense.decode() == two.dense.decode()).all()


def test_nothing_held_out_means_no_correction() -> None:
    """A correction without content would cost three operators per matrix for nothing."""
    assert compress_matrix(np.ones((2, 32), np.float32), BlockScheme(4, 32)).corrections() == Corrections(None, None)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_correction_restores_scalars_and_columns(scheme: Scheme) -> None:
    """What is missing in either `delta` is missing in the package; a scalar of a held-out column is put back once."""
    x = np.random.default_rng(5).standard_normal((32, 64)).astype(np.float32)
    x[:, 9] *= 50
    matrix = compress_matrix(x, scheme, hold_out=MatrixHoldOut((9, 2), ((3, 40), (4, 9))))
    whole, each = matrix.corrections().columns, matrix.corrections().scalars
    assert whole is not None and whole.delta.dtype == np.float16 and whole.columns.tolist() == [2, 9]
    assert each is not None and each.delta.dtype == np.float16
    assert (each.rows.tolist(), each.columns.tolist()) == ([3], [40])
    full = matrix.dense.decode()
    full[:, whole.columns] += whole.delta.astype(np.float32).T
    full[each.rows, each.columns] += each.delta
    assert (matrix.dequantize() == full).all()
    # Half a unit in the last place of the float16 delta, which is the value less an entry near zero.
    off = np.abs(full - x)[:, [2, 9]]
    assert (off <= 2**-10 * (np.abs(x)[:, [2, 9]] + np.abs(matrix.dense.decode())[:, [2, 9]])).all()
    assert abs(full[3, 40] - x[3, 40]) <= 2**-10 * (abs(x[3, 40]) + abs(matrix.dense.decode()[3, 40]))
    others = [column for column in range(64) if column not in (2, 9, 40)]
    assert (full[:, others] == matrix.dense.decode()[:, others]).all(), "a correction must not touch other columns"


@pytest.mark.parametrize("importance", [None, 1.0, 1e6], ids=["plain", "weighted", "spiking input"])
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_a_held_out_column_does_not_reach_the_dense_part(scheme: Scheme, importance: float | None) -> None:
    """Neither its values nor the size of its input: else the columns that stay are fitted to one that is not there."""
    x = np.random.default_rng(6).standard_normal((32, 64)).astype(np.float32)
    y = x.copy()
    y[:, 7] = 1000 * np.random.default_rng(7).standard_normal(32)
    each = [None, None] if importance is None else [np.ones(64, np.float32) for _ in range(2)]
    if each[1] is not None:
        each[1][7] = importance
    one, two = (
        compress_matrix(values, scheme, weights, MatrixHoldOut((7,))).dense.decode()
        for values, weights in zip((x, y), each, strict=True)
    )
    assert (one == two).all()
    without = compress_matrix(np.delete(x, 7, 1), scheme, each[0] if each[0] is None else each[0][1:])
    if scheme.kind == "palette":  # blocks shift by a column
        assert (np.delete(one, 7, 1) == without.dense.decode()).all(), "as if the matrix had never had it"


def test_columns_of_a_whole_block_can_be_held_out() -> None:
    """A block with nothing left in it must not divide by zero, nor bring back what was held out."""
    x = np.random.default_rng(8).standard_normal((4, 64)).astype(np.float32)
    matrix = compress_matrix(x, BlockScheme(4, 32, True), np.ones(64, np.float32), MatrixHoldOut(tuple(range(32))))
    assert (matrix.dense.decode()[:, :32] == 0).all()
    assert (matrix.dequantize()[:, :32] == x[:, :32].astype(np.float16)).all()


def test_a_column_beyond_float16_becomes_its_largest_number() -> None:
    """Infinity in a correction makes NaN of every logit."""
    x = np.ones((2, 32), np.float32)
    x[0, 3] = -1e6
    restored = compress_matrix(x, BlockScheme(4, 32), hold_out=MatrixHoldOut((3,))).dequantize()
    assert restored[0, 3] == -65504


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_scalars_that_rounding_harms_most_are_held_out(scheme: Scheme) -> None:
    """A wrong order spends the bytes on scalars that would have been right anyway."""
    rng = np.random.default_rng(9)
    x, importance = rng.standard_normal((32, 64)).astype(np.float32), rng.gamma(0.3, size=64).astype(np.float32)
    plain = compress_matrix(x, scheme, importance, MatrixHoldOut((5,)))
    matrix = compress_matrix(x, scheme, importance, MatrixHoldOut((5,), fraction=0.01))
    each = matrix.held_out_scalars
    assert each is not None and len(each.rows) == round(0.01 * x.size)
    error = np.square(plain.dense.decode() - x) * importance
    error[:, 5] = 0  # whole already
    chosen = error[each.rows, each.columns]
    error[each.rows, each.columns] = 0
    assert chosen.min() >= error.max()
    exact = matrix.dequantize()[each.rows, each.columns]
    assert np.abs(exact - x[each.rows, each.columns]).max() <= 2**-10 * np.abs(x).max()
    errors = [float((np.square(made.dequantize() - x) * importance).sum()) for made in (plain, matrix)]
    assert errors[1] < errors[0] - 0.9 * chosen.sum(), "the others are fitted at least as well without them"


@pytest.mark.parametrize(
    "scheme",
    [PaletteScheme(3, 8), PaletteScheme(4, 0), BlockScheme(4, 16, True), BlockScheme(8, 32)],
    ids=str,
)
def test_single_places_are_those_of_the_whole_matrix(scheme: Scheme) -> None:
    """Corrections are made from single places: of a large matrix the whole, in float32, is half a gigabyte."""
    random = np.random.default_rng(6)
    matrix = compress_matrix(random.standard_normal((24, 64)).astype(np.float32), scheme)
    rows, columns = random.integers(0, 24, 50), random.integers(0, 64, 50)
    assert np.array_equal(matrix.dense.decode_at(rows, columns), matrix.dense.decode()[rows, columns])
    whole = matrix.dense.decode_at(np.arange(24), np.array([[3], [63], [17]]))
    assert np.array_equal(whole, matrix.dense.decode().T[[3, 63, 17]])


def test_a_matrix_sees_what_is_held_out_of_it_alone() -> None:
    """A scalar of another layer's matrix would be taken out of this one; the embedding has no fraction of its own."""
    hold_out = HoldOut({"layers.1.q_proj": (3, 9)}, ((1, 5, 7), (2, 6, 8)), 0.01)
    assert hold_out.of("layers.1.q_proj") == MatrixHoldOut((3, 9), fraction=0.01)
    assert hold_out.of("layers.1.down_proj") == MatrixHoldOut(scalars=((5, 7),), fraction=0.01)
    assert hold_out.of("layers.11.down_proj") == MatrixHoldOut(fraction=0.01)
    assert hold_out.of("embed_tokens") == MatrixHoldOut()
    for name in ("layers.1.q_proj", "layers.1.down_proj", "layers.0.up_proj"):
        assert hold_out.only(name).of(name) == hold_out.of(name), "a worker is sent this matrix's part alone"
    assert hold_out.only("layers.1.q_proj").of("layers.1.down_proj").scalars == ()


def test_a_scalar_in_a_held_out_column_changes_nothing() -> None:
    """Conversions hold out the columns of super weights and drop the scalars: the matrix must be the same."""
    x = np.random.default_rng(10).standard_normal((32, 64)).astype(np.float32)
    for scheme in SCHEMES:
        both, columns = (
            compress_matrix(x, scheme, np.ones(64, np.float32), each)
            for each in (MatrixHoldOut((7,), ((3, 7), (9, 7))), MatrixHoldOut((7,)))
        )
        assert all(np.array_equal(both.dense.arrays[name], value) for name, value in columns.dense.arrays.items())
        assert both.held_out_scalars is None
        assert np.array_equal(both.dequantize(), columns.dequantize())

"""Palettes of vectors, compared with plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import MatrixHoldOut
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.palette_scheme import PaletteCodes, PaletteScheme
from edgesw.compress.scheme import Scheme
from edgesw.compress.sensitivity import matrix_sensitivities

SCHEMES = [PaletteScheme(2, 0, 2), PaletteScheme(3, 96, 2), PaletteScheme(2, 96, 4)]


def weights(rows: int = 192, columns: int = 320) -> np.ndarray:
    """Values of a matrix in training's usual shape: rows and columns of different sizes."""
    rng = np.random.default_rng(0)
    spread = rng.lognormal(-3, 0.3, (rows, 1)) * rng.lognormal(0, 0.3, columns)
    return (rng.standard_normal((rows, columns)) * spread).astype(np.float16).astype(np.float32)


def written_out(matrix: CompressedMatrix) -> np.ndarray:
    """What the format says: an entry's values go down the rows of its column."""
    assert isinstance(matrix.dense, PaletteCodes)
    rows, columns = matrix.shape
    dense = np.empty((rows, columns), np.float32)
    for row in range(rows):
        palette = matrix.dense.palettes[row // (matrix.dense.scheme.group or rows)]
        for column in range(columns):
            code = matrix.dense.codes[row // matrix.dense.scheme.vector, column]
            dense[row, column] = palette[code, row % matrix.dense.scheme.vector]
    return dense


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_what_it_stands_for_is_the_documented_formula(scheme: Scheme) -> None:
    """Core ML's rule for vectors along the rows: another order would be another matrix on the device."""
    made = compress_matrix(weights(), scheme, hold_out=MatrixHoldOut((7,), ((3, 5),)))
    expected = written_out(made)
    assert (made.dense.decode() == expected).all()
    rows, columns = np.divmod(np.arange(0, expected.size, 37), expected.shape[1])
    assert (made.dense.decode_at(rows, columns) == expected[rows, columns]).all()
    assert made.dense.codes.max() < 2**scheme.code_bits
    exact = made.dequantize() - weights()
    assert np.abs(exact[:, 7]).max() < 1e-3 and abs(exact[3, 5]) < 1e-3, "what is held out must still be added"


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_more_values_to_an_entry_pay(scheme: Scheme) -> None:
    """They cost time and larger palettes; without a lower error at the same code bits nobody should take them."""
    x, importance = weights(), np.random.default_rng(1).exponential(1, 320).astype(np.float32)

    def error(scheme: Scheme) -> float:
        return float((np.square(compress_matrix(x, scheme, importance).dequantize() - x) * importance).sum())

    assert error(scheme) < 0.95 * error(PaletteScheme(scheme.bits, 16))


def test_codes_are_the_nearest_entries_and_entries_the_means() -> None:
    """Where k-means has converged: a mistake in either step would leave an error that costs nothing to remove."""
    x, importance = weights(64, 200), np.random.default_rng(1).exponential(1, 200)
    made = compress_matrix(x, PaletteScheme(2, 0, 2), importance.astype(np.float32))
    assert isinstance(made.dense, PaletteCodes)
    palette = made.dense.palettes[0].astype(np.float64)
    vectors = x.reshape(32, 2, 200).transpose(0, 2, 1).astype(np.float64)
    distances = np.square(vectors[..., None, :] - palette).sum(-1)
    chosen = np.take_along_axis(distances, made.dense.codes[..., None].astype(int), -1)[..., 0]
    assert (chosen <= distances.min(-1) * (1 + 1e-4) + 1e-9).all()
    least = 0.0  # with the weighted means of its codes for entries
    for code in range(16):
        mine = made.dense.codes == code
        each = np.broadcast_to(importance, mine.shape)[mine][:, None]
        mean = (vectors[mine] * each).sum(0) / each.sum()
        least += float((np.square(vectors[mine] - mean) * each).sum())
    assert (chosen * importance).sum() < 1.01 * least


def test_what_is_held_out_takes_no_entry() -> None:
    """A super weight of a hundred times the rest would draw an entry to itself, and its neighbour with it."""
    x = weights(32, 64)
    x[10, 20] = 60.0
    scheme = PaletteScheme(2, 0, 2)
    held = compress_matrix(x, scheme, hold_out=MatrixHoldOut(scalars=((10, 20),)))
    assert isinstance(held.dense, PaletteCodes) and np.abs(held.dense.palettes).max() < 5
    off = held.dequantize() - x
    assert abs(off[10, 20]) < 0.05
    ordinary = weights(32, 64)
    without = compress_matrix(ordinary, scheme, hold_out=MatrixHoldOut(scalars=((10, 20),))).dequantize()
    without[10, 20] = held.dequantize()[10, 20]
    assert (without == held.dequantize()).all(), "its value must not matter to the others"


def test_a_sample_of_a_large_matrix_keeps_vectors_whole() -> None:
    """Sensitivity is measured on some of its rows; cut within a vector it would be another matrix's, or fail."""
    x = np.random.default_rng(0).standard_normal((6000, 300)).astype(np.float32)
    schemes = [PaletteScheme(bits, 0, vector) for bits, vector in ((2, 4), (3, 2), (4, 2))]
    schemes += [PaletteScheme(3, 16)]
    two, three, four, scalar = matrix_sensitivities(x, schemes, np.ones(300, np.float32), np.ones(6000, np.float32))
    assert two > three > four > 0
    assert 0.7 < three / scalar < 1.05

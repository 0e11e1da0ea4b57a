"""Error compensation, against GPTQ's rule as the paper has it: column by column, by the inverse of the moments."""

from __future__ import annotations

import numpy as np
import pytest

from edgesw.compress.compensate import Feedback, compensate
from edgesw.compress.decoder import compress_matrix
from edgesw.compress.matrix import CompressedMatrix, Scheme

SCHEMES = [
    Scheme("palette", 2, 0),
    Scheme("palette", 3, 16),
    Scheme("palette", 4, 8),
    Scheme("block", 2, 16, True),
    Scheme("block", 3, 32),
    Scheme("block", 4, 32, True),
    Scheme("block", 4, 100),
]


def weights(rows: int = 48, columns: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(5, (rows, columns)).astype(np.float32) * 0.05


def correlated(columns: int = 100, seed: int = 1) -> np.ndarray:
    """Second moments of inputs that move together, one of them ten times larger than the rest."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((4 * columns, columns)) @ random.standard_normal((columns, columns))
    x[:, 7] *= 10
    return (x.T @ x / len(x)).astype(np.float32)


def product_error(x: np.ndarray, matrix: CompressedMatrix, moments: np.ndarray) -> float:
    off = (x - matrix.dequantize()).astype(np.float64)
    return float(((off @ moments) * off).sum())


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_product_has_less_error(scheme: Scheme) -> None:
    """It is all that compensation is for: a user waits for it, and no byte more is stored."""
    x, moments = weights(), correlated()
    plain = compress_matrix(x, scheme, np.diagonal(moments))
    ours = compensate(x, Feedback.of(moments), scheme)
    assert product_error(x, ours, moments) < 0.8 * product_error(x, plain, moments)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_without_correlations_nothing_is_passed_on(scheme: Scheme) -> None:
    """Inputs that have nothing to do with each other cannot make up for each other."""
    x = weights()
    ours, plain = compensate(x, Feedback.of(np.eye(100)), scheme), compress_matrix(x, scheme, np.ones(100))
    assert (ours.dequantize() == plain.dequantize()).all()


def gptq(x: np.ndarray, moments: np.ndarray, matrix: CompressedMatrix) -> np.ndarray:
    """The paper's algorithm in float64, no blocking. What codes can stand for is taken from `matrix`."""
    work, out, scheme = x.astype(np.float64), np.empty(x.shape), matrix.scheme
    upper = np.linalg.cholesky(np.linalg.inv(moments.astype(np.float64))).T
    for column in range(x.shape[1]):
        for row in range(x.shape[0]):
            if matrix.palettes is not None:
                entries = matrix.palettes[row // (scheme.group or len(x))].astype(np.float64)
            else:
                assert matrix.scales is not None
                block = column // scheme.group
                zero = 2 ** (scheme.bits - 1) if matrix.zero_points is None else int(matrix.zero_points[row, block])
                entries = (np.arange(2**scheme.bits) - zero) * float(matrix.scales[row, block])
            out[row, column] = entries[np.abs(entries - work[row, column]).argmin()]
        error = (work[:, column] - out[:, column]) / upper[column, column]
        work[:, column:] -= np.outer(error, upper[column, column:])
    return out


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_it_is_the_rule_of_the_paper(scheme: Scheme) -> None:
    """Worked out in blocks and with another factor, or users would get something that nobody has studied."""
    x, moments = weights(), correlated()
    ours = compensate(x, Feedback.of(moments), scheme)
    floor = 1e-6 * float(np.diagonal(moments).mean())
    assert np.abs(ours.dequantize() - gptq(x, moments + floor * np.eye(100), ours)).max() < 1e-5


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_held_out_scalars_are_exact_and_leave_no_trace(scheme: Scheme) -> None:
    """A held-out scalar has no error: neither its value nor its rounding may move anything else."""
    x, moments = weights(), correlated()
    y = x.copy()
    places = [(5, 6), (5, 40), (20, 6)]
    for row, column in places:
        x[row, column], y[row, column] = 6.066, -1.5
    one, two = (compensate(values, Feedback.of(moments), scheme, places) for values in (x, y))
    assert (one.dense() == two.dense()).all()
    for row, column in places:
        assert one.dequantize()[row, column] == pytest.approx(6.066, rel=2**-10)
    plain = compress_matrix(x, scheme, np.diagonal(moments), places)
    assert product_error(x, one, moments) < 0.8 * product_error(x, plain, moments)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_silent_inputs_keep_their_weights(scheme: Scheme) -> None:
    """Columns that the text never woke have moments of zero. Another text wakes them."""
    x, moments = weights(), correlated()
    moments[10:20] = moments[:, 10:20] = 0
    some, none = compensate(x, Feedback.of(moments), scheme), compensate(x, Feedback.of(moments * 0), scheme)
    plain = compress_matrix(x, scheme)
    for part, ours in ((slice(10, 20), some), (slice(None), none)):
        error, usual = (np.square(m.dequantize() - x)[:, part].mean() for m in (ours, plain))
        assert error < 4 * usual + 1e-12


def test_damping_draws_towards_the_plain_fit() -> None:
    """Thousands of tokens show correlations that the next text has not; following them makes a package worse."""
    x, moments = weights(), correlated()
    scheme = Scheme("block", 3, 32)
    errors = [product_error(x, compensate(x, Feedback.of(moments, by), scheme), moments) for by in (0.0, 1.0, 1e6)]
    assert errors == sorted(errors)
    plain = compress_matrix(x, scheme, np.diagonal(moments))
    assert (compensate(x, Feedback.of(moments, 1e9), scheme).codes == plain.codes).mean() > 0.999

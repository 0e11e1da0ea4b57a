"""Block integers, compared with numpy formulas written out here."""

from __future__ import annotations

import numpy as np
import pytest

from edgesw.compress.block_scheme import BlockCodes, BlockScheme
from edgesw.compress.compression import compress_matrix


def weights(rows: int = 24, columns: int = 96, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(4, (rows, columns)).astype(np.float32) * 0.05


def round_to_nearest(x: np.ndarray, bits: int, block: int, zero_points: bool) -> np.ndarray:
    """Plain min-max rounding, block by block."""
    out, top = np.empty_like(x), 2**bits - 1
    for row in range(x.shape[0]):
        for at in range(0, x.shape[1], block):
            part = x[row, at : at + block]
            if zero_points:
                low, high = min(part.min(), 0), max(part.max(), 0)
                scale = (high - low) / top
                zero = np.round(-low / scale)
            else:
                scale, zero = np.abs(part).max() / (2 ** (bits - 1) - 1), 2 ** (bits - 1)
            code = np.clip(np.round(part / scale) + zero, 0, top)
            out[row, at : at + block] = (code - zero) * scale
    return out


@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize(("bits", "block"), [(2, 16), (3, 32), (4, 32), (4, 96), (8, 32)])
def test_error_is_below_round_to_nearest(bits: int, block: int, zero_points: bool) -> None:
    """The search for the clipping must pay: otherwise users get what any converter gives them."""
    x = weights()
    ours = compress_matrix(x, BlockScheme(bits, block, zero_points)).dequantize()
    plain = round_to_nearest(x, bits, block, zero_points)
    assert np.square(ours - x).sum() <= np.square(plain - x).sum()


@pytest.mark.parametrize("zero_points", [False, True])
def test_dequantize_is_the_documented_formula(zero_points: bool) -> None:
    """(code - zero point) * scale is what both runtimes compute: another formula would fit another model."""
    matrix = compress_matrix(weights(columns=80), BlockScheme(4, 32, zero_points))
    assert matrix.dense.codes.shape == (24, 80)
    assert matrix.dense.codes.max() < 16
    assert isinstance(matrix.dense, BlockCodes)
    assert matrix.dense.scales.shape == (24, 3)
    for row, column in [(0, 0), (5, 31), (7, 32), (23, 79)]:
        zero = 8 if matrix.dense.zero_points is None else int(matrix.dense.zero_points[row, column // 32])
        expected = (int(matrix.dense.codes[row, column]) - zero) * np.float32(matrix.dense.scales[row, column // 32])
        assert matrix.dequantize()[row, column] == expected


def test_importance_protects_the_columns_that_matter() -> None:
    """A column whose input is large must be stored more precisely than with equal weights."""
    x, importance = weights(), np.ones(96, np.float32)
    importance[::8] = 1000.0
    scheme = BlockScheme(3, 32, True)
    plain, weighted = compress_matrix(x, scheme).dequantize(), compress_matrix(x, scheme, importance).dequantize()
    assert np.square(weighted - x)[:, ::8].sum() < 0.8 * np.square(plain - x)[:, ::8].sum()


@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.25, 1e-12, -3.0])
def test_constant_blocks_stay_finite(value: float, zero_points: bool) -> None:
    """Pruned models hold blocks of zeros or of one value: a scale of zero would make them NaN."""
    x = np.full((2, 64), value, np.float32)
    x[0, :32] = 0
    ours = compress_matrix(x, BlockScheme(4, 32, zero_points)).dequantize()
    assert np.isfinite(ours).all()
    assert np.abs(ours - x).max() <= max(abs(value) * 0.07, 1e-7)


def test_silent_inputs_do_not_lose_the_matrix() -> None:
    """Columns that calibration never saw active have importance 0, and still carry weights."""
    x = weights()
    ours = compress_matrix(x, BlockScheme(4, 32, True), np.zeros(96, np.float32)).dequantize()
    assert np.square(ours - x).mean() < 0.01 * np.square(x).mean()


def searched(x: np.ndarray, bits: int, zero_points: bool, importance: np.ndarray) -> float:
    """The smallest weighted squared error of one block over the ranges that fit_blocks describes: each clipped by up to
    30%, its scale fitted to the integers by least squares and stored as float16."""
    top, half, least = 2**bits - 1, 2 ** (bits - 1), np.inf
    for clip in (half / (half - 0.5), 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7):
        low, high = min(x.min(), 0), max(x.max(), 0)
        extreme = x[np.abs(x).argmax()]
        if zero_points:
            exact = -low * top / (high - low)
            tries = [((high - low) * clip / top, np.floor(exact)), ((high - low) * clip / top, np.ceil(exact))]
        else:
            tries = [(extreme * clip / -half, half), (extreme * clip / half, half)]
        for scale, zero in tries if clip <= 1 or not zero_points else ():
            integers = np.clip(np.rint(x / np.float64(np.float16(scale))), -zero, top - zero)
            fitted = np.float64(np.float16((importance * integers * x).sum() / (importance * integers**2).sum()))
            integers = np.clip(np.rint(x / fitted), -zero, top - zero)
            least = min(least, float((importance * (integers * fitted - x) ** 2).sum()))
    return least


@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize(("bits", "block"), [(2, 16), (3, 32), (4, 32), (4, 128), (8, 64)])
@pytest.mark.parametrize("size", [1.0, pytest.param(3e-4, marks=pytest.mark.slow)])
def test_the_search_finds_what_it_would_in_numpy(bits: int, block: int, zero_points: bool, size: float) -> None:
    """The compiled search must not lose what the written-out one finds, also where float16 holds scales with few bits
    (3e-4): users would get a worse model for the same bytes."""
    x = (weights(40, 512) * np.float32(size)).astype(np.float64)
    importance = np.random.default_rng(1).exponential(1, 512)
    ours = compress_matrix(x.astype(np.float32), BlockScheme(bits, block, zero_points), importance.astype("f4"))
    lost = importance * (ours.dequantize().astype(np.float64) - x) ** 2
    for row in range(len(x)):
        for at in range(0, 512, block):
            own = slice(at, at + block)
            best = searched(x[row, own], bits, zero_points, importance[own])
            assert lost[row, own].sum() <= best * (1 + 1e-4)

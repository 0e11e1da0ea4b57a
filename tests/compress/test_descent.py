"""Coordinate descent by blocks of columns, compared with coordinate descent written out in numpy, float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from edgesw.compress.block_scheme import BlockCodes, BlockScheme
from edgesw.compress.compensate import compensate
from edgesw.compress.compensation import Coded, _Steps
from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import MatrixHoldOut
from edgesw.compress.output_error import OutputError
from edgesw.compress.palette_scheme import PaletteCodes, PaletteScheme
from edgesw.compress.refine_blocks import _Blocks
from edgesw.compress.refine_palettes import _Palettes
from edgesw.compress.scheme import DensePart, Scheme
from tests.compress.test_compensate import _case as case
from tests.compress.test_compensate import _error as error_of

# Rows and columns: one row; fewer columns than a block; a block and one column; no multiple of anything; several tiles.
SHAPES = [(1, 130), (14, 80), (28, 129), (42, 300), (600, 140)]
SCHEMES = [BlockScheme(4, 32, True), BlockScheme(3, 16), BlockScheme(4, 1 << 30, True), PaletteScheme(3, 1)]


def written_out(weights: np.ndarray, hessian: np.ndarray, start: DensePart) -> float:
    """The error after two rounds of the scales or palettes that are the best for the codes, by numpy's solver, and four
    passes over each row's codes, each set to the best one given all others."""
    root = np.linalg.cholesky(hessian.astype(np.float64))
    total = 0.0
    for row in range(len(weights)):
        codes = start.codes[row].astype(int)
        decode, design = rows_of(start, row)
        parameters = None
        for _ in range(2):
            unknown = root.T @ design(codes)
            parameters = np.linalg.lstsq(unknown, root.T @ weights[row], rcond=None)[0]
            levels = decode(parameters)  # (columns, codes)
            values = levels[np.arange(len(codes)), codes]
            for _ in range(4):
                for i in range(len(codes)):
                    target = values[i] + (weights[row] - values) @ hessian[:, i] / hessian[i, i]
                    codes[i] = np.abs(levels[i] - target).argmin()
                    values[i] = levels[i, codes[i]]
        off = root.T @ (weights[row] - values)
        total += float(off @ off)
    return total


def rows_of(start: DensePart, row: int) -> tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    """What a row's parameters decode each code of each column to; and the matrix that takes them to a row's values."""
    columns = start.codes.shape[1]
    if isinstance(start, PaletteCodes):
        entries = start.palettes.shape[1]
        return lambda x: np.broadcast_to(x, (columns, entries)), lambda codes: np.eye(entries)[codes]
    assert isinstance(start, BlockCodes)
    own = np.arange(columns) // start.scheme.group
    zeros = np.broadcast_to(start._zeros, start.scales.shape)[row][own]
    levels = np.arange(2**start.scheme.bits) - zeros[:, None]
    spread = np.eye(start.scales.shape[1])[own]
    return lambda x: levels * (spread @ x)[:, None], lambda codes: spread * (codes - zeros)[:, None]


def grouped(scheme: Scheme, columns: int) -> Scheme:
    return (
        BlockScheme(scheme.bits, min(scheme.group, columns), scheme.zero_points)
        if isinstance(scheme, BlockScheme)
        else scheme
    )


def steps_of(dense: DensePart, weights: np.ndarray, hessian: np.ndarray, exact: np.ndarray) -> _Steps:
    """The steps with all of the Hessian, beginning at this fit."""
    coded: Coded
    if isinstance(dense, PaletteCodes):
        palettes = dense.palettes.reshape(*dense.palettes.shape[:2], -1).astype(np.float32)
        coded = _Palettes(dense.codes, palettes, dense.scheme.group or len(weights))
    else:
        assert isinstance(dense, BlockCodes)
        zeros = np.ascontiguousarray(np.broadcast_to(dense._zeros, dense.scales.shape))
        scales, top = dense.scales.astype(np.float32), 2**dense.scheme.bits - 1
        coded = _Blocks(dense.codes, scales, zeros, dense.scheme.group, top)
    return _Steps(OutputError.of(weights, hessian, exact, None), coded, near=False)


@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_no_error_is_left_that_plain_coordinate_descent_removes(scheme: Scheme, shape: tuple[int, int]) -> None:
    """Speed must not cost quality: a block or a tile that is cut wrong would leave the codes of some columns as they
    were."""
    weights, hessian = case(*shape)
    start = compress_matrix(weights, grouped(scheme, shape[1]), np.diagonal(hessian))
    made = compensate(weights, hessian, start).dequantize()
    # Both end in local optima, not always in the same; a row alone may differ more.
    allowed = 1.1 if shape[0] == 1 else 1.02
    assert error_of(weights, hessian, made) < allowed * written_out(weights, hessian.astype(np.float64), start.dense)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scheme", [BlockScheme(4, 32, True), PaletteScheme(3, 7), PaletteScheme(2, 14, 2)], ids=str)
def test_gradients_are_those_of_the_codes_at_the_end(scheme: Scheme, shape: tuple[int, int]) -> None:
    """Codes are decided by gradients that changes elsewhere are added to, late and in lists: one that is lost or
    counted twice would spoil every decision after it."""
    if isinstance(scheme, PaletteScheme) and shape[0] % scheme.group:
        scheme = PaletteScheme(scheme.bits, 0, 1)
    weights, hessian = case(*shape)
    exact = np.random.default_rng(1).random(shape) < 0.05
    dense = compress_matrix(weights, scheme, np.diagonal(hessian)).dense
    steps = steps_of(dense, weights, hessian, exact)
    error, coded = steps.error, steps.coded
    for _ in range(2):
        steps.descend(3)
        steps.fit()
    decoded = np.concatenate([coded.decode(rows, coded.values) for rows in error.tiles])
    off = np.where(exact, 0, weights.astype(np.float64) - decoded)
    expected = off @ (hessian / np.diagonal(hessian).mean()).astype(np.float64)
    found = np.concatenate([np.concatenate(list(tile), axis=1)[:, : shape[1]] for tile in steps.gradients])
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("scheme", [BlockScheme(4, 32, True), PaletteScheme(3, 14), PaletteScheme(2, 14, 2)], ids=str)
def test_codes_of_exact_places_stay(scheme: Scheme) -> None:
    """The correction of a held-out scalar is what the code in its place lacks: another code would be added to it."""
    weights, hessian = case(28, 200)
    start = compress_matrix(weights, scheme, np.diagonal(hessian), MatrixHoldOut(scalars=((5, 6), (4, 6), (9, 150))))
    exact = np.zeros(weights.shape, bool)
    exact[[5, 4, 9], [6, 6, 150]] = True
    made = compensate(weights, hessian, start, exact)
    lower = len(weights) // len(start.dense.codes)
    assert (made.dense.codes != start.dense.codes).any()
    for row, column in ((5, 6), (4, 6), *(((9, 150),) if lower == 1 else ())):
        assert made.dense.codes[row // lower, column] == start.dense.codes[row // lower, column]


@pytest.mark.parametrize("scheme", [BlockScheme(4, 32, True), PaletteScheme(4, 15), PaletteScheme(3, 0, 2)], ids=str)
def test_products_in_bfloat16_cost_little(scheme: Scheme) -> None:
    """They take a quarter of the time where the processor has them; who chooses them must not lose what compensation
    gains."""
    weights, hessian = case(60, 400)
    start = compress_matrix(weights, scheme, np.diagonal(hessian))
    exact, rounded = (
        error_of(weights, hessian, compensate(weights, hessian, start, products=products).dequantize())
        for products in (torch.float32, torch.bfloat16)
    )
    assert rounded < 1.03 * exact


@pytest.mark.parametrize("scheme", [PaletteScheme(3, 16), BlockScheme(3, 32, True), BlockScheme(4, 700)], ids=str)
def test_fitted_values_never_go_too_far(scheme: Scheme) -> None:
    """Inputs with a large mean make an H in which blocks of columns depend on each other, which the fit leaves out.
    What is best for each block of them by itself would go many times too far."""
    rng = np.random.default_rng(0)
    weights = np.abs(rng.standard_normal((32, 700))).astype(np.float32)
    x = rng.standard_normal((1400, 700)) + 5
    hessian = (x.T @ x / len(x)).astype(np.float32)
    steps = steps_of(compress_matrix(weights, scheme).dense, weights, hessian, np.zeros(weights.shape, bool))
    steps.coded.values = (1.05 * steps.coded.values).astype(np.float16).astype(np.float32)
    steps = _Steps(steps.error, steps.coded, near=False)
    errors = []
    for _ in range(2):
        errors.append(error_of(weights, hessian, steps.coded.decode(slice(0, 32), steps.coded.values)))
        steps.fit()
    assert errors[1] < errors[0]

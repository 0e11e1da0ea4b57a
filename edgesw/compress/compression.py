"""compress_matrix: compresses float weights to a CompressedMatrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from edgesw.compress.compensate import Hessian, compensate
from edgesw.compress.float16 import to_float16
from edgesw.compress.hold_out import NO_MATRIX_HOLD_OUT, MatrixHoldOut
from edgesw.compress.matrix import CompressedMatrix, HeldOutColumns, HeldOutScalars
from edgesw.compress.scheme import DensePart, Scheme


def compress_matrix(
    weights: np.ndarray,
    scheme: Scheme,
    importance: np.ndarray | None = None,
    hold_out: MatrixHoldOut = NO_MATRIX_HOLD_OUT,
    hessian: Hessian | None = None,
) -> CompressedMatrix:
    """Compresses float32 (rows, columns). The dense part is not fitted to values that are held out; in their places it
    has the value nearest to zero that it can represent.

    With the `hessian` of the input the codes compensate each other's errors and those of earlier layers, and held-out
    values are adjusted too. Without it the error of each column is weighted by its `importance` (columns,), or all
    columns count the same.
    """
    if hessian is not None:
        weights = hessian.matched(weights)
        importance = np.diagonal(hessian.damped)
    whole = sorted(set(hold_out.columns))
    apart = HeldOutColumns(np.array(whole, np.int32), to_float16(weights[:, whole].T)) if whole else None
    if whole and importance is not None:
        importance = importance.copy()  # relative: one of thousands would leave nothing for the other columns
        importance[whole] = 0
    exact = hold_out.mask(weights.shape)
    dense = _fitted(weights, scheme, importance, exact)
    if exact is not None and (count := round(hold_out.fraction * weights.size)):
        exact |= _largest_errors(weights, dense.decode(), importance, exact, count)
        dense = _fitted(weights, scheme, importance, exact)
    scalars = None if exact is None else _scalars(weights, exact, whole)
    matrix = CompressedMatrix(dense, apart, scalars)
    return matrix if hessian is None else compensate(weights, hessian.damped, matrix, exact, hessian.products)


def compile_kernels(schemes: Iterable[Scheme], compensated: bool) -> None:
    """Compiles the kernels that fit matrices of these schemes, or loads them from the cache. Compiling takes some
    seconds for each kind of scheme, once on a machine."""
    few, eye = np.zeros((4, 4), np.float32), np.eye(4, dtype=np.float32)
    hessian = Hessian(eye, eye, 1) if compensated else None
    for scheme in {replace(scheme, bits=2, group=4) for scheme in schemes}:
        compress_matrix(few, scheme, hessian=hessian)


def _fitted(weights: np.ndarray, scheme: Scheme, importance: np.ndarray | None, exact: np.ndarray | None) -> DensePart:
    """The dense part, fitted to zero where `exact` (rows, columns) is True."""
    return scheme.fit(weights if exact is None else np.where(exact, np.float32(0), weights), importance, exact)


def _largest_errors(
    weights: np.ndarray, dense: np.ndarray, importance: np.ndarray | None, exact: np.ndarray, count: int
) -> np.ndarray:
    """The `count` places with the largest squared error times the importance of the column: bool (rows, columns)."""
    error = np.square(weights - dense) * (1 if importance is None else importance.astype(np.float32))
    error[exact] = -1
    places = np.zeros(weights.size, bool)
    places[np.argpartition(error, -count, axis=None)[-count:]] = True
    return places.reshape(weights.shape)


def _scalars(weights: np.ndarray, exact: np.ndarray, whole: list[int]) -> HeldOutScalars | None:
    """The places that are exact and outside the whole columns, with their values."""
    rows, columns = np.nonzero(exact)
    apart = ~np.isin(columns, whole)
    rows, columns = rows[apart].astype(np.int32), columns[apart].astype(np.int32)
    return HeldOutScalars(rows, columns, to_float16(weights[rows, columns])) if len(rows) else None

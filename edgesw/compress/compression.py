"""compress_matrix: float weights to a CompressedMatrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from edgesw.compress.compensate import Moments, compensate
from edgesw.compress.float16 import to_float16
from edgesw.compress.matrix import CompressedMatrix, HeldOutColumns, HeldOutScalars
from edgesw.compress.scheme import DensePart, Scheme


def compress_matrix(
    weights: np.ndarray,
    scheme: Scheme,
    importance: np.ndarray | None = None,
    held_out: Iterable[tuple[int, int]] = (),
    columns: Iterable[int] = (),
    moments: Moments | None = None,
    fraction: float = 0.0,
) -> CompressedMatrix:
    """Compress float32 (rows, columns). Neither the (row, column) scalars in `held_out` nor whole `columns` are part of
    what the dense part is fitted to: their places hold what is nearest to zero. Their values are kept in float16.

    With `moments` of the input, errors make up for each other and for those of earlier layers, held-out values among
    them; without, each column counts by its `importance` (columns,) alone, or all the same.

    This `fraction` of the scalars is held out too, those that rounding harms most.
    """
    if moments is not None:
        weights = moments.matched(weights)
        importance = np.diagonal(moments.damped)
    whole, places = sorted(set(columns)), list(held_out)
    apart = HeldOutColumns(np.array(whole, np.int32), to_float16(weights[:, whole].T)) if whole else None
    if whole and importance is not None:
        importance = importance.copy()  # importances are relative: one of thousands would leave nothing of the others
        importance[whole] = 0
    exact = None
    if whole or places or fraction:
        exact = np.zeros(weights.shape, bool)
        exact[:, whole] = True
        for place in places:
            exact[place] = True
    dense = _fitted(weights, scheme, importance, exact)
    if exact is not None and (count := round(fraction * weights.size)):
        exact |= _most_harmed(weights, dense.decode(), importance, exact, count)
        dense = _fitted(weights, scheme, importance, exact)
    scalars = None if exact is None else _scalars(weights, exact, whole)
    matrix = CompressedMatrix(dense, apart, scalars)
    return matrix if moments is None else compensate(weights, moments.damped, matrix, exact)


def prepare(schemes: Iterable[Scheme], compensated: bool) -> None:
    """Compile what matrices of these schemes are fitted by, or load what was compiled before: some seconds for each
    kind, once on a machine."""
    few, eye = np.zeros((4, 4), np.float32), np.eye(4, dtype=np.float32)
    moments = Moments(eye, eye, 1) if compensated else None
    for scheme in {replace(scheme, bits=2, group=4) for scheme in schemes}:
        compress_matrix(few, scheme, moments=moments)


def _fitted(weights: np.ndarray, scheme: Scheme, importance: np.ndarray | None, exact: np.ndarray | None) -> DensePart:
    """The dense part. Where `exact` (rows, columns) is True the place holds what is nearest to zero."""
    return scheme.fit(weights if exact is None else np.where(exact, np.float32(0), weights), importance, exact)


def _most_harmed(
    weights: np.ndarray, dense: np.ndarray, importance: np.ndarray | None, exact: np.ndarray, count: int
) -> np.ndarray:
    """Where the squared error times the importance of its column is largest: `count` True in bool (rows, columns)."""
    harm = np.square(weights - dense) * (1 if importance is None else importance.astype(np.float32))
    harm[exact] = -1
    places = np.zeros(weights.size, bool)
    places[np.argpartition(harm, -count, axis=None)[-count:]] = True
    return places.reshape(weights.shape)


def _scalars(weights: np.ndarray, exact: np.ndarray, whole: list[int]) -> HeldOutScalars | None:
    """What is exact and in none of the columns that are held out whole."""
    rows, columns = np.nonzero(exact)
    apart = ~np.isin(columns, whole)
    rows, columns = rows[apart].astype(np.int32), columns[apart].astype(np.int32)
    return HeldOutScalars(rows, columns, to_float16(weights[rows, columns])) if len(rows) else None

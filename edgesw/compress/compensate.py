"""Error compensation: codes that make up for each other's errors, and what decodes them fitted to those codes.

The error that counts is that of the product, tr((W - Q) H (W - Q)^T), with H the second moments of the matrix's input.
From the fit that knows only the diagonal of H, two steps are taken in turn: palettes (or scales) that are best for the
codes as they are, by least squares; then codes, by coordinate descent. Alternating so is the LNQ of arXiv 2505.07004.
Begun from GPTQ's codes (arXiv 2210.17323) it ends no lower (docs/compression.md), so there is no such step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from edgesw.compress.matrix import CompressedMatrix, to_float16
from edgesw.compress.threads import threaded

ROUNDS, PASSES = 2, 4
# Added to each column's mean square, as a share of it, for as many tokens as columns; less for more tokens. It draws
# correlations that a text shows by chance towards zero (docs/compression.md).
DAMPING = 8.0
# A scale that least squares would move further than this is left: its block's integers say too little about it.
FURTHEST = 2.0
# Rows that one system is summed over, a whole number of vectors: fixed, so that the sum does not depend on how many
# threads share the rows.
ROWS = 64


@dataclass(frozen=True)
class Moments:
    """What a text makes of a matrix's input, float32 (columns, columns) each."""

    own: np.ndarray
    """Second moments of the input past the compressed layers: X^T X / tokens."""
    cross: np.ndarray
    """Of the float model's input with that: F^T X / tokens."""
    tokens: int

    @cached_property
    def damped(self) -> np.ndarray:
        """`own` with more on its diagonal: positive definite, float64."""
        own = self.own.astype(np.float64)
        diagonal = np.diagonal(own)
        floor = 1e-6 * diagonal.mean() + np.finfo(np.float32).tiny
        own[np.diag_indices(len(own))] += DAMPING * len(own) / self.tokens * diagonal + floor
        return own

    @cached_property
    def _step(self) -> np.ndarray:
        return np.linalg.solve(self.damped, (self.cross - self.own).T).T.astype(np.float32)

    def matched(self, weights: np.ndarray) -> np.ndarray:
        """The weights W' whose product with the input at hand is nearest to what W (rows, columns) makes of the float
        model's: W' = W C H^-1. What earlier layers lost is made up for as far as the input still tells of it."""
        return weights + weights @ self._step


def compensate(
    weights: np.ndarray, moments: np.ndarray, start: CompressedMatrix, exact: np.ndarray | None = None
) -> CompressedMatrix:
    """Better `start`, a fit of float32 (rows, columns), for an input with second moments (columns, columns).

    `moments` are symmetric and positive definite. Where `exact` (rows, columns) is True the product is exact
    whatever the code, by the correction; such places have no error to make up for, and their codes stay.
    """
    moments = np.ascontiguousarray(moments / np.diagonal(moments).mean(), np.float32)  # no product overflows
    exact = np.zeros(weights.shape, bool) if exact is None else exact
    weights = np.where(exact, np.float32(0), weights)
    products = weights @ moments
    better = _blocks if start.palettes is None else _palettes if start.scheme.vector == 1 else _vectors
    matrix = start
    for _ in range(ROUNDS):
        matrix = better(products, moments, exact, matrix)
    return matrix


def _palettes(
    products: np.ndarray, moments: np.ndarray, exact: np.ndarray, matrix: CompressedMatrix
) -> CompressedMatrix:
    from edgesw.compress.descent import descend_palette  # takes long to load

    rows = len(products)
    group = matrix.scheme.group or rows
    fit = _entries(products, moments, exact, matrix)[:, 0]
    order = np.argsort(fit, axis=1, kind="stable")  # nearly always as they were
    palettes = to_float16(np.take_along_axis(fit, order, 1))
    codes = np.argsort(order, axis=1).astype(np.uint8)[(np.arange(rows) // group)[:, None], matrix.codes]
    better = replace(matrix, codes=codes, palettes=palettes)  # the codes are bettered in place below
    gradients = _gradients(products, moments, exact, better)

    def descend(first: int) -> None:
        own = slice(first, first + each)
        palette = palettes[first // group].astype(np.float32)
        descend_palette(gradients[own], moments, exact[own], palette, codes[own], PASSES)

    each = group if group < rows else ROWS
    threaded(descend, range(0, rows, each))
    return better


def _vectors(
    products: np.ndarray, moments: np.ndarray, exact: np.ndarray, matrix: CompressedMatrix
) -> CompressedMatrix:
    """As `_palettes`, for codes that each stand for `vector` rows; their entries have no order."""
    from edgesw.compress.descent import descend_vectors  # takes long to load

    rows, vector = len(products), matrix.scheme.vector
    group = matrix.scheme.group or rows
    fit = to_float16(_entries(products, moments, exact, matrix))
    codes = matrix.codes.copy()
    better = replace(matrix, codes=codes, palettes=fit.transpose(0, 2, 1))  # the codes are bettered in place below
    gradients = _gradients(products, moments, exact, better)

    def descend(first: int) -> None:
        own = slice(first, min(first + each, (first // group + 1) * group))
        own_codes = codes[own.start // vector : own.stop // vector]
        palette = fit[first // group].astype(np.float32)
        descend_vectors(gradients[own], moments, exact[own], palette, own_codes, PASSES)

    each = min(group, ROWS)
    threaded(descend, [first for start in range(0, rows, group) for first in range(start, start + group, each)])
    return better


def _entries(products: np.ndarray, moments: np.ndarray, exact: np.ndarray, matrix: CompressedMatrix) -> np.ndarray:
    """The palettes that are best for the codes as they are, float64 (groups, vector, entries). A vector's rows know
    nothing of each other, so each has a system of its own."""
    from edgesw.compress.descent import palette_system  # takes long to load

    assert matrix.palettes is not None
    rows, vector = len(products), matrix.scheme.vector
    group = matrix.scheme.group or rows
    groups, entries = matrix.palettes.shape[:2]
    palettes = matrix.palettes.reshape(groups, entries, vector)

    def fitted(place: tuple[int, int]) -> np.ndarray:
        index, k = place
        last = min((index + 1) * group, rows)
        parts = [slice(first, min(first + ROWS, last)) for first in range(index * group, last, ROWS)]
        systems = [
            palette_system(
                np.ascontiguousarray(products[p][k::vector]),
                moments,
                np.ascontiguousarray(exact[p][k::vector]),
                matrix.codes[p.start // vector : p.stop // vector],
                entries,
            )
            for p in parts
        ]
        return _solved(sum(a for a, _ in systems), sum(b for _, b in systems), palettes[index, :, k].astype(np.float64))

    places = [(index, k) for index in range(groups) for k in range(vector)]
    return np.array(threaded(fitted, places)).reshape(groups, vector, entries)


def _blocks(products: np.ndarray, moments: np.ndarray, exact: np.ndarray, matrix: CompressedMatrix) -> CompressedMatrix:
    from edgesw.compress.descent import descend_blocks, scale_system  # takes long to load

    assert matrix.scales is not None
    rows, columns = products.shape
    block, top = matrix.scheme.group, 2**matrix.scheme.bits - 1
    scales = matrix.scales.astype(np.float32)
    zeros = np.full_like(scales, 2 ** (matrix.scheme.bits - 1)) if matrix.zero_points is None else matrix.zero_points
    zeros, codes = zeros.astype(np.float32), matrix.codes.copy()

    def rescale(first: int) -> None:
        for row in range(first, min(first + ROWS, rows)):
            integers = codes[row].astype(np.float32) - np.repeat(zeros[row], block)[:columns]
            system, right = scale_system(products[row], moments, exact[row], integers, block)
            fit = _solved(system, right, scales[row].astype(np.float64))
            moved = fit / scales[row]  # a scale may be negative
            fit = np.where((moved < 1 / FURTHEST) | (moved > FURTHEST), scales[row], fit)
            stored = to_float16(fit).astype(np.float32)
            scales[row] = np.where(stored == 0, scales[row], stored)

    def descend(first: int) -> None:
        own = slice(first, first + ROWS)
        descend_blocks(gradients[own], moments, exact[own], scales[own], zeros[own], block, top, codes[own], PASSES)

    threaded(rescale, range(0, rows, ROWS))
    better = replace(matrix, codes=codes, scales=scales.astype(np.float16))  # the codes are bettered in place below
    gradients = _gradients(products, moments, exact, better)
    threaded(descend, range(0, rows, ROWS))
    return better


def _gradients(products: np.ndarray, moments: np.ndarray, exact: np.ndarray, matrix: CompressedMatrix) -> np.ndarray:
    """(W - Q) H, float32 (rows, columns), of weights that are zero where `exact` is True; Q counts as zero there."""
    return products - np.where(exact, np.float32(0), matrix.dense()) @ moments


def _solved(system: np.ndarray, right: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The solution nearest to the present one, in effect: what the system says nothing about stays as it is."""
    ridge = 1e-6 * np.trace(system) / len(system) + np.finfo(np.float64).tiny
    system = system + ridge * np.eye(len(system))
    return present + np.linalg.solve(system, right - system @ present)

"""Error compensation: a matrix compressed column by column, later columns taking up the errors of earlier ones.

What counts is the error of the product, tr((W - Q) H (W - Q)^T), with H the second moments of the matrix's input.
With H = R R^T and R upper triangular that is the sum of squares of (W - Q) R, whose column i holds the errors of
columns 0 to i. So column i is best rounded not to its weights but to its target,
w_i + sum_{j<i} (w_j - q_j) R_ji / R_ii, and the square of what is left counts R_ii^2 times. This is the rule of GPTQ
(arXiv 2210.17323), written with a factor of H where GPTQ takes one of its inverse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from edgesw.compress.blocks import fit_blocks
from edgesw.compress.matrix import CompressedMatrix, HeldOut, Scheme
from edgesw.compress.palette import fit_palettes

# A column whose input was silent counts as much as this share of the mean.
FLOOR = 1e-6
# Columns of a palette's matrix between two matrix products.
STEP = 64

Columns = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Feedback:
    """How much of an earlier column's error each later column takes up, and how much what is left then counts."""

    shares: np.ndarray  # float32 (columns, columns), upper triangular: R_ji / R_ii
    importance: np.ndarray  # float64 (columns,): R_ii^2

    @classmethod
    def of(cls, moments: np.ndarray, damping: float = 0.0) -> Feedback:
        """From the second moments X^T X / n of an input X (n, columns): finite, symmetric (columns, columns).

        `damping` times its own mean square is added to each column's: it draws correlations that a short text shows
        towards zero. A share of the mean, as in GPTQ, would drown the other columns where one column's input spikes.
        """
        # The lower Cholesky factor of the moments read backwards is R read backwards.
        backwards = np.array(moments[::-1, ::-1], np.float64)
        squares = np.diagonal(backwards).copy()
        floor = FLOOR * float(squares.mean()) or 1.0
        backwards[np.diag_indices(len(squares))] += damping * squares + floor
        factor = np.linalg.cholesky(backwards)[::-1, ::-1]
        diagonal = np.diagonal(factor)
        return cls((factor / diagonal).astype(np.float32), np.square(diagonal))


def compensate(
    weights: np.ndarray, feedback: Feedback, scheme: Scheme, held_out: Iterable[tuple[int, int]] = ()
) -> CompressedMatrix:
    """Compress float32 (rows, columns) so that later columns take up the errors of earlier ones.

    The (row, column) scalars in `held_out` are exact in the product, so they have no error to pass on; their places in
    the dense part are not fitted to. Their values are kept in float16.
    """
    places = sorted(set(held_out))
    scalars = tuple(HeldOut(row, column, float(np.float16(weights[row, column]))) for row, column in places)
    # Transposed: what is worked on is a column, and its values then lie side by side.
    held = np.zeros(weights.T.shape, bool)
    for row, column in places:
        held[column, row] = True
    matrix = np.where(held, 0, weights.T).astype(np.float32)
    if scheme.kind == "palette":
        return _palettes(matrix, held, feedback, scheme, scalars)
    return _blocks(matrix, held, feedback, scheme, scalars)


def _palettes(
    matrix: np.ndarray, held: np.ndarray, feedback: Feedback, scheme: Scheme, scalars: tuple[HeldOut, ...]
) -> CompressedMatrix:
    """The palettes serve all columns, so they are fitted to the weights before the first is rounded."""
    columns, rows = matrix.shape
    palettes = fit_palettes(
        np.ascontiguousarray(matrix.T), scheme.bits, scheme.group, feedback.importance, np.ascontiguousarray(held.T)
    )
    group = np.arange(rows) // (scheme.group or rows)
    entries = palettes.astype(np.float32)
    edges = np.ascontiguousarray(((entries[:, 1:] + entries[:, :-1]) / 2)[group].T)

    def nearest(target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        codes = (target > edges).sum(0)
        return codes, entries[group, codes]

    codes = np.empty((columns, rows), np.uint8)
    errors = np.zeros_like(matrix)
    for start in range(0, columns, STEP):
        _round_columns(slice(start, min(start + STEP, columns)), matrix, held, feedback, nearest, codes, errors)
    return CompressedMatrix(scheme, np.ascontiguousarray(codes.T), palettes, held_out=scalars)


def _blocks(
    matrix: np.ndarray, held: np.ndarray, feedback: Feedback, scheme: Scheme, scalars: tuple[HeldOut, ...]
) -> CompressedMatrix:
    """Scales and zero points are fitted when a block is reached, to its targets."""
    columns, rows = matrix.shape
    blocks, top = -(-columns // scheme.group), 2**scheme.bits - 1
    codes = np.empty((columns, rows), np.uint8)
    errors = np.zeros_like(matrix)
    scales = np.empty((rows, blocks), np.float16)
    zeros = np.full((rows, blocks), 2 ** (scheme.bits - 1), np.uint8)
    for block in range(blocks):
        part = slice(block * scheme.group, min((block + 1) * scheme.group, columns))
        targets = np.where(held[part], 0, _targets(part, matrix, feedback, errors))
        _, scale, zero = fit_blocks(
            np.ascontiguousarray(targets.T), scheme.bits, scheme.group, scheme.zero_points, feedback.importance[part]
        )
        scales[:, block] = scale[:, 0]
        if zero is not None:
            zeros[:, block] = zero[:, 0]
        step, offset = scales[:, block].astype(np.float32), zeros[:, block].astype(np.float32)

        def nearest(
            target: np.ndarray, step: np.ndarray = step, offset: np.ndarray = offset
        ) -> tuple[np.ndarray, np.ndarray]:
            integers = np.clip(np.rint(target / step), -offset, top - offset)
            return integers + offset, integers * step

        _round_columns(part, matrix, held, feedback, nearest, codes, errors)
    kept = zeros if scheme.zero_points else None
    return CompressedMatrix(scheme, np.ascontiguousarray(codes.T), scales=scales, zero_points=kept, held_out=scalars)


def _targets(part: slice, matrix: np.ndarray, feedback: Feedback, errors: np.ndarray) -> np.ndarray:
    """What the columns of `part` are to be rounded to for the errors of all columns before `part`."""
    before = slice(0, part.start)
    return matrix[part] + feedback.shares[before, part].T @ errors[before]


def _round_columns(
    part: slice,
    matrix: np.ndarray,
    held: np.ndarray,
    feedback: Feedback,
    nearest: Columns,
    codes: np.ndarray,
    errors: np.ndarray,
) -> None:
    """Round the columns of `part` one after the other, into `codes` and `errors`. `nearest` gives, for the targets
    (rows,) of a column, codes and what they stand for."""
    targets = _targets(part, matrix, feedback, errors)
    for at, column in enumerate(range(part.start, part.stop)):
        within = slice(part.start, column)
        target = targets[at] + feedback.shares[within, column] @ errors[within]
        if held[column].any():
            target[held[column]] = 0
        codes[column], rounded = nearest(target)
        errors[column] = np.where(held[column], 0, matrix[column] - rounded)

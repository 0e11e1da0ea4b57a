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

from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.output_error import OutputError

ROUNDS = 2
# Added to each column's mean square, as a share of it, for as many tokens as columns; less for more tokens. It draws
# correlations that a text shows by chance towards zero (docs/compression.md).
DAMPING = 8.0


@dataclass(frozen=True)
class Hessian:
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
    error = OutputError(np.where(exact, np.float32(0), weights) @ moments, moments, exact)
    dense = start.dense
    for _ in range(ROUNDS):
        dense = dense.refined(error)
    return replace(start, dense=dense)

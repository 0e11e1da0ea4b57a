"""Error compensation: codes that compensate each other's errors, and palettes or scales fitted to those codes.

The error that counts is that of the product, tr((W - Q) H (W - Q)^T), where H is the Hessian of the layer-wise
objective: the second moments of the matrix's input. Two steps alternate, beginning at the fit that knows only the
diagonal of H: codes, by coordinate descent; then palettes (or scales) that are the best for the codes, by least
squares. This is the LNQ of arXiv 2505.07004. Beginning at GPTQ's codes (arXiv 2210.17323) leads to no smaller error
(docs/compression.md), so there is no such step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.output_error import OutputError

if TYPE_CHECKING:
    import torch

# Added to each column's mean square, as a share of it, for a text with as many tokens as columns; less for more tokens.
# It shrinks the correlations that a text shows by chance (docs/compression.md).
DAMPING = 8.0


@dataclass(frozen=True)
class Hessian:
    """Second moments of a matrix's input on a text, float32 (columns, columns) each."""

    own: np.ndarray
    """X^T X / tokens for X the input that the compressed layers before give."""
    shift: np.ndarray
    """(F - X)^T X / tokens for F the input in the float model."""
    tokens: int
    products: torch.dtype | None = None
    """The type in which products with these moments are computed; None: float32."""

    @cached_property
    def damped(self) -> np.ndarray:
        """`own` with more on its diagonal: positive definite, float32."""
        own = self.own.astype(np.float32)
        diagonal = np.diagonal(own).astype(np.float64)
        floor = 1e-6 * diagonal.mean() + np.finfo(np.float32).tiny
        own[np.diag_indices(len(own))] += (DAMPING * len(own) / self.tokens * diagonal + floor).astype(np.float32)
        return own

    def matched(self, weights: np.ndarray) -> np.ndarray:
        """The weights W' = W C H^-1, where C is F^T X / tokens: of all weights, those whose product with X is the
        closest to the product of W (rows, columns) with F. They compensate the errors of earlier layers as far as X
        allows."""
        if "_step" in self.__dict__ or 2 * len(weights) >= len(self.own):
            return weights + weights @ self._step
        return weights + self._solved(weights @ self.shift)  # less than for all columns

    @cached_property
    def _step(self) -> np.ndarray:
        return self._solved(self.shift)

    @cached_property
    def _factor(self) -> torch.Tensor:
        import torch

        return torch.linalg.cholesky(torch.from_numpy(self.damped))

    def _solved(self, rows: np.ndarray) -> np.ndarray:
        """rows H^-1, float32."""
        import torch

        found: np.ndarray = torch.cholesky_solve(torch.from_numpy(rows).T, self._factor).T.contiguous().numpy()
        return found


def compensate(
    weights: np.ndarray,
    hessian: np.ndarray,
    start: CompressedMatrix,
    exact: np.ndarray | None = None,
    products: torch.dtype | None = None,
) -> CompressedMatrix:
    """Improves `start`, a fit of float32 (rows, columns), for an input with this `hessian` (columns, columns).

    The Hessian is symmetric and positive definite. Where `exact` (rows, columns) is True the correction makes the
    product exact whatever the code is: there is no error to compensate, and the code stays. `products` is the type in
    which products with the whole Hessian are computed (None: float32). With bfloat16 they take a quarter of the time on
    a processor that has it, and the error is hardly larger.
    """
    return replace(start, dense=start.dense.refined(OutputError.of(weights, hessian, exact, products)))

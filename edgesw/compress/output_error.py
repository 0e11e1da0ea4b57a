"""OutputError: the error of a matrix's product, which error compensation reduces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Passes over a row's codes in one descent, and rows that one least-squares system is summed over (a whole number of
# vectors): fixed, so that the sum does not depend on how many threads share the rows.
PASSES = 4
ROWS = 64


@dataclass(frozen=True)
class OutputError:
    """tr((W - Q) H (W - Q)^T) for weights W, with H the second moments of the matrix's input, as a function of Q."""

    products: np.ndarray
    """W H, float32 (rows, columns). W is zero where `exact` is True."""
    hessian: np.ndarray
    """H, float32 (columns, columns), symmetric and positive definite."""
    exact: np.ndarray
    """Bool (rows, columns): where the correction makes the product exact whatever the code, so there is no error."""

    def gradients(self, dense: np.ndarray) -> np.ndarray:
        """(W - Q) H for Q = `dense`, float32 (rows, columns)."""
        return self.products - np.where(self.exact, np.float32(0), dense) @ self.hessian


def solved(system: np.ndarray, right: np.ndarray, present: np.ndarray) -> np.ndarray:
    """The solution of system @ x = right that is nearest to `present`, in effect: what the system leaves open stays as
    it is."""
    ridge = 1e-6 * np.trace(system) / len(system) + np.finfo(np.float64).tiny
    system = system + ridge * np.eye(len(system))
    return present + np.linalg.solve(system, right - system @ present)

"""The least-squares problems of palettes and scales, compiled with numba: what best changes them while all codes stay.

Adding x[u] to the parameters u of a matrix Q changes tr((W - Q) H (W - Q)^T) by x A x - 2 b x. Here are b, exactly, and A,
with H between the columns of short pieces only: what it has beyond them mostly cancels out, and would take columns^2
steps for each row.

Loops are written out even where numpy has a function: numba compiles loops in a fraction of the time.
"""

from __future__ import annotations

import numpy as np

from edgesw.compress.compiled import kernel


@kernel
def add_scale_fits(
    gradients: np.ndarray, hessian: np.ndarray, exact: np.ndarray, integers: np.ndarray, a: np.ndarray, b: np.ndarray
) -> None:
    """Adds to float64 `a` and `b` (rows,) what columns with the same scale have: integers, float32 (rows, n), times the
    scale are the values. gradients are (rows, n), hessian (n, n)."""
    rows, columns = integers.shape
    sums = np.empty(columns, np.float32)
    for row in range(rows):
        sums[:] = np.float32(0)
        for i in range(columns):
            if integers[row, i] != 0 and not exact[row, i]:
                for j in range(columns):
                    sums[j] += integers[row, i] * hessian[i, j]
        for i in range(columns):
            if not exact[row, i]:
                a[row] += sums[i] * integers[row, i]
                b[row] += gradients[row, i] * integers[row, i]


@kernel
def add_palette_fits(
    gradients: np.ndarray,
    hessian: np.ndarray,
    exact: np.ndarray,
    codes: np.ndarray,
    owners: np.ndarray,
    piece: int,
    a: np.ndarray,
    b: np.ndarray,
) -> None:
    """Adds to float64 `a` (palettes, vector, entries, entries) and `b` (palettes, vector, entries) what a block of
    columns has, in pieces of `piece` columns: codes (rows / vector, n) index entries of palettes[owners[row]]."""
    vector, (rows, columns) = a.shape[1], codes.shape
    for row in range(rows):
        for k in range(vector):
            at = row * vector + k
            system, right = a[owners[row], k], b[owners[row], k]
            for i in range(columns):
                if exact[at, i]:
                    continue
                code = codes[row, i]
                right[code] += gradients[at, i]
                system[code, code] += hessian[i, i]
                for j in range(i // piece * piece, i):
                    if not exact[at, j]:
                        system[code, codes[row, j]] += hessian[i, j]
                        system[codes[row, j], code] += hessian[i, j]

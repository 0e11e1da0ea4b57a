"""The least-squares problems of palettes and scales, compiled with numba: what best changes them while all codes stay.

Moving the values of a matrix Q by x changes tr((W - Q) H (W - Q)^T) by x A x - 2 b x. Here are b, exactly, and A with H
between the columns of short pieces only: what it has beyond them mostly cancels out, and would take columns^2 steps for
each row.

Loops are written out even where numpy has a function: numba compiles loops in a fraction of the time.
"""

from __future__ import annotations

import numpy as np

from edgesw.compress.compiled import kernel
from edgesw.compress.output_error import WIDTH

# Columns of a piece, for palettes.
PIECE = 32


@kernel
def add_scale_fits(
    gradients: np.ndarray,
    hessian: np.ndarray,
    integers: np.ndarray,
    first: int,
    group: int,
    a: np.ndarray,
    b: np.ndarray,
) -> None:
    """Adds to float64 `a` and `b` (rows, scales) what a block of n columns has that begins at column `first`: integers,
    float32 (rows, n) and 0 where the product is exact, times the scale of every `group` columns are the values.
    gradients are (rows, WIDTH), hessian (n, WIDTH). The columns of a scale in the block are a piece."""
    rows, columns = integers.shape
    sums = np.empty(WIDTH, np.float32)
    start = 0
    while start < columns:
        scale = (first + start) // group
        end = min((scale + 1) * group - first, columns)
        for row in range(rows):
            sums[:] = np.float32(0)
            right, system = np.float64(0), np.float64(0)
            for i in range(start, end):
                integer = integers[row, i]
                right += integer * gradients[row, i]
                for j in range(WIDTH):  # more than needed: a fixed number is faster
                    sums[j] += integer * hessian[i, j]
            for j in range(start, end):
                system += sums[j] * integers[row, j]
            a[row, scale] += system
            b[row, scale] += right
        start = end


@kernel
def add_palette_fits(
    gradients: np.ndarray,
    hessian: np.ndarray,
    exact: np.ndarray,
    codes: np.ndarray,
    owners: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
) -> None:
    """Adds to float64 `a` (palettes, vector, entries, entries) and `b` (palettes, vector, entries) what a block of n
    columns has: codes (rows / vector, n) index the entries of palettes[owners[row]]. gradients are (rows, WIDTH),
    hessian (n, WIDTH), exact (rows, n)."""
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
                for j in range(i // PIECE * PIECE, i):
                    if not exact[at, j]:
                        system[code, codes[row, j]] += hessian[i, j]
                        system[codes[row, j], code] += hessian[i, j]

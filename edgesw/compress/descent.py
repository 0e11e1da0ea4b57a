"""Coordinate descent on the codes of a block of columns, compiled with numba.

It reduces the error of a matrix's product, tr((W - Q) H (W - Q)^T) with H the second moments of its input: each row by
itself, one code at a time, each set to the best one given all others. For all kernels, of a block of n columns:

gradients    (W - Q) H, float32 (rows, WIDTH), updated; of the last block only n columns count
hessian      H, float32 (n, WIDTH), with a positive diagonal
exact        bool (rows, n), True where the product is exact whatever the code
codes        uint8 (rows, n), improved in place
steps        float32 (rows, WIDTH), filled in: the sum of a value's changes

Loops are written out even where numpy has a function: numba compiles loops in a fraction of the time.
"""

from __future__ import annotations

import numpy as np

from edgesw.compress.compiled import kernel, subroutine
from edgesw.compress.output_error import WIDTH

# How often a row of a block is gone over, at most: until no code changes.
SWEEPS = 3


@subroutine
def _add(to: np.ndarray, values: np.ndarray, factor: float) -> None:
    """to += factor * values, of WIDTH each."""
    for j in range(WIDTH):
        to[j] += factor * values[j]


@subroutine
def _nearest(value: float, middles: np.ndarray) -> int:
    """The index of the nearest entry of an ascending palette with these `middles`: between its entries, and at the ends
    infinite."""
    low, high = 0, middles.shape[0] - 2
    while low < high:
        middle = (low + high) // 2
        if value > middles[middle + 1]:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def descend_palettes(
    gradients: np.ndarray,
    hessian: np.ndarray,
    exact: np.ndarray,
    codes: np.ndarray,
    palettes: np.ndarray,
    owners: np.ndarray,
    steps: np.ndarray,
) -> None:
    """For values palettes[owners[row], code]: float32 (palettes, entries), ascending, and integers (rows,)."""
    rows, columns = codes.shape
    entries = palettes.shape[1]
    middles = np.empty(entries + 1, np.float32)
    inverse = np.empty(WIDTH, np.float32)
    for i in range(columns):
        inverse[i] = np.float32(1) / hessian[i, i]
    steps[:] = np.float32(0)
    for row in range(rows):
        palette, gradient = palettes[owners[row]], gradients[row]
        middles[0], middles[entries] = -np.inf, np.inf
        for k in range(1, entries):
            middles[k] = (palette[k - 1] + palette[k]) * np.float32(0.5)
        for _ in range(SWEEPS):
            still = True
            for i in range(columns):
                code = codes[row, i]
                target = palette[code] + gradient[i] * inverse[i]
                if middles[code] < target <= middles[code + 1] or exact[row, i]:
                    continue
                other = _nearest(target, middles)
                step = palette[other] - palette[code]
                if step != 0:
                    codes[row, i] = other
                    steps[row, i] += step
                    _add(gradient, hessian[i], -step)
                    still = False
            if still:
                break


@kernel
def descend_blocks(
    gradients: np.ndarray,
    hessian: np.ndarray,
    exact: np.ndarray,
    codes: np.ndarray,
    scales: np.ndarray,
    top: int,
    steps: np.ndarray,
) -> None:
    """For values (code - zero point) * scale, with codes from 0 to `top`: scales float32 (rows, n), none of them 0. The
    zero points do not matter to what a change does."""
    rows, columns = codes.shape
    steps[:] = np.float32(0)
    for row in range(rows):
        gradient = gradients[row]
        for _ in range(SWEEPS):
            still = True
            for i in range(columns):
                code = np.float32(codes[row, i])
                other = np.rint(code + gradient[i] / (hessian[i, i] * scales[row, i]))
                other = min(max(other, np.float32(0)), np.float32(top))
                if other != code and not exact[row, i]:
                    step = (other - code) * scales[row, i]
                    codes[row, i] = np.uint8(other)
                    steps[row, i] += step
                    _add(gradient, hessian[i], -step)
                    still = False
            if still:
                break


@kernel
def record_changes(changes: np.ndarray, first: int, places: np.ndarray, steps: np.ndarray, ends: np.ndarray) -> None:
    """Appends the changes of a block, float32 (rows, WIDTH), that are not 0, row by row, to a list of changes: their
    columns to `places`, int32, where the block begins at column `first`, and themselves to `steps`, float32. ends
    (rows + 1,) are the lengths of the list before each row and after the last; the first is given. Both arrays have
    room for one more than there can be."""
    bits = changes.view(np.int32)  # most have none: whole numbers are vectorized
    count = ends[0]
    for row in range(changes.shape[0]):
        for start in range(0, WIDTH, 16):
            some = np.int32(0)
            for i in range(16):
                some |= bits[row, start + i]
            if some == 0:
                continue
            for i in range(start, start + 16):
                places[count] = first + i
                steps[count] = changes[row, i]
                count += 1 if changes[row, i] != 0 else 0
        ends[row + 1] = count


@kernel
def catch_up(
    gradients: np.ndarray, hessian: np.ndarray, places: np.ndarray, steps: np.ndarray, ends: np.ndarray
) -> None:
    """Brings the gradients of a block of columns up to date with the changes of others, in lists as `record_changes`
    makes them, with `ends` (blocks, rows + 1). hessian are all rows of H in these columns, float32 (columns, WIDTH)."""
    for block in range(ends.shape[0]):
        for row in range(gradients.shape[0]):
            for at in range(ends[block, row], ends[block, row + 1]):
                place, step = places[at], steps[at]
                for j in range(WIDTH):
                    gradients[row, j] -= step * hessian[place, j]

"""Coordinate descent on the codes of a block of columns, compiled with numba.

It reduces the error of a matrix's product, tr((W - Q) H (W - Q)^T) with H the second moments of its input: each row by
itself, one code at a time, each set to the best one given all others. For all kernels, of a block of n columns:

gradients    (W - Q) H, float32 (rows, n or more), updated
hessian      H, float32 (n, n or more), with a positive diagonal
exact        bool (rows, n), True where the product is exact whatever the code
codes        uint8 (rows, n), improved in place
sweeps       how often to go over a row at most: until no code changes
steps        float32 as gradients, filled in: the sum of a value's changes

Loops are written out even where numpy has a function: numba compiles loops in a fraction of the time.
"""

from __future__ import annotations

import numpy as np

from edgesw.compress.compiled import kernel, subroutine


@subroutine
def _add(to: np.ndarray, values: np.ndarray, factor: float) -> None:
    """to += factor * values, over whole arrays: numba vectorizes such a loop, but not one that starts at an index."""
    for j in range(to.shape[0]):
        to[j] += factor * values[j]


@subroutine
def _nearest(value: float, palette: np.ndarray) -> int:
    """The index of the nearest entry of an ascending palette."""
    low, high = 0, palette.shape[0] - 1
    while low < high:
        middle = (low + high) // 2
        if value > (palette[middle] + palette[middle + 1]) * np.float32(0.5):
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
    sweeps: int,
    steps: np.ndarray,
) -> None:
    """For values palettes[owners[row], code]: float32 (palettes, entries), ascending, and integers (rows,)."""
    rows, columns = codes.shape
    steps[:] = np.float32(0)
    for row in range(rows):
        palette, gradient = palettes[owners[row]], gradients[row]
        for _ in range(sweeps):
            still = True
            for i in range(columns):
                value = palette[codes[row, i]]
                code = _nearest(value + gradient[i] / hessian[i, i], palette)
                if code != codes[row, i] and not exact[row, i]:
                    codes[row, i] = code
                    steps[row, i] += palette[code] - value
                    _add(gradient, hessian[i], value - palette[code])
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
    sweeps: int,
    steps: np.ndarray,
) -> None:
    """For values (code - zero point) * scale, with codes from 0 to `top`: scales float32 (rows, n), none of them 0. The
    zero points do not matter to what a change does."""
    rows, columns = codes.shape
    steps[:] = np.float32(0)
    for row in range(rows):
        gradient = gradients[row]
        for _ in range(sweeps):
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
def record_changes(
    changes: np.ndarray, first: int, width: int, places: np.ndarray, steps: np.ndarray, counts: np.ndarray
) -> int:
    """Appends the changes of a block, float32 (rows, `width` or more), that are not 0 to each row's list: their columns,
    int32 (rows, columns), where the block begins at `first`, and the changes, float32 (rows, columns). counts (rows,)
    are the lengths of the lists. Returns how many are new."""
    total = 0
    for row in range(changes.shape[0]):
        count = counts[row]
        for i in range(width):
            if changes[row, i] != 0:
                places[row, count] = first + i
                steps[row, count] = changes[row, i]
                count += 1
        total += count - counts[row]
        counts[row] = count
    return total


@kernel
def catch_up(
    gradients: np.ndarray,
    hessian: np.ndarray,
    places: np.ndarray,
    steps: np.ndarray,
    begins: np.ndarray,
    ends: np.ndarray,
) -> None:
    """Brings the gradients of a block of columns, float32 (rows, width), up to date with changes anywhere: those from
    begins (rows,) up to ends (rows,) in each row's list, as `record_changes` makes them. hessian are all rows of H in
    these columns, float32 (columns, width)."""
    for row in range(gradients.shape[0]):
        for at in range(begins[row], ends[row]):
            _add(gradients[row], hessian[places[row, at]], -steps[row, at])

"""Coordinate descent on codes, and the least-squares systems of palettes and scales; compiled with numba.

It reduces the error of a matrix's product, tr((W - Q) H (W - Q)^T) with H the second moments of its input: each row by
itself, one code at a time, until no other code at a single place would reduce it further, or the passes are over.
`gradients` below are (W - Q) H, always up to date: a code that changes adds a row of H to its row, one that stays costs
nothing.

Loops are written out even where numpy has a function: numba compiles loops in a fraction of the time.
"""

from __future__ import annotations

import numpy as np

from edgesw.compress.compiled import kernel, subroutine


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


@subroutine
def _add(to: np.ndarray, values: np.ndarray, factor: float) -> None:
    """to += factor * values, over whole arrays: numba vectorizes such a loop, but not one that starts at an index."""
    for j in range(to.shape[0]):
        to[j] += factor * values[j]


@subroutine
def _change(
    code: int, value: float, i: int, codes: np.ndarray, values: np.ndarray, hessian: np.ndarray, gradient: np.ndarray
) -> None:
    """Gives column `i` of a row another code, which decodes to `value`."""
    step = value - values[i]
    codes[i] = code
    values[i] = value
    _add(gradient, hessian[i], -step)


@kernel
def descend_palette(
    gradients: np.ndarray, hessian: np.ndarray, exact: np.ndarray, palette: np.ndarray, codes: np.ndarray, passes: int
) -> int:
    """Improves the `codes`, uint8 (rows, columns), in place. Returns the number of changes.

    gradients are float32 (rows, columns) and updated; hessian float32 (columns, columns) with a positive diagonal;
    exact (rows, columns) is True where the product is exact whatever the code; palette float32 (entries,), ascending.
    """
    rows, columns = codes.shape
    values = np.empty(columns, np.float32)
    changes = 0
    for row in range(rows):
        gradient = gradients[row]
        for i in range(columns):
            values[i] = palette[codes[row, i]]
        for _ in range(passes):
            before = changes
            for i in range(columns):
                code = _nearest(values[i] + gradient[i] / hessian[i, i], palette)
                if code != codes[row, i] and not exact[row, i]:
                    _change(code, palette[code], i, codes[row], values, hessian, gradient)
                    changes += 1
            if changes == before:
                break
    return changes


@subroutine
def _nearest_vector(target: np.ndarray, counts: np.ndarray, palette: np.ndarray, distances: np.ndarray) -> int:
    """The index of the entry of palette (vector, entries) that is nearest to target (vector,). Of its values only those
    with a count of 1 matter, not those with 0."""
    distances[:] = np.float32(0)
    for k in range(target.shape[0]):
        entries, value, weight = palette[k], target[k], counts[k]
        for entry in range(entries.shape[0]):
            off = entries[entry] - value
            distances[entry] += weight * off * off
    # Read as integers, the bits of numbers from 0 on have the order of the numbers, and their minimum is vectorized.
    bits = distances.view(np.int32)
    least = bits[0]
    for entry in range(bits.shape[0]):
        least = min(least, bits[entry])
    best = 0
    while bits[best] != least:
        best += 1
    return best


@kernel
def encode_vectors(weights: np.ndarray, exact: np.ndarray, palette: np.ndarray, codes: np.ndarray) -> None:
    """Fills in `codes`, uint8 (rows / vector, columns): the index of the entry of palette, float32 (vector, entries),
    that is nearest to the values of the vector's rows in the column. Places where `exact` (rows, columns) is True are
    left out."""
    vector, entries = palette.shape
    target, counts = np.empty(vector, np.float32), np.empty(vector, np.float32)
    distances = np.empty(entries, np.float32)
    for row in range(codes.shape[0]):
        for i in range(codes.shape[1]):
            for k in range(vector):
                target[k] = weights[row * vector + k, i]
                counts[k] = np.float32(0) if exact[row * vector + k, i] else np.float32(1)
            codes[row, i] = _nearest_vector(target, counts, palette, distances)


@kernel
def vector_totals(
    weights: np.ndarray, importance: np.ndarray, exact: np.ndarray, codes: np.ndarray, palette: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The weighted sum of the values with each entry's code, and the sum of their weights: float64 (vector, entries)
    each."""
    vector = palette.shape[0]
    sums, totals = np.zeros(palette.shape), np.zeros(palette.shape)
    for row in range(codes.shape[0]):
        for i in range(codes.shape[1]):
            for k in range(vector):
                if not exact[row * vector + k, i]:
                    sums[k, codes[row, i]] += importance[i] * weights[row * vector + k, i]
                    totals[k, codes[row, i]] += importance[i]
    return sums, totals


@kernel
def descend_vectors(
    gradients: np.ndarray, hessian: np.ndarray, exact: np.ndarray, palette: np.ndarray, codes: np.ndarray, passes: int
) -> int:
    """As `descend_palette`, for codes (rows / vector, columns) of entries of palette, float32 (vector, entries)."""
    vector, entries = palette.shape
    columns = codes.shape[1]
    values = np.empty((vector, columns), np.float32)
    target, counts = np.empty(vector, np.float32), np.empty(vector, np.float32)
    distances = np.empty(entries, np.float32)
    changes = 0
    for row in range(codes.shape[0]):
        own, held = gradients[row * vector : (row + 1) * vector], exact[row * vector : (row + 1) * vector]
        for i in range(columns):
            for k in range(vector):
                values[k, i] = palette[k, codes[row, i]]
        for _ in range(passes):
            before = changes
            for i in range(columns):
                for k in range(vector):
                    target[k] = values[k, i] + own[k, i] / hessian[i, i]
                    counts[k] = np.float32(0) if held[k, i] else np.float32(1)
                code = _nearest_vector(target, counts, palette, distances)
                if code == codes[row, i] or not counts.any():
                    continue
                for k in range(vector):
                    if not held[k, i]:
                        _change(code, palette[k, code], i, codes[row], values[k], hessian, own[k])
                    values[k, i] = palette[k, code]
                changes += 1
            if changes == before:
                break
    return changes


@kernel
def descend_blocks(
    gradients: np.ndarray,
    hessian: np.ndarray,
    exact: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray,
    block: int,
    top: int,
    codes: np.ndarray,
    passes: int,
) -> int:
    """As `descend_palette`, for values (code - zero) * scale with codes from 0 to `top`. Scales, none of them 0, and
    zeros are float32 (rows, blocks)."""
    rows, columns = codes.shape
    values = np.empty(columns, np.float32)
    changes = 0
    for row in range(rows):
        gradient = gradients[row]
        for i in range(columns):
            values[i] = (np.float32(codes[row, i]) - zeros[row, i // block]) * scales[row, i // block]
        for _ in range(passes):
            before = changes
            for i in range(columns):
                scale, zero = scales[row, i // block], zeros[row, i // block]
                integer = np.rint((values[i] + gradient[i] / hessian[i, i]) / scale) + zero
                code = np.uint8(min(max(integer, np.float32(0)), np.float32(top)))
                if code != codes[row, i] and not exact[row, i]:
                    _change(code, (np.float32(code) - zero) * scale, i, codes[row], values, hessian, gradient)
                    changes += 1
            if changes == before:
                break
    return changes


@kernel
def palette_system(
    products: np.ndarray, hessian: np.ndarray, exact: np.ndarray, codes: np.ndarray, entries: int
) -> tuple[np.ndarray, np.ndarray]:
    """The system whose solution x is the best palette of these rows for given codes: A x = b, float64 (entries,
    entries) and (entries,).

    With P the one-hot codes of a row w, A is the sum of P^T H P over the rows, b of P^T H w; `products` are the H w,
    float32 (rows, columns). A and H are symmetric, so half of each is summed.
    """
    rows, columns = codes.shape
    system, right = np.zeros((entries, entries)), np.zeros(entries)
    sums = np.empty((entries, columns), np.float32)
    for row in range(rows):
        sums[:] = np.float32(0)
        for i in range(columns):
            if not exact[row, i]:
                code = codes[row, i]
                right[code] += products[row, i]
                system[code, code] += hessian[i, i] / 2
                _add(sums[code, i + 1 :], hessian[i, i + 1 :], np.float32(1))
        for k in range(entries):
            for j in range(columns):
                if not exact[row, j]:
                    system[k, codes[row, j]] += sums[k, j]
    return system + system.T, right


@kernel
def scale_system(
    products: np.ndarray, hessian: np.ndarray, exact: np.ndarray, integers: np.ndarray, block: int
) -> tuple[np.ndarray, np.ndarray]:
    """The system whose solution x are the best scales of one row for given integers (columns,): A x = b, float64
    (blocks, blocks) and (blocks,). `products` (columns,) are H w."""
    columns = integers.shape[0]
    blocks = (columns + block - 1) // block
    system, right = np.zeros((blocks, blocks)), np.zeros(blocks)
    sums = np.zeros((blocks, columns), np.float32)
    for i in range(columns):
        if integers[i] != 0 and not exact[i]:
            right[i // block] += integers[i] * products[i]
            system[i // block, i // block] += integers[i] * integers[i] * hessian[i, i] / 2
            _add(sums[i // block, i + 1 :], hessian[i, i + 1 :], integers[i])
    for k in range(blocks):
        for j in range(k * block, columns):
            if not exact[j]:
                system[k, j // block] += sums[k, j] * integers[j]
    return system + system.T, right

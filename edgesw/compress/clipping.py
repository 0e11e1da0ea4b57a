"""The search for each block's scale and zero point; compiled with numba.

Blocks are fitted `LANES` at a time, the values of one place in all of them next to each other: loops over the lanes are
vectorized, and every processor adds up a block in the same order.
"""

from __future__ import annotations

import numpy as np

from edgesw.compress.compiled import kernel, subroutine

LANES = 64
# The clipped ranges to try, as shares of a block's full range; each block gets the best one.
CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
LARGEST = float(np.finfo(np.float16).max)


@subroutine
def _size(scale: np.float32) -> np.float32:
    largest, few, step = np.float32(LARGEST), np.float32(2.0**-14), np.float32(2.0**-24)
    if scale < few:  # not normal: whole steps
        size = np.float32(np.rint(scale / step)) * step
    else:
        # Rounds 24 bits to eleven (Dekker, 1971): the nearest float16, but ties may go the other way.
        spread = min(scale, largest) * np.float32(2.0**13 + 1)
        size = spread - (spread - min(scale, largest))
    return size if size > 0 else np.float32(1)


@subroutine
def _stored(scale: np.float32) -> np.float32:
    """The scale as float16, clipped to its range; 1 where that would be zero (a block of zeros)."""
    if scale < 0:
        return -_size(-scale)
    return _size(scale)


@subroutine
def _candidates(values: np.ndarray, top: int, zero_points: bool, scales: np.ndarray, zeros: np.ndarray) -> int:
    """Writes the scales and zero points to try for each lane of `values` (block, LANES) to arrays (candidates, LANES).
    Returns the number of candidates."""
    half = (top + 1) // 2
    for lane in range(values.shape[1]):
        low, high = np.float32(0), np.float32(0)
        for j in range(values.shape[0]):
            low, high = min(low, values[j, lane]), max(high, values[j, lane])
        count = 0
        if zero_points:
            exact = -low / (high - low) * np.float32(top) if high > low else np.float32(0)
            for clip in CLIPS:
                scale = _stored((high - low) * np.float32(clip) / np.float32(top))
                for zero in (np.floor(exact), np.ceil(exact)):
                    scales[count, lane], zeros[count, lane] = scale, zero
                    count += 1
        else:
            # The value of largest magnitude is at the end that has one integer more, on that integer or half a step
            # before it, or at the other end.
            full = (high if high > -low else low) / np.float32(-half)
            for k in range(len(CLIPS) + 1):
                clip = CLIPS[k] if k < len(CLIPS) else half / (half - 0.5)
                for sign in (1, -1):
                    scales[count, lane], zeros[count, lane] = _stored(full * np.float32(clip * sign)), np.float32(half)
                    count += 1
            # As in plain rounding, the same integer at both ends: the best for symmetric values.
            even = full * np.float32(half / (half - 1)) if half > 1 else full
            scales[count, lane], zeros[count, lane] = _stored(even), np.float32(half)
            count += 1
    return count


@subroutine
def _integers(values: np.ndarray, scale: np.ndarray, zero: np.ndarray, top: int, integers: np.ndarray) -> None:
    for j in range(values.shape[0]):
        row, out = values[j], integers[j]
        for lane in range(row.shape[0]):
            out[lane] = min(max(np.rint(row[lane] / scale[lane]), -zero[lane]), np.float32(top) - zero[lane])


@subroutine
def _refit(
    values: np.ndarray,
    weights: np.ndarray,
    integers: np.ndarray,
    norm: np.ndarray,
    along: np.ndarray,
    scale: np.ndarray,
) -> None:
    """Fits each lane's `scale` to its integers by least squares, unless they are all zero."""
    norm[:], along[:] = np.float32(0), np.float32(0)
    for j in range(values.shape[0]):
        row, weight, integer = values[j], weights[j], integers[j]
        for lane in range(row.shape[0]):
            weighted = weight[lane] * integer[lane]
            norm[lane] += weighted * integer[lane]
            along[lane] += weighted * row[lane]
    for lane in range(norm.shape[0]):
        if norm[lane] > 0:
            scale[lane] = _stored(along[lane] / norm[lane])


@subroutine
def _errors(
    values: np.ndarray, weights: np.ndarray, integers: np.ndarray, scale: np.ndarray, errors: np.ndarray
) -> None:
    errors[:] = np.float32(0)
    for j in range(values.shape[0]):
        row, weight, integer = values[j], weights[j], integers[j]
        for lane in range(row.shape[0]):
            off = integer[lane] * scale[lane] - row[lane]
            errors[lane] += weight[lane] * off * off


@kernel
def fit_clipped(
    blocks: np.ndarray,
    importance: np.ndarray,
    top: int,
    zero_points: bool,
    codes: np.ndarray,
    scales: np.ndarray,
    zeros: np.ndarray,
) -> None:
    """Fills in `codes`, uint8 (blocks, block), float32 `scales` (blocks,) with values that float16 can hold, and
    `zeros`.

    `blocks` are float32 (blocks, block), `importance` (blocks of a row, block): rows follow each other. Codes go from 0
    to `top`; without zero points the code (top + 1) / 2 decodes to 0. Each block gets the candidate with the smallest
    weighted squared error, after its scale has been fitted to its integers by least squares.
    """
    count, block = blocks.shape
    # Separate arrays: the compiler could not know that parts of one array do not overlap.
    values, weights = np.zeros((block, LANES), np.float32), np.zeros((block, LANES), np.float32)
    integers = np.empty((block, LANES), np.float32)
    tried = np.empty((2 * len(CLIPS) + 3, LANES), np.float32)
    offsets = np.empty((2 * len(CLIPS) + 3, LANES), np.float32)
    norm, along, errors = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    best, scale, zero = np.empty(LANES, np.float32), np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    for start in range(0, count, LANES):
        lanes = min(LANES, count - start)
        for lane in range(lanes):
            for j in range(block):
                values[j, lane] = blocks[start + lane, j]
                weights[j, lane] = importance[(start + lane) % len(importance), j]
        best[:], scale[:], zero[:] = np.float32(np.inf), np.float32(1), np.float32(0)
        for k in range(_candidates(values, top, zero_points, tried, offsets)):
            _integers(values, tried[k], offsets[k], top, integers)
            _refit(values, weights, integers, norm, along, tried[k])
            _integers(values, tried[k], offsets[k], top, integers)
            _errors(values, weights, integers, tried[k], errors)
            for lane in range(LANES):
                if errors[lane] < best[lane]:
                    best[lane], scale[lane], zero[lane] = errors[lane], tried[k, lane], offsets[k, lane]
        _integers(values, scale, zero, top, integers)
        for lane in range(lanes):
            scales[start + lane], zeros[start + lane] = scale[lane], zero[lane]
            for j in range(block):
                codes[start + lane, j] = np.uint8(integers[j, lane] + zero[lane])

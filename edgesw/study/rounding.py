"""Round-to-nearest as the paper does it, with numpy: what a plain converter would make of a matrix."""

from __future__ import annotations

import numpy as np

BITS = 4


def round_blocks(weights: np.ndarray, block: int | None, sigmas: float | None = None, bits: int = BITS) -> np.ndarray:
    """What float32 (rows, columns) becomes when each run of `block` columns of a row is rounded by itself; a row's last
    run may be shorter. Block 0 is a whole row, None the whole matrix.

    Asymmetric min-max (arXiv 2411.07191, section 4): w -> min + step * round((w - min) / step) with step =
    (max - min) / (2**bits - 1). With `sigmas` a run's values are first clipped to mean +- sigmas * standard deviation.
    """
    if block is None:
        return _round(weights.reshape(1, -1), sigmas, bits).reshape(weights.shape)
    rows, columns = weights.shape
    if block == 0 or block >= columns:
        return _round(weights, sigmas, bits)
    whole = columns // block * block
    rounded = np.empty_like(weights)
    rounded[:, :whole] = _round(weights[:, :whole].reshape(-1, block), sigmas, bits).reshape(rows, whole)
    if whole < columns:
        rounded[:, whole:] = _round(weights[:, whole:], sigmas, bits)
    return rounded


def _round(runs: np.ndarray, sigmas: float | None, bits: int) -> np.ndarray:
    """(runs, values), each run by itself."""
    if sigmas is not None:
        # In double: over a whole matrix float32 sums drift.
        mean = runs.mean(1, keepdims=True, dtype=np.float64)
        reach = sigmas * runs.std(1, keepdims=True, dtype=np.float64, mean=mean)
        runs = np.clip(runs, (mean - reach).astype(np.float32), (mean + reach).astype(np.float32))
    low = runs.min(1, keepdims=True)
    step = (runs.max(1, keepdims=True) - low) / np.float32(2**bits - 1)
    step[step == 0] = 1  # all values of the run are equal, and stay as they are
    codes = np.subtract(runs, low)
    codes /= step
    np.rint(codes, out=codes)
    codes *= step
    codes += low
    return codes

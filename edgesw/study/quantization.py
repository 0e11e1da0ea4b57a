"""Round-to-nearest quantization as in the paper, simulated in float32: what a plain converter makes of a matrix."""

from __future__ import annotations

import numpy as np

BITS = 4


def fake_quantize(weights: np.ndarray, block: int | None, sigmas: float | None = None, bits: int = BITS) -> np.ndarray:
    """The weights (rows, columns), float32, after each run of `block` columns of a row was quantized with a range of
    its own and dequantized again. The last run of a row may be shorter. Block 0 is a whole row, None the whole matrix.

    Asymmetric min-max (arXiv 2411.07191, section 4): w -> min + step * round((w - min) / step) with step =
    (max - min) / (2**bits - 1). With `sigmas` the values of a run are first clipped to mean +- sigmas *
    standard deviation.
    """
    if block is None:
        return _quantize_runs(weights.reshape(1, -1), sigmas, bits).reshape(weights.shape)
    rows, columns = weights.shape
    if block == 0 or block >= columns:
        return _quantize_runs(weights, sigmas, bits)
    whole = columns // block * block
    made = np.empty_like(weights)
    made[:, :whole] = _quantize_runs(weights[:, :whole].reshape(-1, block), sigmas, bits).reshape(rows, whole)
    if whole < columns:
        made[:, whole:] = _quantize_runs(weights[:, whole:], sigmas, bits)
    return made


def _quantize_runs(runs: np.ndarray, sigmas: float | None, bits: int) -> np.ndarray:
    """Quantizes and dequantizes each row of (runs, values) with a range of its own."""
    if sigmas is not None:
        # In float64, because float32 sums over a whole matrix drift.
        mean = runs.mean(1, keepdims=True, dtype=np.float64)
        reach = sigmas * runs.std(1, keepdims=True, dtype=np.float64, mean=mean)
        runs = np.clip(runs, (mean - reach).astype(np.float32), (mean + reach).astype(np.float32))
    low = runs.min(1, keepdims=True)
    step = (runs.max(1, keepdims=True) - low) / np.float32(2**bits - 1)
    step[step == 0] = 1  # all values of the run are equal and stay as they are
    codes = np.subtract(runs, low)
    codes /= step
    np.rint(codes, out=codes)
    codes *= step
    codes += low
    return codes

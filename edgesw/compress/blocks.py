"""Block integers: every `block` columns of a row share a scale and, optionally, a zero point."""

from __future__ import annotations

import numpy as np

from edgesw.compress.threads import threaded

# Values that one thread fits at a time: few enough that a matrix is work for all cores.
CHUNK = 1 << 18


def fit_blocks(
    weights: np.ndarray, bits: int, block: int, zero_points: bool, importance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Codes uint8 (rows, columns), scales float16 (rows, blocks), zero points uint8 (rows, blocks) or None.

    Each block gets the clipping with the smallest squared error, the columns weighted by their `importance`
    (columns,), after its scale has been fitted to the rounded integers by least squares. Without zero points the
    integer 2**(bits - 1) decodes to 0, and the value of largest magnitude may be at either end.
    """
    from edgesw.compress.clipping import fit_clipped  # takes long to load

    rows, columns = weights.shape
    blocks = -(-columns // block)
    spare = blocks * block - columns
    each = np.ones(columns, np.float32) if importance is None else importance.astype(np.float32)
    # The constant is for blocks whose inputs are all zero: they still get a fit.
    each = np.pad(each / max(float(each.mean()), 1e-30) + np.float32(1e-6), (0, spare)).reshape(blocks, block)
    codes = np.empty((rows, blocks * block), np.uint8)
    scales, zeros = np.empty((rows, blocks), np.float32), np.empty((rows, blocks), np.float32)
    step = max(1, CHUNK // (blocks * block))

    def fit(start: int) -> None:
        own = slice(start, start + step)
        x = np.pad(weights[own].astype(np.float32, copy=False), ((0, 0), (0, spare))).reshape(-1, block)
        made = codes[own].reshape(-1, block), scales[own].reshape(-1), zeros[own].reshape(-1)
        fit_clipped(x, each, 2**bits - 1, zero_points, *made)

    threaded(fit, range(0, rows, step))  # each writes its own rows of the results
    codes = codes[:, :columns].copy() if spare else codes
    return codes, scales.astype(np.float16), zeros.astype(np.uint8) if zero_points else None


def decode_blocks(codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray, block: int) -> np.ndarray:
    """(codes - zeros) * scales, float32 (rows, columns). `zeros` are float32 (rows, blocks), or () for one that all
    share."""
    columns = codes.shape[1]

    def spread(per_block: np.ndarray) -> np.ndarray:
        return np.repeat(per_block.astype(np.float32), block, axis=1)[:, :columns]

    wide = codes.astype(np.float32)
    return (wide - (spread(zeros) if zeros.ndim else zeros)) * spread(scales)

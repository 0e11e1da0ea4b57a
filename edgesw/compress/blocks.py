"""Block integers: every `block` columns of a row share a scale, and a zero point if asked for."""

from __future__ import annotations

import numpy as np

from edgesw.compress.matrix import to_float16
from edgesw.compress.threads import threaded

# How far the range of a block is drawn in, as a share of its full range: the best of these is kept per block.
CLIPS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
# Values worked on at a time: temporaries of a few megabytes stay in the processor's cache.
CHUNK = 1 << 18


def fit_blocks(
    weights: np.ndarray, bits: int, block: int, zero_points: bool, importance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Codes uint8 (rows, columns), scales float16 (rows, blocks), zero points uint8 (rows, blocks) or None.

    For each block the clipping with the least squared error is taken, each column weighted by its `importance`
    (columns,), after the scale has been fitted to the rounded integers by least squares. Without zero points the
    integer 2**(bits - 1) stands for 0, and the value of largest magnitude may sit on either end.
    """
    rows, columns = weights.shape
    blocks = -(-columns // block)
    spare = blocks * block - columns
    each = np.ones(columns, np.float32) if importance is None else importance.astype(np.float32)
    # The floor keeps a block whose inputs were all silent from being fitted to nothing.
    each = np.pad(each / max(float(each.mean()), 1e-30) + 1e-6, (0, spare)).reshape(1, blocks, block)
    codes = np.empty((rows, blocks, block), np.uint8)
    scales = np.empty((rows, blocks), np.float16)
    zeros = np.empty((rows, blocks), np.uint8)
    step = max(1, CHUNK // (blocks * block))

    def fit(start: int) -> None:
        part = slice(start, start + step)
        x = np.pad(weights[part], ((0, 0), (0, spare))).reshape(-1, blocks, block)
        codes[part], scales[part], zeros[part] = _fit(x, bits, zero_points, each)

    threaded(fit, range(0, rows, step))  # each part has its own rows of the results
    flat = codes.reshape(rows, -1)
    return flat[:, :columns].copy() if spare else flat, scales, zeros if zero_points else None


def _candidates(x: np.ndarray, bits: int, zero_points: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """(scale, zero point) pairs to try, each (rows, blocks, 1)."""
    top, half = 2**bits - 1, 2 ** (bits - 1)
    if not zero_points:
        extreme = np.take_along_axis(x, np.abs(x).argmax(-1)[..., None], -1)
        full = extreme / -half
        zero = np.full_like(full, half)
        return [(full * clip * sign, zero) for clip in (half / (half - 0.5), *CLIPS) for sign in (1, -1)]
    low, high = np.minimum(x.min(-1, keepdims=True), 0), np.maximum(x.max(-1, keepdims=True), 0)
    pairs = []
    for clip in CLIPS:
        scale = (high - low) * clip / top
        exact = np.divide(-low * clip, scale, out=np.zeros_like(scale), where=scale > 0)
        pairs += [(scale, np.clip(zero, 0, top)) for zero in (np.floor(exact), np.ceil(exact))]
    return pairs


def _fit(
    x: np.ndarray, bits: int, zero_points: bool, importance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    best = np.full((*x.shape[:-1], 1), np.inf, np.float32)
    scale, zero = np.ones_like(best), np.zeros_like(best)
    weighted = importance * x
    for candidate, offset in _candidates(x, bits, zero_points):
        integers = _integers(x, _stored(candidate), offset, bits)
        norm = np.einsum("rbc,rbc->rb", importance * integers, integers)[..., None]
        along = np.einsum("rbc,rbc->rb", weighted, integers)[..., None]
        candidate = _stored(np.divide(along, norm, out=candidate.copy(), where=norm > 0))
        integers = _integers(x, candidate, offset, bits)
        off = integers * candidate - x
        error = np.einsum("rbc,rbc->rb", importance * off, off)[..., None]
        better = error < best
        best = np.where(better, error, best)
        scale, zero = np.where(better, candidate, scale), np.where(better, offset, zero)
    codes = (_integers(x, scale, zero, bits) + zero).astype(np.uint8)
    return codes, scale[..., 0].astype(np.float16), zero[..., 0].astype(np.uint8)


def _integers(x: np.ndarray, scale: np.ndarray, zero: np.ndarray, bits: int) -> np.ndarray:
    return np.clip(np.rint(x / scale), -zero, 2**bits - 1 - zero)


def _stored(scale: np.ndarray) -> np.ndarray:
    """The scale as float16 will hold it, at most its largest number; 1 where that would be zero (a block of zeros)."""
    stored = to_float16(scale).astype(np.float32)
    return np.where(stored == 0, np.float32(1), stored)

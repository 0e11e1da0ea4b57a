"""One round of error compensation of block integers: scales by least squares, then codes by coordinate descent."""

from __future__ import annotations

import numpy as np

from edgesw.compress.blocks import decode_blocks
from edgesw.compress.float16 import to_float16
from edgesw.compress.output_error import PASSES, ROWS, OutputError, solved
from edgesw.compress.threads import threaded

# A scale that least squares would move further than this stays: the integers of its block say too little about it.
FURTHEST = 2.0


def refine_blocks(
    error: OutputError, codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray, block: int, top: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes from 0 to `top`, uint8 (rows, columns), and scales, float16 (rows, blocks), with a smaller error.

    Zero points, float32 (rows, blocks) or () for one that all share, stay, and so do `codes` of places that are exact.
    """
    from edgesw.compress.descent import descend_blocks, scale_system  # takes long to load

    rows, columns = codes.shape
    codes, scales = codes.copy(), scales.astype(np.float32)
    each_zero = np.ascontiguousarray(np.broadcast_to(zeros, scales.shape))

    def rescale(first: int) -> None:
        for row in range(first, min(first + ROWS, rows)):
            integers = codes[row].astype(np.float32) - np.repeat(each_zero[row], block)[:columns]
            system, right = scale_system(error.products[row], error.hessian, error.exact[row], integers, block)
            fit = solved(system, right, scales[row].astype(np.float64))
            moved = fit / scales[row]  # a scale may be negative
            fit = np.where((moved < 1 / FURTHEST) | (moved > FURTHEST), scales[row], fit)
            stored = to_float16(fit).astype(np.float32)
            scales[row] = np.where(stored == 0, scales[row], stored)

    def descend(first: int) -> None:
        own = slice(first, first + ROWS)
        descend_blocks(
            gradients[own], error.hessian, error.exact[own], scales[own], each_zero[own], block, top, codes[own], PASSES
        )

    threaded(rescale, range(0, rows, ROWS))
    half = scales.astype(np.float16)
    gradients = error.gradients(decode_blocks(codes, half, zeros, block))
    threaded(descend, range(0, rows, ROWS))
    return codes, half

"""Error compensation of block integers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesw.compress.blocks import decode_blocks
from edgesw.compress.compensation import reduce_error
from edgesw.compress.output_error import OutputError
from edgesw.compress.threads import threaded

# A scale that least squares would move further than this stays: the integers of its block say too little about it.
FURTHEST = 2.0


def refine_blocks(
    error: OutputError, codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray, block: int, top: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes from 0 to `top`, uint8 (rows, columns), and scales, float16 (rows, blocks), with a smaller error.

    Zero points, float32 (rows, blocks) or () for one that all share, stay, and so do `codes` of places that are exact.
    """
    each_zero = np.ascontiguousarray(np.broadcast_to(zeros, scales.shape))
    coded = _Blocks(codes.copy(), scales.astype(np.float32), each_zero, block, top)
    reduce_error(error, coded)
    return coded.codes, coded.values.astype(np.float16)


@dataclass
class _Blocks:
    """A `Coded`, whose values are the scales."""

    codes: np.ndarray
    values: np.ndarray
    zeros: np.ndarray
    block: int
    top: int

    @property
    def owners(self) -> np.ndarray:
        return np.arange(len(self.codes))

    def decode(self, rows: slice) -> np.ndarray:
        return decode_blocks(self.codes[rows], self.values[rows], self.zeros[rows], self.block)

    def descend(
        self, error: OutputError, rows: slice, columns: slice, gradients: np.ndarray, hessian: np.ndarray, steps: np.ndarray
    ) -> None:
        from edgesw.compress.descent import descend_blocks  # takes long to load

        exact = np.ascontiguousarray(error.exact[rows, columns])
        codes = np.ascontiguousarray(self.codes[rows, columns])
        scales = np.take(self.values[rows], np.arange(columns.start, columns.stop) // self.block, axis=1)
        descend_blocks(gradients, hessian, exact, codes, scales, self.top, steps)
        self.codes[rows, columns] = codes

    def fitted(self, error: OutputError, gradients: list[np.ndarray]) -> np.ndarray:
        from edgesw.compress.fits import add_scale_fits  # takes long to load

        a, b = np.zeros(self.values.shape), np.zeros(self.values.shape)
        hessian = error.hessian.numpy()

        def add(tile: tuple[slice, np.ndarray]) -> None:
            rows, gradient = tile
            for at, columns in enumerate(error.blocks):
                first = columns.start
                while first < columns.stop:
                    scale = first // self.block
                    last = min((scale + 1) * self.block, columns.stop)
                    own, inside = slice(first, last), slice(first - columns.start, last - columns.start)
                    integers = self.codes[rows, own].astype(np.float32) - self.zeros[rows, scale, None]
                    exact = np.ascontiguousarray(error.exact[rows, own])
                    own_a, own_b = a[rows, scale].copy(), b[rows, scale].copy()
                    near = np.ascontiguousarray(hessian[at, own, inside])
                    add_scale_fits(np.ascontiguousarray(gradient[at, :, inside]), near, exact, integers, own_a, own_b)
                    a[rows, scale], b[rows, scale] = own_a, own_b
                    first = last

        threaded(add, list(zip(error.tiles, gradients, strict=True)))
        return self.values + np.divide(b, a, out=np.zeros_like(a), where=a > 0)

    def set_values(self, values: np.ndarray) -> None:
        moved = values / self.values  # a scale may be negative
        far = (moved < 1 / FURTHEST) | (moved > FURTHEST) | (values == 0)
        self.values = np.where(far, self.values, values).astype(np.float32)

"""Error compensation of block integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgesw.compress.blocks import decode_blocks
from edgesw.compress.compensation import reduce_error
from edgesw.compress.float16 import to_float16
from edgesw.compress.output_error import OutputError
from edgesw.compress.threads import threaded

# No fit moves a scale further than this: where it would, the integers of the block say too little about it, or other
# blocks too much.
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
    """`Coded` as integers. The values are the scales, float32 (rows, blocks)."""

    rounds: ClassVar[int] = 1
    codes: np.ndarray
    values: np.ndarray
    zeros: np.ndarray
    block: int
    top: int

    @property
    def owners(self) -> np.ndarray:
        return np.arange(len(self.codes))

    def decode(self, rows: slice, values: np.ndarray) -> np.ndarray:
        return decode_blocks(self.codes[rows], values[rows], self.zeros[rows], self.block)

    def descend(
        self,
        error: OutputError,
        rows: slice,
        columns: slice,
        gradients: np.ndarray,
        hessian: np.ndarray,
        steps: np.ndarray,
    ) -> None:
        from edgesw.compress.descent import descend_blocks  # takes long to load

        codes = np.ascontiguousarray(self.codes[rows, columns])
        exact = np.ascontiguousarray(error.exact[rows, columns])
        descend_blocks(gradients, hessian, exact, codes, self._spread(self.values, rows, columns), self.top, steps)
        self.codes[rows, columns] = codes

    def fitted(self, error: OutputError, gradients: list[np.ndarray]) -> np.ndarray:
        from edgesw.compress.fits import add_scale_fits  # takes long to load

        a, b = np.zeros(self.values.shape), np.zeros(self.values.shape)

        def add(tile: tuple[slice, np.ndarray]) -> None:
            rows, gradient = tile
            for at, columns in enumerate(error.blocks):
                integers = self.codes[rows, columns] - self._spread(self.zeros, rows, columns)
                integers[error.exact[rows, columns]] = 0
                hessian = error.hessian[at, columns].numpy()
                add_scale_fits(gradient[at], hessian, integers, columns.start, self.block, a[rows], b[rows])

        threaded(add, list(zip(error.tiles, gradients, strict=True)))
        moved = 1 + np.divide(b, a * self.values, out=np.zeros_like(a), where=a > 0)  # a scale may be negative
        return to_float16(self.values * np.clip(moved, 1 / FURTHEST, FURTHEST)).astype(np.float32)

    def adopt(self, values: np.ndarray) -> None:
        self.values = values

    def _spread(self, each: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """What each block has, for each of these columns: (rows, columns)."""
        return np.take(each[rows], np.arange(columns.start, columns.stop) // self.block, axis=1)

"""The steps of error compensation, which are the same for all schemes: codes by coordinate descent, palettes or scales
by least squares for these codes.

They run twice. First as if H had nothing but its diagonal blocks, which are small enough for a core's own cache. Then
with all of H. A product with it costs more than all else, so there are as few as possible: one for the gradients, and
one for each time that palettes or scales are fitted again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from edgesw.compress.float16 import to_float16
from edgesw.compress.output_error import OutputError, one_thread_each
from edgesw.compress.threads import threaded

# Passes over the codes at most: with the diagonal blocks of H; with all of it before the last fit, and after it.
NEAR_PASSES, PASSES, LAST_PASSES = 1, 3, 8
# A pass that changes no larger share of the codes is the last.
FEW = 0.0005
# Fitted values are taken as they are, unless a step less than this long in their direction would be the best.
SHORTEST = 0.5


class Coded(Protocol):
    """A matrix as codes, and the palettes or scales that decode them."""

    rounds: ClassVar[int]
    """How often its values are fitted with all of H: as often as it gains much."""
    values: np.ndarray
    """The palettes or scales, float32 (owners, ...), all of them float16 numbers."""

    @property
    def owners(self) -> np.ndarray:
        """Which of the values decode a row, integers (rows,)."""

    def decode(self, rows: slice, values: np.ndarray) -> np.ndarray:
        """Rows of the matrix with these values, float32: a linear function of the values."""

    def descend(
        self,
        error: OutputError,
        rows: slice,
        columns: slice,
        gradients: np.ndarray,
        hessian: np.ndarray,
        steps: np.ndarray,
    ) -> None:
        """Improves codes of these rows in a block of columns, as the kernels of edgesw/compress/descent.py do."""

    def fitted(self, error: OutputError, gradients: list[np.ndarray]) -> np.ndarray:
        """Better values for the same codes, float32, all of them float16 numbers."""

    def adopt(self, values: np.ndarray) -> None:
        """Takes these values; every row still decodes to what its codes said."""


def reduce_error(error: OutputError, coded: Coded) -> None:
    """Improves codes and values in place."""
    with one_thread_each():
        near = _Steps(error, coded, near=True)
        near.descend(NEAR_PASSES)
        near.fit()
        near.descend(NEAR_PASSES)
        whole = _Steps(error, coded, near=False)
        for _ in range(coded.rounds):
            whole.descend(PASSES)
            whole.fit()
        whole.descend(LAST_PASSES)


@dataclass
class _Steps:
    """The steps, with all of H or as if it had only its diagonal blocks (`near`)."""

    error: OutputError
    coded: Coded
    near: bool
    gradients: list[np.ndarray] = field(init=False)
    """By tiles, always up to date between two steps."""

    def __post_init__(self) -> None:
        coded, error = self.coded, self.error
        self.gradients = threaded(
            lambda rows: error.product(error.weights[rows] - coded.decode(rows, coded.values), rows, self.near),
            error.tiles,
        )

    def descend(self, passes: int) -> None:
        """Improves the codes."""
        tiles = list(zip(self.error.tiles, self.gradients, strict=True))
        threaded(lambda tile: self._descend_tile(*tile, passes), tiles)

    def _descend_tile(self, rows: slice, gradients: np.ndarray, passes: int) -> None:
        """Pass by pass and block by block of columns. A block's gradients are brought up to date when it is its turn:
        with the changes of this pass in the blocks before it, and of the last pass in those after it."""
        from edgesw.compress.descent import catch_up, record_changes  # takes long to load

        blocks, size = self.error.blocks, (rows.stop - rows.start) * self.error.weights.shape[1]
        # The changes of this pass and of the last. Of the memory only what they need is ever touched.
        places, changes = np.empty((2, size + 1), np.int32), np.empty((2, size + 1), np.float32)
        ends = np.zeros((2, len(blocks), rows.stop - rows.start + 1), np.int64)
        steps = np.empty(gradients.shape[1:], np.float32)

        def catch_up_with(which: int, of: slice, at: int) -> None:
            if not self.near:
                hessian = self.error.hessian[at].numpy()
                catch_up(gradients[at], hessian, places[which], changes[which], ends[which, of])

        for number in range(passes):
            now, last, made = number % 2, 1 - number % 2, 0
            for at, columns in enumerate(blocks):
                catch_up_with(last, slice(at + 1, None), at)
                catch_up_with(now, slice(at), at)
                hessian = self.error.hessian[at, columns].numpy()
                self.coded.descend(self.error, rows, columns, gradients[at], hessian, steps)
                ends[now, at, 0] = made
                record_changes(steps, columns.start, places[now], changes[now], ends[now, at])
                made = ends[now, at, -1]
            if made <= FEW * size:
                break
        for at in range(len(blocks)):
            catch_up_with(now, slice(at + 1, None), at)

    def fit(self) -> None:
        """Moves the values to the fitted ones. Where H has so much in their direction that this is much too far, they
        move only as far as is best."""
        before, owners = self.coded.values, self.coded.owners
        move = self.coded.fitted(self.error, self.gradients) - before
        found = threaded(
            lambda tile: self._moved(move, *tile), list(zip(self.error.tiles, self.gradients, strict=True))
        )
        gain, curve = np.zeros(len(before)), np.zeros(len(before))
        for rows, (_, gains, curves) in zip(self.error.tiles, found, strict=True):
            np.add.at(gain, owners[rows], gains)
            np.add.at(curve, owners[rows], curves)
        length = np.divide(gain, curve, out=np.ones(len(gain)), where=curve > 0)
        length = np.where(length >= SHORTEST, 1, np.maximum(length, 0)).astype(np.float32)
        after = before + length.reshape(-1, *[1] * (before.ndim - 1)) * move
        self.coded.adopt(to_float16(after).astype(np.float32))
        for rows, gradients, (changes, *_) in zip(self.error.tiles, self.gradients, found, strict=True):
            gradients -= changes * length[owners[rows], None]

    def _moved(self, move: np.ndarray, rows: slice, gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What moving all values changes in the gradients; and for each row half the slope of the error along the move,
        downwards, and half its curvature, float64 (rows,)."""
        dense = np.where(self.error.exact[rows], np.float32(0), self.coded.decode(rows, move))
        changes = self.error.product(dense, rows, self.near)
        sums = np.zeros((2, len(dense)))
        for at, columns in enumerate(self.error.blocks):
            part = dense[:, columns]
            for total, factor in zip(sums, (gradients, changes), strict=True):
                total += np.einsum("rc,rc->r", part, factor[at, :, : part.shape[1]], dtype=np.float64)
        return changes, sums[0], sums[1]

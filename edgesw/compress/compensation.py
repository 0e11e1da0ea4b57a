"""The steps of error compensation, the same for all schemes: codes by coordinate descent, then palettes or scales by
least squares for these codes, then codes again."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from edgesw.compress.float16 import to_float16
from edgesw.compress.output_error import OutputError, one_thread_each
from edgesw.compress.threads import threaded

ROUNDS = 1
# Passes over the codes of a tile, at most: in each descent before the last, and in the last.
PASSES, LAST_PASSES = 3, 8
# A pass that changes no larger share of the codes is the last.
FEW = 0.0005
# A step of palettes or scales is as long as it should be if the best length is not below this.
SHORTEST = 0.5


class Coded(Protocol):
    """A matrix as codes, and the palettes or scales that decode them."""

    values: np.ndarray
    """The palettes or scales: float32 (owners, ...), all of them float16 numbers."""
    owners: np.ndarray
    """Which of `values` decode a row: (rows,)."""

    def decode(self, rows: slice) -> np.ndarray:
        """Rows of the matrix, float32."""

    def descend(
        self, error: OutputError, rows: slice, columns: slice, gradients: np.ndarray, hessian: np.ndarray, steps: np.ndarray
    ) -> None:
        """Improves codes of these rows in a block of columns, as the kernels of edgesw/compress/descent.py do."""

    def fitted(self, error: OutputError, gradients: list[np.ndarray]) -> np.ndarray:
        """Better `values` for the same codes, float64."""

    def set_values(self, values: np.ndarray) -> None:
        """Replaces the values."""


def reduce_error(error: OutputError, coded: Coded) -> None:
    """Improves codes and values in place."""
    with one_thread_each():
        gradients = error.gradients(coded.decode)
        for _ in range(ROUNDS):
            _descend(error, coded, gradients, PASSES)
            _refit(error, coded, gradients)
        _descend(error, coded, gradients, LAST_PASSES)


def _descend(error: OutputError, coded: Coded, gradients: list[np.ndarray], passes: int) -> None:
    threaded(lambda tile: _descend_tile(error, coded, *tile, passes), list(zip(error.tiles, gradients, strict=True)))


def _descend_tile(error: OutputError, coded: Coded, rows: slice, gradients: np.ndarray, passes: int) -> None:
    """Coordinate descent on a tile, pass by pass and block by block. A block's gradients are brought up to date when it
    is its turn: with the changes of this pass in the blocks before it, and of the last pass in those after it."""
    from edgesw.compress.descent import catch_up, record_changes  # takes long to load

    hessian, (blocks, count, _) = error.hessian.numpy(), gradients.shape
    size = count * error.weights.shape[1]
    places = np.empty((2, count, error.weights.shape[1]), np.int32)
    changes = np.empty(places.shape, np.float32)
    ends = np.zeros((2, blocks + 1, count), np.int32)  # of each row's list of changes, before each block
    steps = np.empty(gradients.shape[1:], np.float32)
    for index in range(passes):
        now, last = index % 2, 1 - index % 2
        for at, columns in enumerate(error.blocks):
            own = gradients[at], hessian[at]
            catch_up(*own, places[last], changes[last], ends[last, at + 1], ends[last, blocks])
            catch_up(*own, places[now], changes[now], ends[now, 0], ends[now, at])
            coded.descend(error, rows, columns, gradients[at], hessian[at, columns], steps)
            ends[now, at + 1] = ends[now, at]
            record_changes(steps, columns.start, places[now], changes[now], ends[now, at + 1])
        if ends[now, blocks].sum() <= FEW * size:
            break
    for at in range(blocks):
        catch_up(gradients[at], hessian[at], places[now], changes[now], ends[now, at + 1], ends[now, blocks])


def _refit(error: OutputError, coded: Coded, gradients: list[np.ndarray]) -> None:
    """Moves the values to the fitted ones, or where that is too far in a direction in which H is large, part of the way."""
    before, tiles = coded.values, error.tiles
    after = to_float16(coded.fitted(error, gradients)).astype(np.float32)
    old = [coded.decode(rows) for rows in tiles]
    coded.set_values(after)
    steps = [coded.decode(rows) - dense for rows, dense in zip(tiles, old, strict=True)]
    changes = threaded(lambda tile: error.product(*tile), list(zip(steps, tiles, strict=True)))
    gain, curve = np.zeros(len(before)), np.zeros(len(before))
    for rows, step, change, gradient in zip(tiles, steps, changes, gradients, strict=True):
        step = np.where(error.exact[rows], np.float32(0), step)
        for at, columns in enumerate(error.blocks):
            part, width = step[:, columns], columns.stop - columns.start
            for total, factor in ((gain, gradient), (curve, change)):
                np.add.at(total, coded.owners[rows], np.einsum("rc,rc->r", part, factor[at, :, :width], dtype=np.float64))
    length = np.divide(gain, curve, out=np.ones(len(gain)), where=curve > 0)
    length = np.where(length >= SHORTEST, 1, np.maximum(length, 0))
    each = length.reshape(-1, *[1] * (before.ndim - 1))
    if (length < 1).any():
        part = to_float16(before + each * (after - before)).astype(np.float32)
        coded.set_values(np.where(each == 1, after, part))
    for rows, change, gradient in zip(tiles, changes, gradients, strict=True):
        gradient -= change * length[coded.owners[rows]].astype(np.float32)[:, None]

"""CompressedMatrix: a compressed matrix as data, which decodes to the float matrix that it represents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesw.compress.float16 import to_float16
from edgesw.compress.scheme import DensePart, Scheme

PIECE = 1 << 20
"""Values that `dequantize_rows` decodes at a time: the indices of each take sixteen bytes."""


@dataclass(frozen=True)
class HeldOutColumns:
    """Whole columns that are held out of the dense part."""

    columns: np.ndarray  # int32 (k,), ascending
    values: np.ndarray  # float16 (k, rows)


@dataclass(frozen=True)
class HeldOutScalars:
    """Single scalars that are held out of the dense part."""

    rows: np.ndarray  # int32 (n,), ascending
    columns: np.ndarray  # int32 (n,)
    values: np.ndarray  # float16 (n,)


@dataclass(frozen=True)
class ColumnCorrection:
    """The correction for held-out columns, added to the dense product: y += x[..., columns] @ delta."""

    columns: np.ndarray  # int32 (k,), ascending
    delta: np.ndarray  # float16 (k, rows)


@dataclass(frozen=True)
class ScalarCorrection:
    """The correction for held-out scalars: y[..., rows] += x[..., columns] * delta, one after the other."""

    rows: np.ndarray  # int32 (n,), ascending
    columns: np.ndarray  # int32 (n,)
    delta: np.ndarray  # float16 (n,)


@dataclass(frozen=True)
class Corrections:
    """The corrections of a matrix; None where nothing of the kind is held out."""

    columns: ColumnCorrection | None
    scalars: ScalarCorrection | None


@dataclass(frozen=True)
class CompressedMatrix:
    """The dense part, and the values that are held out of it."""

    dense: DensePart
    held_out_columns: HeldOutColumns | None = None
    held_out_scalars: HeldOutScalars | None = None
    """Outside the held-out columns."""

    @property
    def scheme(self) -> Scheme:
        """How the dense part is stored."""
        return self.dense.scheme

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.dense.shape

    def corrections(self, inputs_zeroed: bool = False) -> Corrections:
        """What the dense part lacks. Deltas are rounded to float16 and clipped to its range. With `inputs_zeroed` the
        dense part gets zeros for held-out columns, so the deltas are their whole values."""
        columns, scalars = None, None
        if (whole := self.held_out_columns) is not None and inputs_zeroed:
            columns = ColumnCorrection(whole.columns, whole.values)
        elif whole is not None:
            dense = self.dense.decode_at(np.arange(self.shape[0]), whole.columns[:, None])
            columns = ColumnCorrection(whole.columns, to_float16(whole.values - dense))
        if (each := self.held_out_scalars) is not None:
            off = each.values - self.dense.decode_at(each.rows, each.columns)
            scalars = ScalarCorrection(each.rows, each.columns, to_float16(off))
        return Corrections(columns, scalars)

    def dequantize(self) -> np.ndarray:
        """The matrix that this represents, with corrections, float32 (rows, columns)."""
        matrix, corrections = self.dense.decode(), self.corrections()
        if (whole := corrections.columns) is not None:
            matrix[:, whole.columns] += whole.delta.astype(np.float32).T
        if (each := corrections.scalars) is not None:
            matrix[each.rows, each.columns] += each.delta
        return matrix

    def dequantize_rows(self, rows: np.ndarray) -> np.ndarray:
        """Only these rows of it, by their numbers, in little more memory than they take."""
        if self.held_out_columns is not None or self.held_out_scalars is not None:
            return self.dequantize()[rows]
        columns, step = np.arange(self.shape[1]), max(1, PIECE // self.shape[1])
        found = np.empty((len(rows), len(columns)), np.float32)
        for at in range(0, len(rows), step):
            found[at : at + step] = self.dense.decode_at(rows[at : at + step, None], columns)
        return found

"""CompressedMatrix: a compressed matrix as data, which decodes to the float matrix that it represents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesw.compress.float16 import to_float16
from edgesw.compress.scheme import DensePart, Scheme


@dataclass(frozen=True)
class HeldOutColumns:
    """Whole columns kept out of the dense part."""

    columns: np.ndarray  # int32 (k,), ascending
    values: np.ndarray  # float16 (k, rows)


@dataclass(frozen=True)
class HeldOutScalars:
    """Scalars here and there kept out of the dense part."""

    rows: np.ndarray  # int32 (n,), ascending
    columns: np.ndarray  # int32 (n,)
    values: np.ndarray  # float16 (n,)


@dataclass(frozen=True)
class ColumnCorrection:
    """What is added to the dense product for held-out columns: y += x[..., columns] @ delta."""

    columns: np.ndarray  # int32 (k,), ascending
    delta: np.ndarray  # float16 (k, rows)


@dataclass(frozen=True)
class ScalarCorrection:
    """What is added to it for held-out scalars: y[..., rows] += x[..., columns] * delta, one after the other."""

    rows: np.ndarray  # int32 (n,), ascending
    columns: np.ndarray  # int32 (n,)
    delta: np.ndarray  # float16 (n,)


@dataclass(frozen=True)
class Corrections:
    """What puts back what is held out of a matrix; None where there is nothing of the kind."""

    columns: ColumnCorrection | None
    scalars: ScalarCorrection | None


@dataclass(frozen=True)
class CompressedMatrix:
    """The dense part, and the values that are held out of it."""

    dense: DensePart
    held_out_columns: HeldOutColumns | None = None
    held_out_scalars: HeldOutScalars | None = None
    """None of them in a held-out column."""

    @property
    def scheme(self) -> Scheme:
        """How the dense part is stored."""
        return self.dense.scheme

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.dense.shape

    def corrections(self, inputs_zeroed: bool = False) -> Corrections:
        """What is missing in the dense part. Deltas are rounded to float16, at most its largest number. With
        `inputs_zeroed` the dense part gets zeros for held-out columns, so the deltas are their whole values."""
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
        """Float32 (rows, columns): the matrix this stands for, corrections included."""
        matrix, corrections = self.dense.decode(), self.corrections()
        if (whole := corrections.columns) is not None:
            matrix[:, whole.columns] += whole.delta.astype(np.float32).T
        if (each := corrections.scalars) is not None:
            matrix[each.rows, each.columns] += each.delta
        return matrix

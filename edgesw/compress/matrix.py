"""CompressedMatrix: a compressed matrix as data. It can say which float matrix it stands for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scheme:
    """How a matrix is stored. `kind` is "palette" or "block".

    palette: each value is an index into a palette (LUT) of 2**bits float16 entries, one palette for every `group` rows
    (0: one for the whole matrix). block: each value is an integer of `bits` bits, every `group` columns of a row share
    a float16 scale and, if `zero_points`, an integer zero point of the same width.

    In a palette of vectors an index of bits * vector bits stands for `vector` rows of a column: so many values to an
    entry.
    """

    kind: str
    bits: int
    group: int
    zero_points: bool = False
    vector: int = 1

    @property
    def code_bits(self) -> int:
        """Width of a stored code."""
        return self.bits * self.vector

    def stored_bytes(self, rows: int, columns: int) -> int:
        """Bytes that a matrix (rows, columns) takes: codes, palettes or scales and zero points."""
        if self.kind == "palette":
            palettes = -(-rows // (self.group or rows)) * 2**self.code_bits * self.vector * 2
            return -(-rows * columns * self.bits // 8) + palettes
        blocks = rows * -(-columns // self.group)
        each = self.group * self.bits + 16 + (self.bits if self.zero_points else 0)
        return -(-blocks * each // 8)

    def __str__(self) -> str:
        if self.kind == "palette":
            width = f"{self.bits} bits, vectors of {self.vector}" if self.vector > 1 else f"{self.bits} bits"
            return f"palette {width}, " + (f"groups of {self.group} rows" if self.group else "per tensor")
        blocks = f"blocks of {self.group}" if self.group else "whole rows"
        return f"block {self.bits} bits, {blocks}" + (", zero points" if self.zero_points else "")


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
    """Codes, what decodes them, and what is held out."""

    scheme: Scheme
    codes: np.ndarray  # uint8 (rows / vector, columns), each below 2**code_bits
    palettes: np.ndarray | None = None  # float16 (groups, 2**bits), of vectors (groups, 2**code_bits, vector)
    scales: np.ndarray | None = None  # float16 (rows, blocks)
    zero_points: np.ndarray | None = None  # uint8 (rows, blocks); None: 2**(bits - 1) everywhere
    held_out_columns: HeldOutColumns | None = None
    held_out_scalars: HeldOutScalars | None = None
    """None of them in a held-out column."""

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.codes.shape
        return rows * self.scheme.vector, columns

    def dense(self) -> np.ndarray:
        """Float32 (rows, columns): what the dense part alone stands for."""
        if self.palettes is not None:
            rows, vector = self.shape[0], self.scheme.vector
            group = np.arange(0, rows, vector) // (self.scheme.group or rows)
            values = self.palettes.astype(np.float32)[group[:, None], self.codes]
            return values if vector == 1 else values.transpose(0, 2, 1).reshape(self.shape)
        assert self.scales is not None
        wide = self.codes.astype(np.float32)
        zero = 2.0 ** (self.scheme.bits - 1) if self.zero_points is None else self._spread(self.zero_points)
        return (wide - zero) * self._spread(self.scales)

    def dense_at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Of `dense` only these places, in the shape that the two indices have together."""
        vector = self.scheme.vector
        codes = self.codes[rows // vector, columns]
        if self.palettes is not None:
            values = self.palettes.astype(np.float32)
            group = rows // (self.scheme.group or self.shape[0])
            return values[group, codes] if vector == 1 else values[group, codes, rows % vector]
        assert self.scales is not None
        blocks = columns // self.scheme.group
        zero = 2.0 ** (self.scheme.bits - 1) if self.zero_points is None else self.zero_points[rows, blocks]
        return (codes.astype(np.float32) - np.asarray(zero, np.float32)) * self.scales[rows, blocks].astype(np.float32)

    def corrections(self, unseen: bool = False) -> Corrections:
        """What is missing in the dense part. Deltas are rounded to float16, at most its largest number. With `unseen`
        the dense part gets no input for held-out columns, so all of them is missing."""
        columns, scalars = None, None
        if (whole := self.held_out_columns) is not None and unseen:
            columns = ColumnCorrection(whole.columns, whole.values)
        elif whole is not None:
            dense = self.dense_at(np.arange(self.shape[0]), whole.columns[:, None])
            columns = ColumnCorrection(whole.columns, to_float16(whole.values - dense))
        if (each := self.held_out_scalars) is not None:
            off = each.values - self.dense_at(each.rows, each.columns)
            scalars = ScalarCorrection(each.rows, each.columns, to_float16(off))
        return Corrections(columns, scalars)

    def dequantize(self) -> np.ndarray:
        """Float32 (rows, columns): the matrix this stands for, corrections included."""
        matrix, corrections = self.dense(), self.corrections()
        if (whole := corrections.columns) is not None:
            matrix[:, whole.columns] += whole.delta.astype(np.float32).T
        if (each := corrections.scalars) is not None:
            matrix[each.rows, each.columns] += each.delta
        return matrix

    def _spread(self, per_block: np.ndarray) -> np.ndarray:
        """(rows, blocks) -> float32 (rows, columns)."""
        return np.repeat(per_block.astype(np.float32), self.scheme.group, axis=1)[:, : self.shape[1]]


def to_float16(values: np.ndarray) -> np.ndarray:
    """Float16; what is beyond its range becomes its largest number."""
    largest = np.finfo(np.float16).max
    return np.clip(values, -largest, largest).astype(np.float16)

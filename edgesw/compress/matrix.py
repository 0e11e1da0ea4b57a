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
    """

    kind: str
    bits: int
    group: int
    zero_points: bool = False

    def stored_bytes(self, rows: int, columns: int, scale_bits: int = 16) -> int:
        """Bytes that a matrix (rows, columns) takes: codes, palettes or scales and zero points."""
        if self.kind == "palette":
            return -(-rows * columns * self.bits // 8) + -(-rows // (self.group or rows)) * 2**self.bits * 2
        blocks = rows * -(-columns // self.group)
        each = self.group * self.bits + scale_bits + (self.bits if self.zero_points else 0)
        return -(-blocks * each // 8)

    def __str__(self) -> str:
        if self.kind == "palette":
            return f"palette {self.bits} bits, " + (f"groups of {self.group} rows" if self.group else "per tensor")
        return f"block {self.bits} bits, blocks of {self.group}" + (", zero points" if self.zero_points else "")


@dataclass(frozen=True)
class HeldOut:
    """A scalar kept out of the dense part: its place in the matrix and its float16 value."""

    row: int
    column: int
    value: float


@dataclass(frozen=True)
class HeldOutColumns:
    """Whole columns kept out of the dense part."""

    columns: np.ndarray  # int32 (k,), ascending
    values: np.ndarray  # float16 (k, rows)


@dataclass(frozen=True)
class Correction:
    """What is added to the dense product: y += x[..., columns] @ delta."""

    columns: np.ndarray  # int32 (k,), ascending
    delta: np.ndarray  # float16 (k, rows)


@dataclass(frozen=True)
class CompressedMatrix:
    """Codes, what decodes them, and what is held out."""

    scheme: Scheme
    codes: np.ndarray  # uint8 (rows, columns), each below 2**bits
    palettes: np.ndarray | None = None  # float16 (groups, 2**bits)
    scales: np.ndarray | None = None  # float16 (rows, blocks)
    zero_points: np.ndarray | None = None  # uint8 (rows, blocks); None: 2**(bits - 1) everywhere
    held_out: tuple[HeldOut, ...] = ()
    held_out_columns: HeldOutColumns | None = None

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.codes.shape
        return rows, columns

    def dense(self) -> np.ndarray:
        """Float32 (rows, columns): what the dense part alone stands for."""
        if self.palettes is not None:
            rows = self.shape[0]
            group = np.arange(rows) // (self.scheme.group or rows)
            return self.palettes.astype(np.float32)[group[:, None], self.codes]
        assert self.scales is not None
        wide = self.codes.astype(np.float32)
        zero = 2.0 ** (self.scheme.bits - 1) if self.zero_points is None else self._spread(self.zero_points)
        return (wide - zero) * self._spread(self.scales)

    def correction(self) -> Correction | None:
        """The correction that puts the held-out scalars and columns back, or None when nothing is held out.

        A scalar in a held-out column is what the scalar says.
        """
        whole = self.held_out_columns
        columns = sorted({scalar.column for scalar in self.held_out} | set(whole.columns.tolist() if whole else ()))
        if not columns:
            return None
        at = {column: index for index, column in enumerate(columns)}
        delta = np.zeros((len(columns), self.shape[0]), np.float16)
        dense = self.dense()
        if whole is not None:
            delta[[at[column] for column in whole.columns.tolist()]] = whole.values - dense[:, whole.columns].T
        for scalar in self.held_out:
            delta[at[scalar.column], scalar.row] = scalar.value - dense[scalar.row, scalar.column]
        return Correction(np.array(columns, np.int32), delta)

    def dequantize(self) -> np.ndarray:
        """Float32 (rows, columns): the matrix this stands for, correction included."""
        matrix = self.dense()
        correction = self.correction()
        if correction is not None:
            matrix[:, correction.columns] += correction.delta.astype(np.float32).T
        return matrix

    def _spread(self, per_block: np.ndarray) -> np.ndarray:
        """(rows, blocks) -> float32 (rows, columns)."""
        return np.repeat(per_block.astype(np.float32), self.scheme.group, axis=1)[:, : self.shape[1]]


def to_float16(values: np.ndarray) -> np.ndarray:
    """Float16; what is beyond its range becomes its largest number."""
    largest = np.finfo(np.float16).max
    return np.clip(values, -largest, largest).astype(np.float16)

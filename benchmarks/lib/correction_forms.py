"""The forms in which a Core ML program can hold values out of a palettized matrix, each built as one product."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.compress.bins import add_to_histogram, distinct_totals, empty_histogram
from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import MatrixHoldOut
from edgesw.compress.kmeans import exact_clusters
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.palette import encode_palettes
from edgesw.compress.palette_scheme import PaletteCodes, PaletteScheme
from edgesw.emit.weight_file import WeightFile, to_spec
from edgesw.formats.weight_bin import FILE
from edgesw.system.log_filter import coremltools

Var = Any


@dataclass(frozen=True)
class Case:
    """A matrix, the scalars and columns held out of it, and the importance of each column."""

    weights: np.ndarray
    scheme: PaletteScheme
    places: list[tuple[int, int]]
    columns: list[int]
    importance: np.ndarray

    @property
    def exact(self) -> np.ndarray:
        """Where a value is held out: bool (rows, columns)."""
        where = self.hold_out.mask(self.weights.shape)
        return np.zeros(self.weights.shape, bool) if where is None else where

    @property
    def hold_out(self) -> MatrixHoldOut:
        """The columns and scalars."""
        return MatrixHoldOut(tuple(self.columns), tuple(self.places))

    def compressed(self) -> CompressedMatrix:
        return compress_matrix(self.weights, self.scheme, self.importance, self.hold_out)

    def error(self, dense: np.ndarray) -> float:
        """Squared error weighted by the columns' importance, relative to the matrix's own weighted squares."""
        off = (np.square(dense - self.weights) * self.importance).sum(dtype=np.float64)
        return float(off / (np.square(self.weights) * self.importance).sum(dtype=np.float64))


class Program:
    """Builds one product and writes its weights, to see what it takes."""

    def __init__(self, file: WeightFile) -> None:
        coremltools()
        from coremltools.converters.mil.mil import Builder as mb

        self.mb, self._file, self.offsets = mb, file, dict[str, int]()

    def const(self, name: str, values: np.ndarray, dtype: str) -> Var:
        from coremltools.converters.mil.mil import types

        marked = {"fp16": np.float16, "int32": np.int32}.get(dtype) or getattr(types, f"np_{dtype}_dtype")
        typed = values.astype(np.uint8).view(marked) if dtype.startswith("uint") else values.astype(marked)
        self.offsets[name] = self._file.write(values.astype(np.uint8) if dtype.startswith("uint") else typed, dtype)
        return self.mb.const(val=typed, name=name)

    def dense(self, matrix: CompressedMatrix) -> Var:
        lut = _lut(matrix)
        codes = self.const("codes", matrix.dense.codes, f"uint{matrix.scheme.bits}")
        return self.mb.constexpr_lut_to_dense(indices=codes, lut=self.const("lut", lut, "fp16"))


def _lut(matrix: CompressedMatrix) -> np.ndarray:
    """The palettes as `constexpr_lut_to_dense` takes them."""
    assert isinstance(matrix.dense, PaletteCodes)
    return matrix.dense.palettes.reshape(len(matrix.dense.palettes), 1, -1, 1)


Form = Callable[[Program, Case, Var], tuple[Var, np.ndarray]]


def nothing(program: Program, case: Case, x: Var) -> tuple[Var, np.ndarray]:
    matrix = compress_matrix(case.weights, case.scheme, case.importance)
    return program.mb.linear(x=x, weight=program.dense(matrix)), matrix.dense.decode()


def gathered_columns(program: Program, case: Case, x: Var) -> tuple[Var, np.ndarray]:
    """y + x[columns] @ delta: a scalar takes its whole column, filled with zeros."""
    mb, matrix = program.mb, case.compressed()
    columns = sorted({*case.columns, *(column for _, column in case.places)})
    delta = (matrix.dequantize() - matrix.dense.decode())[:, columns].T
    y = mb.linear(x=x, weight=program.dense(matrix))
    spiking = mb.gather(x=x, indices=program.const("columns", np.array(columns), "int32"), axis=-1)
    return mb.add(x=y, y=mb.matmul(x=spiking, y=program.const("delta", delta, "fp16"))), matrix.dequantize()


def scattered_scalars(program: Program, case: Case, x: Var) -> tuple[Var, np.ndarray]:
    """y[rows] += x[columns] * delta, one by one."""
    mb, matrix, (rows, columns) = program.mb, case.compressed(), np.nonzero(case.exact)
    delta = (matrix.dequantize() - matrix.dense.decode())[rows, columns]
    y = mb.linear(x=x, weight=program.dense(matrix))
    values = mb.gather(x=x, indices=program.const("columns", columns, "int32"), axis=-1)
    products = mb.mul(x=values, y=program.const("delta", delta, "fp16"))
    indices = program.const("rows", rows, "int32")
    return mb.scatter(data=y, indices=indices, updates=products, axis=-1, mode="add"), matrix.dequantize()


def sparse_product(program: Program, case: Case, x: Var) -> tuple[Var, np.ndarray]:
    """y + x @ sparse: a second product, whose matrix is a mask of one bit per weight and the values."""
    mb, matrix, where = program.mb, case.compressed(), case.exact
    delta = (matrix.dequantize() - matrix.dense.decode())[where]
    mask = program.const("mask", where, "uint1")
    sparse = mb.constexpr_sparse_to_dense(nonzero_data=program.const("delta", delta, "fp16"), mask=mask)
    y = mb.linear(x=x, weight=program.dense(matrix))
    return mb.add(x=y, y=mb.linear(x=x, weight=sparse)), matrix.dequantize()


def joint(program: Program, case: Case, x: Var) -> tuple[Var, np.ndarray]:
    """Two products: the palettized part is zero where values are held out, the other part everywhere else."""
    mb, matrix, where = program.mb, case.compressed(), case.exact
    bits = case.scheme.bits
    lut = _lut(matrix)
    mask, values = mb.constexpr_lut_to_sparse(
        indices_mask=program.const("codes_mask", ~where, "uint1"),
        indices_nonzero_data=program.const("codes", matrix.dense.codes[~where], f"uint{bits}"),
        lut=program.const("lut", lut, "fp16"),
    )
    dense = mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)
    exact = matrix.dequantize()
    held = mb.constexpr_sparse_to_dense(
        nonzero_data=program.const("values", exact[where], "fp16"), mask=program.const("mask", where, "uint1")
    )
    return mb.add(x=mb.linear(x=x, weight=dense), y=mb.linear(x=x, weight=held)), exact


def own_entries(program: Program, case: Case, x: Var) -> tuple[Var, np.ndarray]:
    """A palette entry for each value that is held out; for a few scalars only, not for columns."""
    weights, bits, group = case.weights, case.scheme.bits, case.scheme.group or len(case.weights)
    palettes, codes = [], []
    for first in range(0, len(weights), group):
        rows, where = weights[first : first + group], case.exact[first : first + group]
        own = np.unique(rows[where])
        if len(own) >= 2**bits:
            raise ValueError("more values than entries")
        found = _best_entries(rows, case.importance, where, 2**bits - len(own))
        palette = np.sort(np.concatenate([found, own]).astype(np.float16))[None]
        palettes.append(palette)
        codes.append(encode_palettes(rows, palette, 0))
    matrix = CompressedMatrix(PaletteCodes(case.scheme, np.concatenate(codes), np.concatenate(palettes)))
    return program.mb.linear(x=x, weight=program.dense(matrix)), matrix.dense.decode()


def _best_entries(rows: np.ndarray, importance: np.ndarray, held_out: np.ndarray, entries: int) -> np.ndarray:
    """The palette of `entries` entries with the least weighted error on what is not held out."""
    histogram = empty_histogram()
    add_to_histogram(np.ascontiguousarray(rows), importance.astype(np.float64), held_out, histogram)
    count, mean = distinct_totals(histogram)
    return np.asarray(exact_clusters(histogram.totals[: count + 1], mean, entries))


FORMS: dict[str, Form] = {
    "nothing held out": nothing,
    "gather + product of columns": gathered_columns,
    "gather + scatter of scalars": scattered_scalars,
    "second product, sparse": sparse_product,
    "joint sparse palette + sparse": joint,
    "entries of the palette": own_entries,
}


def measured(case: Case, build: Form) -> tuple[int, str, str]:
    """Bytes of the weight file, operations, error."""
    target = coremltools().target
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, types
    from coremltools.converters.mil.mil import Program as Mil

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / FILE
        with WeightFile(path) as file:
            program, whole = Program(file), Mil()
            x = mb.TensorSpec((1, 1, case.weights.shape[1]), dtype=types.fp16)
            with Function({"x": x}, target.iOS18) as function:
                y, dense = build(program, case, function.inputs["x"])
                function.set_outputs([y])
            whole.add_function("main", function)
            operations = [op.op_type for op in function.operations if op.op_type != "const"]
            to_spec(whole, program.offsets, file)
        size = path.stat().st_size
    return size, " ".join(operations), f"{case.error(dense):.3e}"

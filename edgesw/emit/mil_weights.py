"""Weights as MIL variables: consts and constexpr ops whose values go to the weight file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesw.compress.block_scheme import BlockCodes
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.matrix import CompressedMatrix, Corrections
from edgesw.compress.palette_scheme import PaletteCodes
from edgesw.emit.weight_file import WeightFile
from edgesw.formats.correction_names import mil_name

Var = Any

# coremltools keeps a const with fewer elements than this in the program itself, so it must have its real values.
IN_PROGRAM = 10


@dataclass(frozen=True)
class Blob:
    """An array in the weight file, or with `values` one that is too small for it."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    values: np.ndarray | None


@dataclass(frozen=True)
class StoredMatrix:
    """What stays in memory of a matrix after it is written: the op that decodes it, the op's parameters, and the
    corrections."""

    op: str
    parts: dict[str, Blob]  # by the op's parameter; the first two axes are the matrix'
    corrections: Corrections
    vectors: bool = False
    """Whether an entry of its palettes holds the values of several rows."""


class WeightStore:
    """The weights of one package, each written when it is first requested, once."""

    def __init__(self, source: CompressedDecoder, file: WeightFile, inputs_zeroed: bool = False) -> None:
        """`inputs_zeroed`: the dense parts get zeros for held-out columns."""
        self.source, self.file, self._inputs_zeroed = source, file, inputs_zeroed
        self.offsets: dict[str, int] = {}
        """The place in the file of each const by name."""
        self._matrices: dict[str, StoredMatrix] = {}

    def matrix(self, name: str) -> StoredMatrix:
        if name not in self._matrices:
            self._matrices[name] = self._store(mil_name(name), self.source.matrix(name))
        return self._matrices[name]

    def _store(self, name: str, matrix: CompressedMatrix) -> StoredMatrix:
        dense, bits, corrections = matrix.dense, matrix.scheme.bits, matrix.corrections(self._inputs_zeroed)
        if isinstance(dense, PaletteCodes):
            vector = dense.scheme.vector
            lut = dense.palettes.reshape(len(dense.palettes), 1, -1, vector)
            codes = self._blob(f"{name}_codes", dense.codes, f"uint{dense.scheme.code_bits}")
            palettes = self._blob(f"{name}_palettes", lut, "fp16")
            return StoredMatrix("constexpr_lut_to_dense", {"indices": codes, "lut": palettes}, corrections, vector > 1)
        if not isinstance(dense, BlockCodes):
            raise TypeError(f"{matrix.scheme}: Core ML packages have palettes and block integers only")
        parts = {"scale": self._blob(f"{name}_scales", dense.scales, "fp16")}
        if dense.zero_points is None:
            # Signed integers need no offset. Codes differ from their two's complement in the sign bit alone.
            parts["data"] = self._blob(f"{name}_codes", dense.codes ^ np.uint8(2 ** (bits - 1)), f"int{bits}")
        else:
            parts["data"] = self._blob(f"{name}_codes", dense.codes, f"uint{bits}")
            parts["offset"] = self._blob(f"{name}_zero_points", dense.zero_points, f"uint{bits}")
        return StoredMatrix("constexpr_blockwise_shift_scale", parts, corrections)

    def _blob(self, name: str, values: np.ndarray, dtype: str) -> Blob:
        if values.size < IN_PROGRAM:
            return Blob(name, values.shape, dtype, values)
        self.offsets[name] = self.file.write(values, dtype)
        return Blob(name, values.shape, dtype, None)


class MilWeights:
    """The weights of one function of a program, as its variables. The functions of a program share the blobs in the
    file, by the names of their consts."""

    def __init__(self, store: WeightStore, kernel: tuple[int, ...] = (), corrected: bool = True) -> None:
        """`kernel`: axes of length 1 that matrices have after rows and columns, for convolutions. Not `corrected`:
        without what is held out."""
        from coremltools.converters.mil.mil import Builder as mb

        self.mb, self._store, self._kernel = mb, store, kernel
        self._corrected, self._dense = corrected, dict[str, Var]()

    def vector(self, name: str, factor: float = 1.0, after: int = 0) -> Var:
        """A norm's weights or a bias, float16, times a factor, with `after` axes of length 1 after its own."""
        values = (self._store.source.vector(name) * np.float32(factor)).astype(np.float16)
        return self.mb.const(val=values.reshape(-1, *[1] * after), name=mil_name(name))

    def matrix(self, name: str) -> tuple[Var, Corrections]:
        """The matrix as a constexpr op, and its corrections."""
        if name in self._dense:  # a tied head: its only second use
            return self._dense[name], Corrections(None, None)
        stored = self._store.matrix(name)
        consts: dict[str, Any] = {parameter: self._const(blob) for parameter, blob in stored.parts.items()}
        if stored.vectors:
            consts["vector_axis"] = np.int32(0)
        self._dense[name] = getattr(self.mb, stored.op)(**consts, name=mil_name(name))
        return self._dense[name], stored.corrections if self._corrected else Corrections(None, None)

    def _const(self, blob: Blob) -> Var:
        """The const of a blob. For values in the file it holds a single element, repeated by a zero stride."""
        from coremltools.converters.mil.mil import types

        # Sub-byte integers exist for numpy only as coremltools' own marked dtypes.
        whole_bytes = {"fp16": np.float16, "int8": np.int8, "uint8": np.uint8}
        marked = whole_bytes.get(blob.dtype) or getattr(types, f"np_{blob.dtype}_dtype")
        rows, columns, *rest = blob.shape
        shape = (rows, columns, *self._kernel, *rest)
        if blob.values is not None:
            return self.mb.const(val=blob.values.astype(marked).reshape(shape), name=blob.name)
        return self.mb.const(val=np.broadcast_to(np.zeros((), marked), shape), name=blob.name)

"""Weights as MIL variables: consts and constexpr ops whose values go to the weight file."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.matrix import CompressedMatrix, Corrections
from edgesw.emit.weight_file import WeightFile

Var = Any

# coremltools keeps a const with fewer elements than this in the program itself, so it must have its real values.
IN_PROGRAM = 10


class MilWeights:
    """The weights of a decoder, each written when it is asked for and then dropped."""

    def __init__(self, source: CompressedDecoder, file: WeightFile, offsets: dict[str, int]) -> None:
        """`offsets` is filled with the place in the file of each const by name."""
        from coremltools.converters.mil.mil import Builder as mb

        self.mb, self._source, self._file, self._offsets = mb, source, file, offsets
        self._dense: dict[str, Var] = {}

    def vector(self, name: str, factor: float = 1.0) -> Var:
        """A norm's weights or a bias, float16, times a factor."""
        values = self._source.vector(name) * np.float32(factor)
        return self.mb.const(val=values.astype(np.float16), name=plain(name))

    def matrix(self, name: str) -> tuple[Var, Corrections]:
        """The matrix as a constexpr op, and its corrections. It goes to the weight file now and is then dropped."""
        if name in self._dense:  # a tied head: its only second use
            return self._dense[name], Corrections(None, None)
        matrix = self._source.matrix(name)
        self._dense[name] = dense = self._constexpr(plain(name), matrix)
        return dense, matrix.corrections()

    def _constexpr(self, name: str, matrix: CompressedMatrix) -> Var:
        mb = self.mb
        bits = matrix.scheme.bits
        if matrix.palettes is not None:
            lut = matrix.palettes.reshape(len(matrix.palettes), 1, -1, 1)
            return mb.constexpr_lut_to_dense(
                indices=self._blob(f"{name}_codes", matrix.codes, f"uint{bits}"),
                lut=self._blob(f"{name}_palettes", lut, "fp16"),
                name=name,
            )
        assert matrix.scales is not None
        scale = self._blob(f"{name}_scales", matrix.scales, "fp16")
        if matrix.zero_points is None:
            # Signed integers need no offset. The sign bit is what tells the codes from their two's complement.
            signed = matrix.codes ^ np.uint8(2 ** (bits - 1))
            data = self._blob(f"{name}_codes", signed, f"int{bits}")
            return mb.constexpr_blockwise_shift_scale(data=data, scale=scale, name=name)
        data = self._blob(f"{name}_codes", matrix.codes, f"uint{bits}")
        offset = self._blob(f"{name}_zero_points", matrix.zero_points, f"uint{bits}")
        return mb.constexpr_blockwise_shift_scale(data=data, scale=scale, offset=offset, name=name)

    def _blob(self, name: str, values: np.ndarray, dtype: str) -> Var:
        """A const whose values go to the weight file; the program holds one element, repeated by a zero stride."""
        from coremltools.converters.mil.mil import types

        # Sub-byte integers exist for numpy only as coremltools' own marked dtypes.
        plain = {"fp16": np.float16, "int8": np.int8, "uint8": np.uint8}
        marked = plain.get(dtype) or getattr(types, f"np_{dtype}_dtype")
        if values.size < IN_PROGRAM:
            return self.mb.const(val=values.astype(marked), name=name)
        self._offsets[name] = self._file.write(values, dtype)
        return self.mb.const(val=np.broadcast_to(np.zeros((), marked), values.shape), name=name)


def plain(name: str) -> str:
    """A tensor's name as MIL takes it: letters, digits, underscores."""
    return name.replace(".", "_")

"""The matrices that an ONNX model holds, decoded: what it computes with in place of the float ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import PackageError, first_line
from edgesw.formats.correction_names import CODES, FUSED, NARROW, ONNX, SCALES, ZERO_POINTS
from edgesw.runtime.decoded import decoded


class OnnxMatrices:
    """The `PackageMatrices` of a model.onnx, found by the names of initializers."""

    def __init__(self, path: Path, spec: DecoderSpec, inputs_zeroed: bool) -> None:
        """`inputs_zeroed`: the dense part of a matrix gets zeros for held-out columns. PackageError if damaged."""
        import onnx

        try:
            graph = onnx.load(path, load_external_data=False).graph
        except (OSError, ValueError, TypeError, DecodeError) as error:
            raise PackageError(f"{path} cannot be read as ONNX ({first_line(error)}): convert again.") from error
        self._path, self._spec, self._inputs_zeroed = path, spec, inputs_zeroed
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._products = {node.input[1]: node for node in graph.node if _is_product(node)}

    def matrix(self, name: str) -> np.ndarray:
        return decoded(self._path, name, self._spec.matrix_shape(name), lambda: self._matrix(name))

    def _matrix(self, name: str) -> np.ndarray:
        own = TensorName.parse(name)
        for kinds, fused in FUSED.items():
            product = str(own.sibling(fused))
            if own.kind in kinds and product + CODES in self._tensors:
                rows = {kind: self._spec.matrix_shape(kind)[0] for kind in kinds}
                end = int(np.cumsum(list(rows.values()))[kinds.index(own.kind)])
                return self._product(product, own.kind)[end - rows[own.kind] : end]
        return self._product(name, own.kind)

    def _product(self, name: str, kind: str) -> np.ndarray:
        """All rows of the product that the matrix of this kind is part of."""
        columns = self._spec.matrix_shape(kind)[1]
        dense = self._blocks(name) if name + CODES in self._products else self._transposed_blocks(name)
        matrix = np.ascontiguousarray(dense[:, :columns])
        if name + ONNX.columns in self._tensors:
            at = self._read(name + ONNX.columns)
            deltas = self._read(name + ONNX.column_deltas + NARROW).astype(np.float32).T
            matrix[:, at] = deltas if self._inputs_zeroed else matrix[:, at] + deltas
        if name + ONNX.scalar_rows in self._tensors:
            rows, at = self._read(name + ONNX.scalar_rows), self._read(name + ONNX.scalar_columns)
            matrix[rows, at] += self._read(name + ONNX.scalar_deltas + NARROW)
        return matrix

    def _blocks(self, name: str) -> np.ndarray:
        """The weights of a MatMulNBits: codes packed along a row, scales (rows, blocks), zero points packed by row."""
        product = {each.name: each.i for each in self._products[name + CODES].attribute}
        bits, group, scales = product["bits"], product["block_size"], self._read(name + SCALES + NARROW)
        rows, blocks = scales.shape
        codes = unpack_bits(self._read(name + CODES).reshape(rows, -1), bits).reshape(rows, blocks, group)
        zeros: Any = 2 ** (bits - 1)
        if name + ZERO_POINTS in self._tensors:
            zeros = unpack_bits(self._read(name + ZERO_POINTS), bits)[:, :blocks, None]
        dense: np.ndarray = (codes - zeros) * scales[..., None].astype(np.float32)
        return dense.reshape(rows, -1)

    def _transposed_blocks(self, name: str) -> np.ndarray:
        """The weights of a DequantizeLinear or a MatMulInteger: codes (columns, rows), scales (blocks, rows) or
        (rows,)."""
        codes, scales = (self._read(name + part).astype(np.float32) for part in (CODES, SCALES + NARROW))
        if scales.ndim == 1:
            return (codes * scales).T
        group = 1 << (-(-len(codes) // len(scales)) - 1).bit_length()  # a power of two; the last block may be cut
        if name + ZERO_POINTS in self._tensors:
            codes -= np.repeat(self._read(name + ZERO_POINTS).astype(np.float32), group, axis=0)[: len(codes)]
        return (codes * np.repeat(scales, group, axis=0)[: len(codes)]).T

    def _read(self, name: str) -> np.ndarray:
        import onnx
        from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

        if name not in self._tensors:
            raise PackageError(f"the package has no '{name}': convert again.")
        tensor = onnx.TensorProto()
        tensor.CopyFrom(self._tensors[name])  # a copy, so that the data does not stay in memory
        if uses_external_data(tensor):
            load_external_data_for_tensor(tensor, str(self._path.parent))
        return onnx.numpy_helper.to_array(tensor)


def _is_product(node: Any) -> bool:
    return node.op_type == "MatMulNBits" and len(node.input) > 1


def unpack_bits(packed: np.ndarray, bits: int) -> np.ndarray:
    """Codes (rows, n), float32, from bytes (rows, bytes), the lowest bits first."""
    each = np.arange(8 // bits, dtype=np.uint8) * np.uint8(bits)
    codes = packed[..., None] >> each & np.uint8(2**bits - 1)
    return codes.reshape(len(packed), -1).astype(np.float32)

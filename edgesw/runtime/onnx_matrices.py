"""The matrices that an ONNX model holds, decoded: what it computes with in place of the float ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import PackageError

# Matrices that share an input, which one product computes, and what that is called.
JOINED = {("q_proj", "k_proj", "v_proj"): "qkv_proj", ("gate_proj", "up_proj"): "gate_up_proj"}


class OnnxMatrices:
    """Of a model.onnx, by the names that its initializers have."""

    def __init__(self, path: Path, spec: DecoderSpec, zeroed: bool) -> None:
        """`zeroed`: the dense part gets zeros for held-out columns."""
        import onnx

        graph = onnx.load(path, load_external_data=False).graph
        self._folder, self._spec, self._zeroed = path.parent, spec, zeroed
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._products = {node.input[1]: node for node in graph.node if node.op_type == "MatMulNBits"}

    def matrix(self, name: str) -> np.ndarray:
        own = TensorName.parse(name)
        kind = own.kind
        for kinds, together in JOINED.items():
            product = str(own.sibling(together))
            if kind in kinds and f"{product}.codes" in self._tensors:
                ends = np.cumsum([self._spec.matrix_shape(each)[0] for each in kinds])
                at = kinds.index(kind)
                return self._whole(product, kind)[ends[at] - self._spec.matrix_shape(kind)[0] : ends[at]]
        return self._whole(name, kind)

    def _whole(self, name: str, kind: str) -> np.ndarray:
        """All rows of a product with this matrix."""
        columns = self._spec.matrix_shape(kind)[1]
        dense = self._blocks(name) if f"{name}.codes" in self._products else self._across(name)
        matrix = np.ascontiguousarray(dense[:, :columns])
        if f"{name}.spiking" in self._tensors:
            at, delta = self._read(f"{name}.spiking"), self._read(f"{name}.correction_stored").astype(np.float32).T
            matrix[:, at] = delta if self._zeroed else matrix[:, at] + delta
        if f"{name}.scalar_rows" in self._tensors:
            rows, at = self._read(f"{name}.scalar_rows"), self._read(f"{name}.scalar_columns")
            matrix[rows, at] += self._read(f"{name}.scalar_correction_stored")
        return matrix

    def _blocks(self, name: str) -> np.ndarray:
        """Of a MatMulNBits: codes packed along a row, scales (rows, blocks), zero points packed by row."""
        product = {each.name: each.i for each in self._products[f"{name}.codes"].attribute}
        bits, group, scales = product["bits"], product["block_size"], self._read(f"{name}.scales_stored")
        rows, blocks = scales.shape
        codes = unpack_bits(self._read(f"{name}.codes").reshape(rows, -1), bits).reshape(rows, blocks, group)
        zeros: Any = 2 ** (bits - 1)
        if f"{name}.zero_points" in self._tensors:
            zeros = unpack_bits(self._read(f"{name}.zero_points"), bits)[:, :blocks, None]
        dense: np.ndarray = (codes - zeros) * scales[..., None].astype(np.float32)
        return dense.reshape(rows, -1)

    def _across(self, name: str) -> np.ndarray:
        """Of a DequantizeLinear or a MatMulInteger: codes (columns, rows), scales (blocks, rows) or (rows,)."""
        codes, scales = (self._read(f"{name}.{part}").astype(np.float32) for part in ("codes", "scales_stored"))
        if scales.ndim == 1:
            return (codes * scales).T
        group = 1 << (-(-len(codes) // len(scales)) - 1).bit_length()  # a power of two; the last block may be cut
        if f"{name}.zero_points" in self._tensors:
            codes -= np.repeat(self._read(f"{name}.zero_points").astype(np.float32), group, axis=0)[: len(codes)]
        return (codes * np.repeat(scales, group, axis=0)[: len(codes)]).T

    def _read(self, name: str) -> np.ndarray:
        import onnx
        from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

        if name not in self._tensors:
            raise PackageError(f"the package has no '{name}': convert again.")
        tensor = onnx.TensorProto()
        tensor.CopyFrom(self._tensors[name])  # a copy, so that what is read does not stay
        if uses_external_data(tensor):
            load_external_data_for_tensor(tensor, str(self._folder))
        return onnx.numpy_helper.to_array(tensor)


def unpack_bits(packed: np.ndarray, bits: int) -> np.ndarray:
    """Codes (rows, n), float32, from bytes (rows, bytes), the lowest bits first."""
    each = np.arange(8 // bits, dtype=np.uint8) * np.uint8(bits)
    codes = packed[..., None] >> each & np.uint8(2**bits - 1)
    return codes.reshape(len(packed), -1).astype(np.float32)

"""Products with compressed matrices, and the corrections that add back what is held out, in onnxruntime's operators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgesw.compress.block_scheme import BlockCodes, BlockScheme
from edgesw.compress.matrix import ColumnCorrection, CompressedMatrix, ScalarCorrection
from edgesw.emit.bits import pack_bits
from edgesw.emit.onnx_graph import MICROSOFT, OnnxGraph
from edgesw.formats.correction_names import CODES, ONNX, SCALES, ZERO_POINTS


@dataclass(frozen=True)
class Blocks:
    """A matrix in the graph, or several that read the same input, their rows one after the other."""

    inputs: tuple[str, ...]  # codes, scales, and zero points if any: what MatMulNBits takes after its input
    scheme: BlockScheme
    rows: int
    columns: int


def same_input(matrices: list[CompressedMatrix]) -> bool:
    """Whether one product can replace those of several matrices: one scheme, the same held-out columns."""
    parts = [each.held_out_columns for each in matrices]
    held_out = {tuple(part.columns) if part else () for part in parts}
    return len(held_out) == 1 and len({each.scheme for each in matrices}) == 1


# Of MatMulNBits. 0 computes in float32, 4 quantizes the input to 8 bits, with a scale for each block of a row: five
# times as fast, one token at a time, and 0.003 nats worse on SmolLM2 (docs/formats.md).
ACCURACY_LEVEL = 4


def corrected(
    graph: OnnxGraph, x: str, y: str, name: str, matrices: list[CompressedMatrix], inputs_zeroed: bool = False
) -> str:
    """`y`, the products of `x` with the dense parts of matrices of the `same_input`, side by side, plus their
    corrections. `inputs_zeroed`: the dense parts got zeros for held-out columns."""
    corrections = [matrix.corrections(inputs_zeroed) for matrix in matrices]
    y = _with_columns(graph, x, y, name, [each.columns for each in corrections if each.columns is not None])
    starts = np.cumsum([0, *(matrix.shape[0] for matrix in matrices[:-1])])
    scalars = [(at, each.scalars) for at, each in zip(starts, corrections, strict=True) if each.scalars is not None]
    return _with_scalars(graph, x, y, name, scalars)


def product(graph: OnnxGraph, x: str, name: str, blocks: Blocks) -> str:
    """The product of `x` with the dense part."""
    return graph.node(
        "MatMulNBits", [x, *blocks.inputs], name, MICROSOFT,
        K=blocks.columns, N=blocks.rows, bits=blocks.scheme.bits, block_size=blocks.scheme.group,
        accuracy_level=ACCURACY_LEVEL,
    )  # fmt: skip


def write_blocks(graph: OnnxGraph, name: str, matrices: list[CompressedMatrix]) -> Blocks:
    """Writes codes (rows, blocks, bytes per block), scales (rows, blocks) and zero points, packed by row."""
    parts, columns = block_codes(matrices), matrices[0].shape[1]
    scheme = parts[0].scheme
    bits, group = scheme.bits, scheme.group
    blocks = -(-columns // group)
    codes, scales, zero_points = [], [], []
    for part in parts:
        padded = np.pad(part.codes, ((0, 0), (0, blocks * group - columns)))
        codes.append(pack_bits(padded, bits).reshape(len(padded), blocks, -1))
        scales.append(part.scales)
        if part.zero_points is not None:
            padded = np.pad(part.zero_points, ((0, 0), (0, -blocks % (8 // bits))))
            zero_points.append(pack_bits(padded, bits).reshape(len(padded), -1))
    inputs = [
        graph.data.write(name + CODES, np.concatenate(codes)),
        graph.widened(name + SCALES, np.concatenate(scales)),
    ]
    if zero_points:
        inputs.append(graph.data.write(name + ZERO_POINTS, np.concatenate(zero_points)))
    return Blocks(tuple(inputs), scheme, sum(map(len, scales)), columns)


def block_codes(matrices: list[CompressedMatrix]) -> list[BlockCodes]:
    """The dense parts. TypeError for one that is not of block integers: ONNX has no palettes."""
    parts = []
    for matrix in matrices:
        if not isinstance(matrix.dense, BlockCodes):
            raise TypeError(f"{matrix.scheme}: ONNX models have block integers only")
        parts.append(matrix.dense)
    return parts


def _with_columns(graph: OnnxGraph, x: str, y: str, name: str, parts: list[ColumnCorrection]) -> str:
    """`y` plus the held-out columns of the matrices, which are the same for all."""
    if not parts:
        return y
    columns = graph.data.small(name + ONNX.columns, parts[0].columns.astype(np.int64))
    delta = graph.widened(name + ONNX.column_deltas, np.concatenate([part.delta for part in parts], axis=1))
    inputs = graph.node("Gather", [x, columns], f"{name}.input_spikes", axis=-1)
    restored = graph.node("MatMul", [inputs, delta], f"{name}.restored")
    return graph.node("Add", [y, restored], f"{name}.corrected")


def _with_scalars(graph: OnnxGraph, x: str, y: str, name: str, parts: list[tuple[int, ScalarCorrection]]) -> str:
    """`y` plus the held-out scalars of the matrices, each with the row of `y` at which the matrix begins."""
    if not parts:
        return y
    rows = np.concatenate([start + scalars.rows for start, scalars in parts]).astype(np.int32)
    columns = graph.data.write(name + ONNX.scalar_columns, np.concatenate([scalars.columns for _, scalars in parts]))
    delta = graph.widened(name + ONNX.scalar_deltas, np.concatenate([scalars.delta for _, scalars in parts]))
    inputs = graph.node("Gather", [x, columns], f"{name}.scalar_inputs", axis=-1)
    products = graph.node("Mul", [inputs, delta], f"{name}.scalar_products")
    shape = graph.node("Shape", [products], f"{name}.scalar_shape")
    places = graph.node("Expand", [graph.data.write(name + ONNX.scalar_rows, rows), shape], f"{name}.scalar_places")
    return graph.node("ScatterElements", [y, places, products], f"{name}.complete", axis=-1, reduction="add")

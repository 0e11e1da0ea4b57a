"""W8A8 products: weights of 8 bits with inputs quantized to 8 bits, in operators of the ONNX standard."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from edgesw.compress.matrix import CompressedMatrix
from edgesw.emit.onnx_graph import OnnxGraph
from edgesw.emit.onnx_linear import block_codes, corrected
from edgesw.formats.activation_quantization import PER_TOKEN, STATIC
from edgesw.formats.correction_names import CODES, ONNX, SCALES

# The zero point of an input's unsigned integers where their range is symmetric, and the largest magnitude.
MIDDLE, LEVELS = 128, 127
# The smallest scale of a token's input: an input of zeros has no range.
TINY = 1e-20


def w8a8_product(
    graph: OnnxGraph,
    x: str,
    name: str,
    matrices: list[CompressedMatrix],
    ranges: str,
    bounds: tuple[float, float] | None,
) -> str:
    """The products of `x` with matrices of the `same_input`, side by side, whose blocks are whole rows: in integers,
    except for what is held out. `ranges` is that of `ActivationQuantization`; static ranges are `bounds`."""
    held_out = matrices[0].held_out_columns
    rest = x
    if held_out is not None:
        mask = np.ones(matrices[0].shape[1], np.float32)
        mask[held_out.columns] = 0
        rest = graph.node("Mul", [x, graph.data.write(name + ONNX.input_mask, mask)], f"{name}.rest")
    if ranges == STATIC:
        assert bounds is not None
        y = _static(graph, rest, name, matrices, *bounds)
    else:
        y = (_per_token if ranges == PER_TOKEN else _per_tensor)(graph, rest, name, matrices)
    return corrected(graph, x, y, name, matrices, inputs_zeroed=True)


def _per_tensor(graph: OnnxGraph, x: str, name: str, matrices: list[CompressedMatrix]) -> str:
    parts = [f"{name}.input", f"{name}.input_scale", f"{name}.input_zero"]
    graph.node("DynamicQuantizeLinear", [x], parts)
    codes, scales = _weights(graph, name, matrices)
    products = graph.node("MatMulInteger", [parts[0], codes, parts[2]], f"{name}.whole")
    scale = graph.node("Mul", [parts[1], scales], f"{name}.scale")
    return graph.node("Mul", [_float(graph, products), scale], name)


def _per_token(graph: OnnxGraph, x: str, name: str, matrices: list[CompressedMatrix]) -> str:
    """The input gets unsigned integers: for two signed operands onnxruntime has no fast kernel on x86-64 (fifteen times
    as slow, docs/activations.md)."""
    small = graph.data.small
    largest = graph.node(
        "ReduceMax",
        [graph.node("Abs", [x], f"{name}.magnitudes"), small("last_axis", np.array([-1]))],
        f"{name}.largest",
        keepdims=1,
    )
    steps = graph.node("Div", [largest, small("levels", np.array(LEVELS, np.float32))], f"{name}.input_steps")
    scale = graph.node("Max", [steps, small("tiny", np.array(TINY, np.float32))], f"{name}.input_scale")
    zero = small("middle", np.array(MIDDLE, np.uint8))
    quantized = graph.node(
        "QuantizeLinear",
        [graph.node("Div", [x, scale], f"{name}.in_steps"), small("one_step", np.array(1, np.float32)), zero],
        f"{name}.input",
    )
    codes, scales = _weights(graph, name, matrices)
    products = graph.node("MatMulInteger", [quantized, codes, zero], f"{name}.whole")
    return graph.node("Mul", [graph.node("Mul", [_float(graph, products), scales], f"{name}.by_row"), scale], name)


def _static(graph: OnnxGraph, x: str, name: str, matrices: list[CompressedMatrix], low: float, high: float) -> str:
    """A QuantizeLinear and a DequantizeLinear around the input and one before the weight (QDQ), the pattern that
    runtimes for other processors look for too."""
    step = (high - low) / 255
    scale = graph.data.small(f"{name}.input_scale", np.array(step, np.float32))
    zero = graph.data.small(f"{name}.input_zero", np.array(np.rint(-low / step), np.uint8))
    quantized = graph.node("QuantizeLinear", [x, scale, zero], f"{name}.input")
    codes, scales = _weights(graph, name, matrices)
    weight = graph.node("DequantizeLinear", [codes, scales], f"{name}.weight", axis=1)
    return graph.node("MatMul", [graph.node("DequantizeLinear", [quantized, scale, zero], f"{name}.in"), weight], name)


def _weights(graph: OnnxGraph, name: str, matrices: list[CompressedMatrix]) -> tuple[str, str]:
    """Signed codes (columns, rows) and float32 scales (rows,)."""
    parts = block_codes(matrices)
    codes = np.concatenate([part.codes for part in parts]).T
    signed = np.ascontiguousarray(codes ^ np.uint8(128)).view(np.int8)
    scales = np.concatenate([part.scales for part in parts])
    return graph.data.write(name + CODES, signed), graph.widened(name + SCALES, scales[:, 0])


def _float(graph: OnnxGraph, integers: str) -> str:
    return graph.node("Cast", [integers], f"{integers}_float", to=TensorProto.FLOAT)

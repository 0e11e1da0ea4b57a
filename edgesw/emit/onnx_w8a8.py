"""Products of integers: weights of 8 bits with inputs rounded to 8 bits, in operators of the ONNX standard."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from edgesw.compress.matrix import CompressedMatrix
from edgesw.emit.onnx_graph import OnnxGraph
from edgesw.emit.onnx_linear import block_codes, corrected

# What stands for zero in an input's unsigned integers where their range is symmetric.
MIDDLE, LEVELS = 128, 127
# The least scale of a token's input: one that is all zero has no range.
TINY = 1e-20


def w8a8_product(
    graph: OnnxGraph,
    x: str,
    name: str,
    matrices: list[CompressedMatrix],
    ranges: str,
    bounds: tuple[float, float] | None,
) -> str:
    """`x` times matrices of the `same_input`, side by side, whose blocks are whole rows, in integers but for what is
    held out of them. `ranges` as `ActivationQuantization` has them; static ones are within `bounds`."""
    held_out = matrices[0].held_out_columns
    rest = x
    if held_out is not None:
        kept = np.ones(matrices[0].shape[1], np.float32)
        kept[held_out.columns] = 0
        rest = graph.node("Mul", [x, graph.data.write(f"{name}.kept", kept)], f"{name}.rest")
    if ranges == "static":
        assert bounds is not None
        y = _static(graph, rest, name, matrices, *bounds)
    else:
        y = (_by_token if ranges == "per-token" else _by_tensor)(graph, rest, name, matrices)
    return corrected(graph, x, y, name, matrices, unseen=True)


def _by_tensor(graph: OnnxGraph, x: str, name: str, matrices: list[CompressedMatrix]) -> str:
    parts = [f"{name}.input", f"{name}.input_scale", f"{name}.input_zero"]
    graph.node("DynamicQuantizeLinear", [x], parts)
    codes, scales = _weights(graph, name, matrices)
    whole = graph.node("MatMulInteger", [parts[0], codes, parts[2]], f"{name}.whole")
    scale = graph.node("Mul", [parts[1], scales], f"{name}.scale")
    return graph.node("Mul", [_float(graph, whole), scale], name)


def _by_token(graph: OnnxGraph, x: str, name: str, matrices: list[CompressedMatrix]) -> str:
    """Unsigned integers for the input: of two signed ones onnxruntime has no fast kernel on x86-64 (fifteen times as
    slow, docs/activations.md)."""
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
    rounded = graph.node(
        "QuantizeLinear",
        [graph.node("Div", [x, scale], f"{name}.in_steps"), small("one_step", np.array(1, np.float32)), zero],
        f"{name}.input",
    )
    codes, scales = _weights(graph, name, matrices)
    whole = graph.node("MatMulInteger", [rounded, codes, zero], f"{name}.whole")
    return graph.node("Mul", [graph.node("Mul", [_float(graph, whole), scales], f"{name}.by_row"), scale], name)


def _static(graph: OnnxGraph, x: str, name: str, matrices: list[CompressedMatrix], least: float, most: float) -> str:
    """A QuantizeLinear and DequantizeLinear about the input, which runtimes of other processors look for as well."""
    step = (most - least) / 255
    scale = graph.data.small(f"{name}.input_scale", np.array(step, np.float32))
    zero = graph.data.small(f"{name}.input_zero", np.array(np.rint(-least / step), np.uint8))
    rounded = graph.node("QuantizeLinear", [x, scale, zero], f"{name}.input")
    codes, scales = _weights(graph, name, matrices)
    weight = graph.node("DequantizeLinear", [codes, scales], f"{name}.weight", axis=1)
    return graph.node("MatMul", [graph.node("DequantizeLinear", [rounded, scale, zero], f"{name}.in"), weight], name)


def _weights(graph: OnnxGraph, name: str, matrices: list[CompressedMatrix]) -> tuple[str, str]:
    """Signed codes (columns, rows) and float32 scales (rows,)."""
    parts = block_codes(matrices)
    codes = np.concatenate([part.codes for part in parts]).T
    signed = np.ascontiguousarray(codes ^ np.uint8(128)).view(np.int8)
    scales = np.concatenate([part.scales for part in parts])
    return graph.data.write(f"{name}.codes", signed), graph.widened(f"{name}.scales", scales[:, 0])


def _float(graph: OnnxGraph, whole: str) -> str:
    return graph.node("Cast", [whole], f"{whole}_float", to=TensorProto.FLOAT)

"""The weights of an ONNX model, by the operators that take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from onnx import NodeProto

from edgesw.inspect.contents import (
    CODES,
    OTHER,
    PLAIN,
    SCALES,
    ZERO_POINTS,
    Piece,
    Place,
    Shape,
    Tensor,
    Weight,
    once,
    piece,
)
from edgesw.inspect.onnx_scope import Scope, integer
from edgesw.inspect.scheme_text import block_words, blocks_of

# Where operators have their codes, scales and zero points among their inputs. None: products of integers, whose scales
# come after them.
_PLACES: dict[str, tuple[int, int | None, int]] = {
    "DequantizeLinear": (0, 1, 2),
    "GatherBlockQuantized": (0, 2, 3),
    "MatMulNBits": (1, 2, 3),
    "MatMulBnb4": (1, 2, 3),
    "MatMulInteger": (1, None, 3),
    "ConvInteger": (1, None, 3),
    "MatMulIntegerToFloat": (1, 3, 5),
    "DynamicQuantizeMatMul": (1, 2, 3),
    "QLinearMatMul": (3, 4, 5),
    "QLinearConv": (3, 4, 5),
    "QGemm": (3, 4, 5),
    "QAttention": (1, 4, 7),
}
# What our own writer puts beside a matrix for what is held out of it, by the ends of their names.
_COLUMNS, _SCALARS = ".correction_stored", ".scalar_columns"
_HELD_OUT = (_COLUMNS, ".spiking", ".kept", _SCALARS, ".scalar_rows", ".scalar_correction_stored")


def find_weights(scopes: list[Scope], ours: bool) -> tuple[tuple[Weight, ...], tuple[Piece, ...]]:
    """The weights in order of use, and what other constants there are. `ours`: names are those that edgesw gives."""
    tensors = {tensor.name: tensor for scope in scopes for tensor in scope.own.values()}
    names: dict[Place, str] = {}
    for tensor in tensors.values():  # several may stand over the same bytes
        names.setdefault(tensor.place, tensor.name)
    by_codes: dict[Place, Weight] = {}
    for weight in (found for scope in scopes for node in scope.nodes if (found := _compressed(scope, node))):
        # A tied head and its embedding are one; where blocks fill up the columns, only the product knows how many are.
        known = by_codes.setdefault(weight.pieces[0].place, weight)
        if weight.elements < known.elements:
            by_codes[weight.pieces[0].place] = weight
    weights = [replace(weight, name=names[place]) for place, weight in by_codes.items()]
    if ours:
        weights = [_with_held_out(replace(each, name=each.name.removesuffix(".codes")), tensors) for each in weights]
    taken = {part.place for weight in weights for part in weight.pieces}
    rest = [(scope, tensor) for scope in scopes for tensor in scope.own.values() if tensor.place not in taken]
    plain = once(_plain(scope, tensor, ours) for scope, tensor in rest if tensor.is_weight)
    others = tuple(piece(OTHER, tensor) for _, tensor in rest if not tensor.is_weight)
    return (*weights, *plain), others


def _compressed(scope: Scope, node: NodeProto) -> Weight | None:
    """The weight that a node reads compressed, if it does."""
    if node.op_type not in _PLACES:
        return None
    at, scale_at, zero_at = _PLACES[node.op_type]
    codes = scope.input(node, at)
    if codes is None or codes.bits > 16 or len(codes.shape) < 2:  # activations, and biases of 32 bits
        return None
    scales = scope.scale_after(node) if scale_at is None else scope.input(node, scale_at)
    zero_points = scope.input(node, zero_at)
    shape, scheme = _form(scope, node, codes, scales, zero_points is not None)
    parts = [(CODES, codes), (SCALES, scales), (ZERO_POINTS, zero_points)]
    if node.op_type == "MatMulNBits":
        parts.append((OTHER, scope.input(node, 4)))  # the order of columns
    pieces = tuple(piece(kind, part) for kind, part in parts if part is not None)
    return Weight(codes.name, shape, scheme, pieces, compressed=True)


def _form(scope: Scope, node: NodeProto, codes: Tensor, scales: Tensor | None, zero_points: bool) -> tuple[Shape, str]:
    """Shape and scheme."""
    numbers = f"{codes.bits} bits" if "int" in codes.type else codes.type
    if node.op_type in ("MatMulNBits", "MatMulBnb4"):
        rows, columns, size = (integer(node, name, 0) for name in ("N", "K", "block_size"))
        if node.op_type == "MatMulNBits":
            return (rows, columns), blocks_of(f"{integer(node, 'bits', 4)} bits", size, columns, zero_points)
        kind = "NF4" if integer(node, "quant_type", 1) else "FP4"
        return (rows, columns), f"palette 4 bits ({kind}), blocks of {size}"
    shape = codes.shape
    if node.op_type == "GatherBlockQuantized":
        if codes.type == "uint8":  # several to a byte, along the last axis
            bits = integer(node, "bits", 4)
            numbers, shape = f"{bits} bits", (*shape[:-1], shape[-1] * 8 // bits)
        return shape, blocks_of(numbers, integer(node, "block_size", 128), shape[-1], zero_points)
    rank = len(shape)
    # Scales of one axis: DequantizeLinear says which, convolutions have output channels first, products last.
    convolution = node.op_type in ("ConvInteger", "QLinearConv")
    axis = integer(node, "axis", 1) if node.op_type == "DequantizeLinear" else 0 if convolution else rank - 1
    along = _along(scales, rank, axis % rank)
    if rank == 2 and (node.op_type != "DequantizeLinear" or scope.outputs_last(node.output[0])):
        shape, along, axis = shape[::-1], along[::-1], 1 - axis % 2
    size = integer(node, "block_size", 0)
    if size and rank == 2 and axis % 2 == 1:
        return shape, blocks_of(numbers, size, shape[1], zero_points)
    return shape, block_words(numbers, shape, along, zero_points)


def _along(scales: Tensor | None, rank: int, axis: int) -> Shape:
    """How many scales there are along each axis of their matrix."""
    counts = scales.shape if scales is not None else ()
    if len(counts) == rank:
        return counts
    return tuple(counts[0] if at == axis and len(counts) == 1 else 1 for at in range(rank))


def _with_held_out(weight: Weight, tensors: Mapping[str, Tensor]) -> Weight:
    """Of our own writer: with what is held out of it."""
    beside = {end: tensors[weight.name + end] for end in _HELD_OUT if weight.name + end in tensors}
    columns = beside[_COLUMNS].shape[0] if _COLUMNS in beside else 0
    scalars = beside[_SCALARS].shape[0] if _SCALARS in beside else 0
    return weight.holding_out(beside.values(), columns, scalars)


def _plain(scope: Scope, tensor: Tensor, ours: bool) -> Weight:
    """A constant that no operator of `_PLACES` takes."""
    shape, name = tensor.shape, tensor.name
    if len(shape) == 2 and scope.outputs_last(tensor.name):
        shape = shape[::-1]
    if ours:
        name = name.removesuffix(".weight")
    elif name.startswith("onnx::"):  # the exporter's number; its node is named for the layer
        name = scope.user(name) or name
    if not tensor.is_float:  # codes that an operator takes which is not known here
        return Weight(name, shape, f"{tensor.bits} bits, scales not found", (piece(CODES, tensor),), compressed=True)
    return Weight(name, shape, tensor.type, (piece(PLAIN, tensor),))

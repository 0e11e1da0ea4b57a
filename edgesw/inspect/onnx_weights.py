"""The weights of an ONNX model, by the operators that take them."""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto

from edgesw.formats.correction_names import CODES as CODES_SUFFIX
from edgesw.formats.correction_names import ONNX
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

# The indices of codes, scales and zero points among an operator's inputs. None: products of integers, which are scaled
# by a later operator.
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


def find_weights(scopes: list[Scope], by_edgesw: bool) -> tuple[tuple[Weight, ...], tuple[Piece, ...]]:
    """The weights in order of use, and the other constants. `by_edgesw`: edgesw wrote the model, so that names can be
    relied on."""
    tensors = {tensor.name: tensor for scope in scopes for tensor in scope.own.values()}
    names: dict[Place, str] = {}
    for tensor in tensors.values():  # several may have the same bytes
        names.setdefault(tensor.place, tensor.name)
    by_codes: dict[Place, Weight] = {}
    for weight in (found for scope in scopes for node in scope.nodes if (found := _compressed(scope, node))):
        # A tied head and its embedding are one; where blocks pad the columns, only the product has their number.
        known = by_codes.setdefault(weight.pieces[0].place, weight)
        if weight.elements < known.elements:
            by_codes[weight.pieces[0].place] = weight
    weights = [replace(weight, name=names[place]) for place, weight in by_codes.items()]
    if by_edgesw:
        weights = [replace(each, name=each.name.removesuffix(CODES_SUFFIX)) for each in weights]
        weights = [each.with_held_out(tensors, ONNX) for each in weights]
    taken = {part.place for weight in weights for part in weight.pieces}
    rest = [(scope, tensor) for scope in scopes for tensor in scope.own.values() if tensor.place not in taken]
    plain = once(_plain(scope, tensor, by_edgesw) for scope, tensor in rest if tensor.is_weight)
    others = tuple(piece(OTHER, tensor) for _, tensor in rest if not tensor.is_weight)
    return (*weights, *plain), others


def _compressed(scope: Scope, node: NodeProto) -> Weight | None:
    """The compressed weight that a node reads, if it reads one."""
    if node.op_type not in _PLACES:
        return None
    at, scale_at, zero_at = _PLACES[node.op_type]
    codes = scope.input(node, at)
    if codes is None or codes.bits > 16 or len(codes.shape) < 2:  # activations, and biases of 32 bits
        return None
    scales = scope.scale_after(node) if scale_at is None else scope.input(node, scale_at)
    zero_points = scope.input(node, zero_at)
    shape, scheme = _shape_and_scheme(scope, node, codes, scales, zero_points is not None)
    parts = [(CODES, codes), (SCALES, scales), (ZERO_POINTS, zero_points)]
    if node.op_type == "MatMulNBits":
        parts.append((OTHER, scope.input(node, 4)))  # the order of columns
    pieces = tuple(piece(kind, part) for kind, part in parts if part is not None)
    return Weight(codes.name, shape, scheme, pieces, compressed=True)


def _shape_and_scheme(
    scope: Scope, node: NodeProto, codes: Tensor, scales: Tensor | None, zero_points: bool
) -> tuple[Shape, str]:
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


def _plain(scope: Scope, tensor: Tensor, by_edgesw: bool) -> Weight:
    """A constant that none of the operators in `_PLACES` reads."""
    shape, name = tensor.shape, tensor.name
    if len(shape) == 2 and scope.outputs_last(tensor.name):
        shape = shape[::-1]
    if by_edgesw:
        name = name.removesuffix(".weight")
    elif name.startswith("onnx::"):  # a number of the exporter's; its node is named for the layer
        name = scope.user(name) or name
    if not tensor.is_float:  # codes of an operator that is not known here
        return Weight(name, shape, f"{tensor.bits} bits, scales not found", (piece(CODES, tensor),), compressed=True)
    return Weight(name, shape, tensor.type, (piece(PLAIN, tensor),))

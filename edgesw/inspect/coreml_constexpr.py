"""The schemes that MIL's constexpr ops decode, in words: those of iOS 16, those of iOS 18, and nested ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from edgesw.files.header_bounds import bounded_shape
from edgesw.inspect.contents import CODES, MASKS, PALETTES, SCALES, ZERO_POINTS, Piece, Shape, Tensor, piece
from edgesw.inspect.scheme_text import block_words, palette_words

# The contents of the parameters of constexpr ops, of iOS 16 and of iOS 18.
_KINDS = {
    "indices": CODES, "indices_nonzero_data": CODES, "data": CODES, "nonzero_data": CODES, "quantized_data": CODES,
    "source_val": CODES, "lut": PALETTES, "scale": SCALES, "offset": ZERO_POINTS, "zero_point": ZERO_POINTS,
    "mask": MASKS, "indices_mask": MASKS, "data_mask": MASKS,
}  # fmt: skip


@dataclass(frozen=True)
class Decoded:
    """The result of a constexpr op, which another may read: its scheme in words, and what it is decoded from."""

    shape: Shape
    words: str
    pieces: tuple[Piece, ...]


def decode(op: Any, args: Mapping[str, Tensor | Decoded]) -> Decoded:
    """What a constexpr op decodes. KeyError, IndexError, ValueError or ZeroDivisionError where the parameters are not
    those of the op."""
    # The last output is the decoded one: sparse ops return their mask first.
    made = op.outputs[-1]
    shape, _ = bounded_shape((each.constant.size for each in made.type.tensorType.dimensions), made.name)
    pieces: list[Piece] = []
    for name, arg in args.items():
        if isinstance(arg, Decoded):
            # Codes of palette entries belong to the palette.
            kinds = {CODES: PALETTES} if name == "lut" else {}
            pieces += [replace(each, kind=kinds.get(each.kind, each.kind)) for each in arg.pieces]
        elif name in _KINDS:
            pieces.append(piece(_KINDS[name], arg))
    return Decoded(shape, _words(op, args, shape), tuple(dict.fromkeys(pieces)))


def _words(op: Any, args: Mapping[str, Any], shape: Shape) -> str:
    kind = op.type.removeprefix("constexpr_")
    if kind == "lut_to_dense" and len(args["lut"].shape) == 1:  # iOS 16: one palette, codes packed into bytes
        return palette_words(_log2(args["lut"].shape[0]), (1,), (1,), 1)
    if kind in ("lut_to_dense", "lut_to_sparse"):
        *palettes, entries, vector = args["lut"].shape
        dense = shape if kind == "lut_to_dense" else args["indices_mask"].shape
        return palette_words(_log2(entries), dense, palettes, vector) + _within(args["lut"], "entries of")
    if kind in ("blockwise_shift_scale", "sparse_blockwise_shift_scale"):
        data = args["data"] if kind == "blockwise_shift_scale" else args["nonzero_data"]
        dense = shape if kind == "blockwise_shift_scale" else args["data_mask"].shape
        return block_words(_numbers(data), dense, args["scale"].shape, "offset" in args) + _within(data, "over")
    if kind == "affine_dequantize":  # iOS 16: one scale, or one for each place along an axis
        scales, axis = args["scale"].shape, int(_number(op, "axis") or 0) % len(shape)
        along = tuple(scales[0] if scales and at == axis else 1 for at in range(len(shape)))
        moved = len(args["zero_point"].shape) > 0 or _number(op, "zero_point") != 0
        return block_words(_numbers(args["quantized_data"]), shape, along, moved)
    if kind == "sparse_to_dense":
        values = args["nonzero_data"]
        return f"{_words_of(values)}, sparse: {math.prod(values.shape) / math.prod(shape):.1%}"
    if kind == "cast":
        return _words_of(args["source_val"])
    return kind.replace("_", " ")


def _words_of(arg: Tensor | Decoded) -> str:
    return arg.words if isinstance(arg, Decoded) else arg.type


def _within(arg: Tensor | Decoded, how: str) -> str:
    return f", {how} {arg.words}" if isinstance(arg, Decoded) else ""


def _numbers(data: Tensor | Decoded) -> str:
    return f"{data.bits} bits" if isinstance(data, Tensor) and not data.is_float else "floats"


def _number(op: Any, parameter: str) -> float | None:
    """A parameter that is a scalar in the program itself; None for another."""
    value = op.attributes.get(parameter)
    if value is None and parameter in op.inputs:
        value = op.inputs[parameter].arguments[0].value
    if value is None or value.WhichOneof("value") != "immediateValue":
        return None
    tensor = value.immediateValue.tensor
    kind = tensor.WhichOneof("value")
    held = getattr(tensor, kind).values if kind else []
    return float(held[0]) if held else None


def _log2(entries: int) -> int:
    return max(0, entries.bit_length() - 1)

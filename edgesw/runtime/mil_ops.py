"""The MIL ops, one small function of tensors each. Semantics: coremltools' op reference, iOS 18.

A function has the op's parameters and defaults: a program is loaded only if the function has every parameter that the
program uses. Floats of any MIL type are float32 here, so that sums inside an op are float32; the caller rounds the
result. An op is added by one function and one line in `OPS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesw.errors import UnsupportedError
from edgesw.runtime.mil_moves import MOVES, ints, range_1d, within
from edgesw.runtime.mil_weights import DTYPES

_CAST = {dtype.name: dtype for dtype in DTYPES.values() if dtype.bits >= 8}


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda x: function(x)


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda x, y: function(x, y)


def _number(value: Tensor | None, default: float) -> float:
    return default if value is None else float(value)


def real_div(x: Tensor, y: Tensor) -> Tensor:
    if not x.is_floating_point():
        raise UnsupportedError("real_div of integers is not supported: its rounding is not documented; use floor_div.")
    return x / y


def rsqrt(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    return torch.rsqrt(x + _number(epsilon, 1e-12))


def inverse(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    return torch.reciprocal(x + _number(epsilon, 1e-4))


def log(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    return torch.log(x + _number(epsilon, 1e-45))


def clip(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    return x.clamp(float(alpha), float(beta))


def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise UnsupportedError(f"gelu with mode '{mode}' is not supported.")
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


def leaky_relu(x: Tensor, alpha: Tensor) -> Tensor:
    return torch.where(x >= 0, x, x * float(alpha))


def cast(x: Tensor, dtype: str) -> Tensor:
    """Floats become integers by truncation; out-of-range integers wrap."""
    if dtype not in _CAST:
        raise UnsupportedError(f"cast to '{dtype}' is not supported.")
    if dtype == "uint16":
        return x.to(torch.int32) & 0xFFFF
    if _CAST[dtype].bits == 8 and x.is_floating_point() and dtype != "bool":
        x = x.to(torch.int32)
    return x.to(_CAST[dtype].storage)


def _axes(x: Tensor, axes: Tensor | None) -> list[int]:
    """The axes as non-negative numbers in order; all of them when none are given."""
    return list(range(x.ndim)) if axes is None else sorted(axis % x.ndim for axis in ints(axes))


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[..., Tensor]:
    def reduce(x: Tensor, axes: Tensor | None = None, keep_dims: Tensor | None = None) -> Tensor:
        return function(x, _axes(x, axes), keep_dims is not None and bool(keep_dims)).to(x.dtype)

    return reduce


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if not x.is_floating_point():
        raise UnsupportedError("reduce_mean of integers is not supported: its rounding is not documented.")
    return x.mean(axes, keep)


def reduce_argmax(
    x: Tensor, axis: Tensor | None = None, keep_dims: Tensor | None = None, output_dtype: str = "int32"
) -> Tensor:
    place = -1 if axis is None else int(axis)
    return x.argmax(place, keep_dims is not None and bool(keep_dims)).to(torch.int32)


def softmax(x: Tensor, axis: Tensor | None = None) -> Tensor:
    return torch.softmax(x, -1 if axis is None else int(axis))


def l2_norm(x: Tensor, epsilon: Tensor | None = None) -> Tensor:
    """Over the last three axes together; the axes before them are batch axes."""
    if x.ndim < 3:
        raise UnsupportedError(f"l2_norm of rank {x.ndim} is not supported: the op wants rank 3 or more.")
    return x / torch.sqrt(x.square().sum((-3, -2, -1), keepdim=True) + _number(epsilon, 1e-6))


def layer_norm(
    x: Tensor, axes: Tensor | None = None, gamma: Tensor | None = None, beta: Tensor | None = None,
    epsilon: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """gamma and beta have the shape of `x` along `axes`."""
    places = _axes(x, axes)
    centred = x - x.mean(places, keepdim=True)
    normal = centred * torch.rsqrt(centred.square().mean(places, keepdim=True) + _number(epsilon, 1e-5))
    shape = [n if axis in places else 1 for axis, n in enumerate(x.shape)]
    if gamma is not None:
        normal = normal * gamma.reshape(shape)
    return normal if beta is None else normal + beta.reshape(shape)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x: (..., columns), weight: (rows, columns), bias: (rows,) -> (..., rows)."""
    if not x.is_floating_point():
        return x @ weight.T if bias is None else x @ weight.T + bias
    return F.linear(x, weight, bias)


def matmul(x: Tensor, y: Tensor, transpose_x: Tensor | None = None, transpose_y: Tensor | None = None) -> Tensor:
    """numpy's matmul; the transposes swap the last two axes and mean nothing for a vector."""
    if transpose_x is not None and bool(transpose_x) and x.ndim > 1:
        x = x.transpose(-1, -2)
    if transpose_y is not None and bool(transpose_y) and y.ndim > 1:
        y = y.transpose(-1, -2)
    return x @ y


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, strides: Tensor | None = None, pad_type: str = "valid",
    pad: Tensor | None = None, dilations: Tensor | None = None, groups: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """x: (n, channels, *spatial), weight: (rows, channels / groups, *kernel), one to three spatial axes."""
    spatial = x.ndim - 2
    if not 1 <= spatial <= 3:
        raise UnsupportedError(f"conv over {spatial} spatial axes is not supported.")
    steps = [1] * spatial if strides is None else ints(strides)
    spread = [1] * spatial if dilations is None else ints(dilations)
    if pad_type == "custom" and pad is not None:
        around = ints(pad)
    elif pad_type in ("same", "same_lower"):
        around = []
        for length, kernel, step, gap in zip(x.shape[2:], weight.shape[2:], steps, spread, strict=True):
            total = max(0, (math.ceil(length / step) - 1) * step + (kernel - 1) * gap + 1 - length)
            less, more = total // 2, total - total // 2  # an odd one goes to the end, or for same_lower to the start
            around += [less, more] if pad_type == "same" else [more, less]
    elif pad_type == "valid":
        around = [0] * (2 * spatial)
    else:
        raise UnsupportedError(f"conv with pad_type '{pad_type}' is not supported.")
    if any(around):
        last_axis_first = [n for axis in reversed(range(spatial)) for n in around[2 * axis : 2 * axis + 2]]
        x = F.pad(x, last_axis_first)
    convolve: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]
    return convolve(x, weight, bias, steps, 0, spread, 1 if groups is None else int(groups))


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(query keyᵀ / sqrt(E) + mask) value, over (batch, ..., length, E); a bool mask is true where attended.

    Written out instead of torch's fused kernel, which returns 0 for a row masked everywhere, where the op's formula
    (and a device) gives NaN.
    """
    scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-1, -2)
    if attn_mask is not None:
        is_bool = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if is_bool else scores + attn_mask
    return torch.softmax(scores, -1) @ value


def quantize(
    input: Tensor, scale: Tensor, output_dtype: str, zero_point: Tensor | None = None, axis: Tensor | None = None
) -> Tensor:
    """clip(round(input / scale) + zero point) as int8 or uint8; with an `axis` each of its places has its own scale."""
    if output_dtype not in ("int8", "uint8"):
        raise UnsupportedError(f"quantize to '{output_dtype}' is not supported.")
    kind = _CAST[output_dtype].storage
    whole = torch.round(input / _along(scale, input, axis))
    if zero_point is not None:
        whole = whole + _along(zero_point, input, axis)
    return whole.clamp(torch.iinfo(kind).min, torch.iinfo(kind).max).to(kind)


def dequantize(input: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: Tensor | None = None) -> Tensor:
    """scale * (input - zero point)."""
    whole = input.float()
    if zero_point is not None:
        whole = whole - _along(zero_point, input, axis).float()
    return whole * _along(scale, input, axis)


def _along(values: Tensor, x: Tensor, axis: Tensor | None) -> Tensor:
    """A scalar as it is; values along an axis in the shape that goes with `x`."""
    return values if axis is None else values.reshape([-1 if at == int(axis) % x.ndim else 1 for at in range(x.ndim)])


def scatter(
    data: Tensor, indices: Tensor, updates: Tensor, axis: Tensor | None = None, mode: str = "add",
    validate_indices: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`data` with each of the `updates` added at its index along `axis`; an index outside the axis is an error here."""
    if mode != "add":
        raise UnsupportedError(f"scatter with mode '{mode}' is not supported.")
    place = (0 if axis is None else int(axis)) % data.ndim
    return data.index_add(place, within("scatter", indices, data.shape[place]), updates)


OPS: dict[str, Callable[..., Any]] = {
    **MOVES,
    "abs": _unary(torch.abs), "square": _unary(torch.square), "sqrt": _unary(torch.sqrt), "exp": _unary(torch.exp),
    "exp2": _unary(torch.exp2), "erf": _unary(torch.erf), "sin": _unary(torch.sin), "cos": _unary(torch.cos),
    "tanh": _unary(torch.tanh), "sigmoid": _unary(torch.sigmoid), "silu": _unary(F.silu), "relu": _unary(torch.relu),
    "softplus": _unary(F.softplus), "floor": _unary(torch.floor), "ceil": _unary(torch.ceil),
    "round": _unary(torch.round), "sign": _unary(torch.sign), "logical_not": _unary(torch.logical_not),
    "rsqrt": rsqrt, "inverse": inverse, "log": log, "clip": clip, "gelu": gelu, "leaky_relu": leaky_relu, "cast": cast,
    "add": _binary(torch.add), "sub": _binary(torch.sub), "mul": _binary(torch.mul), "real_div": real_div,
    "floor_div": _binary(torch.floor_divide), "mod": _binary(torch.remainder), "pow": _binary(torch.pow),
    "maximum": _binary(torch.maximum), "minimum": _binary(torch.minimum),
    "greater": _binary(torch.gt), "greater_equal": _binary(torch.ge), "less": _binary(torch.lt),
    "less_equal": _binary(torch.le), "equal": _binary(torch.eq), "not_equal": _binary(torch.ne),
    "logical_and": _binary(torch.logical_and), "logical_or": _binary(torch.logical_or),
    "logical_xor": _binary(torch.logical_xor),
    "reduce_mean": _reduction(_mean),
    "reduce_sum": _reduction(lambda x, axes, keep: x.sum(axes, keep)),
    "reduce_max": _reduction(lambda x, axes, keep: x.amax(axes, keep)),
    "reduce_min": _reduction(lambda x, axes, keep: x.amin(axes, keep)),
    "reduce_sum_square": _reduction(lambda x, axes, keep: x.square().sum(axes, keep)),
    "reduce_l2_norm": _reduction(lambda x, axes, keep: x.square().sum(axes, keep).sqrt()),
    "reduce_argmax": reduce_argmax, "range_1d": range_1d, "scatter": scatter,
    "quantize": quantize, "dequantize": dequantize,
    "softmax": softmax, "l2_norm": l2_norm, "layer_norm": layer_norm,
    "linear": linear, "matmul": matmul, "conv": conv, "scaled_dot_product_attention": scaled_dot_product_attention,
}  # fmt: skip
EXACT = frozenset(MOVES)
"""The ops whose results need no rounding because every value was in an input."""

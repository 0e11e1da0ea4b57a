"""The constexpr ops of iOS 18: compressed weights, decoded when they are first used. Semantics: coremltools' op
reference."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch

from edgesw.errors import PackageError, UnsupportedError
from edgesw.runtime.mil_weights import Array, Constant, DType, Shape

LONGEST_VECTOR = 64
"""The most values that one index may decode to: without a limit a small file could decode to any size."""
_DECODE_CHUNK = 1 << 20  # elements looked up at a time: keeps numpy's 8-byte indices few enough for the cache


class Constexpr:
    """The result of a constexpr op, decoded when it is first used and cached in the type that ops compute with.

    `half` rounds values that are computed, not only looked up, to the float16 grid where the op's result is float16.
    """

    def __init__(
        self, op: str, args: dict[str, Constant | Constexpr], dtype: DType, shape: Shape, where: str, half: bool
    ) -> None:
        self.dtype, self.shape = dtype, shape
        self._decode, required, optional, infer = _CONSTEXPR[op]
        unknown = set(args) - set(required) - set(optional)
        if unknown or not set(required) <= set(args):
            raise UnsupportedError(f"{where}: parameters {sorted(args)} are not a variant of {op} that is supported.")
        self._args = args
        self._half = half and dtype.name == "fp16" and op == "constexpr_blockwise_shift_scale"
        if any(arg.dtype is None for arg in args.values()):
            raise PackageError(f"{where}: a parameter of {op} is a string.")
        inferred = infer(args)
        if inferred != shape:
            raise PackageError(f"{where}: {op} declares shape {shape}; its parameters give {inferred}.")

    def numpy(self) -> Array:
        return np.asarray(self.value.numpy())

    @cached_property
    def value(self) -> torch.Tensor:
        """The value that other ops receive: float32 for float results, 8-bit integers otherwise."""
        value = torch.from_numpy(self._decode(**self._args))
        if self._half:
            for part in value.view(-1).split(_DECODE_CHUNK):  # in place: a whole copy is as large again
                part.copy_(part.half())
        return value

    def forget(self) -> None:
        """Drops the cached value."""
        self.__dict__.pop("value", None)


Argument = Constant | Constexpr


def _lut_shape(args: dict[str, Argument]) -> Shape | None:
    """The result's shape; None, which equals no declared shape, when the palettes do not fit the indices."""
    indices, lut = args["indices"], args["lut"]
    rank, size = len(indices.shape), lut.shape[-1] if lut.shape else 0
    groups = lut.shape[:rank]
    if len(lut.shape) != rank + 2 or indices.dtype is None or lut.shape[rank] != 1 << indices.dtype.bits:
        return None
    if any(g == 0 or n % g for n, g in zip(indices.shape, groups, strict=True)):
        return None
    axis_shape = args["vector_axis"].shape if "vector_axis" in args else None
    if size > LONGEST_VECTOR or (size > 1 and axis_shape is None) or axis_shape not in (None, ()) or not rank:
        return None
    axis = _vector_axis(args.get("vector_axis"), rank)
    return tuple(n * size if i == axis else n for i, n in enumerate(indices.shape))


def _vector_axis(constant: Argument | None, rank: int) -> int:
    return int(constant.numpy()) % rank if constant is not None else rank - 1


def _lut_to_dense(indices: Argument, lut: Argument, vector_axis: Argument | None = None) -> Array:
    """Looks each index up in the palette of its group. lut: (*groups, palette size, vector size), see the op's docs."""
    codes, palettes = indices.numpy(), lut.numpy()
    if palettes.dtype == np.float16:
        palettes = palettes.astype(np.float32)
    *groups, entries, size = palettes.shape
    first: Array = np.zeros((1,) * codes.ndim, np.int32)  # where an element's palette starts in the flat table
    for axis, (length, count) in enumerate(zip(codes.shape, groups, strict=True)):
        if count > 1:
            along = np.arange(length, dtype=np.int32) // (length // count) * (math.prod(groups[axis + 1 :]) * entries)
            first = first + along.reshape([-1 if i == axis else 1 for i in range(codes.ndim)])
    table = palettes.reshape(-1, size) if size > 1 else palettes.reshape(-1)
    dense = np.empty((*codes.shape, size) if size > 1 else codes.shape, palettes.dtype)
    rows = max(1, _DECODE_CHUNK // max(1, math.prod(codes.shape[1:])))
    for row in range(0, len(codes), rows):
        part = slice(row, row + rows)
        places = codes[part] + (first[part] if first.shape[0] > 1 else first)
        np.take(table, places, axis=0, out=dense[part], mode="clip")  # in range by construction; "raise" would buffer
    if size == 1:
        return dense
    axis = _vector_axis(vector_axis, codes.ndim)
    return np.moveaxis(dense, -1, axis + 1).reshape([n * size if i == axis else n for i, n in enumerate(codes.shape)])


def _blockwise_shape(args: dict[str, Argument]) -> Shape | None:
    data, scale, offset = args["data"].shape, args["scale"].shape, args.get("offset")
    fits = len(data) == len(scale) and all(s and n % s == 0 for n, s in zip(data, scale, strict=True))
    return data if fits and (offset is None or offset.shape == scale) else None


def _blockwise_shift_scale(data: Argument, scale: Argument, offset: Argument | None = None) -> Array:
    """scale * (data - offset), each scale and offset repeated over its block; computed in float32."""
    dense = data.numpy().astype(np.float32)
    blocks = [size for n, s in zip(data.shape, scale.shape, strict=True) for size in (s, n // s)]
    per_block = [size for s in scale.shape for size in (s, 1)]
    blocked = dense.reshape(blocks)
    if offset is not None:
        blocked -= offset.numpy().astype(np.float32).reshape(per_block)
    blocked *= scale.numpy().astype(np.float32).reshape(per_block)
    return dense


def _sparse_shape(args: dict[str, Argument]) -> Shape | None:
    return args["mask"].shape if len(args["nonzero_data"].shape) == 1 else None


def _sparse_to_dense(nonzero_data: Argument, mask: Argument) -> Array:
    """Zeros, with the values of `nonzero_data` (n,) where the mask is one, in the order of storage."""
    values, places = nonzero_data.numpy(), mask.numpy() != 0
    if np.count_nonzero(places) != values.size:
        raise PackageError(f"constexpr_sparse_to_dense: {values.size} values for {np.count_nonzero(places)} places.")
    dense = np.zeros(places.shape, np.float32 if values.dtype.kind == "f" else values.dtype)
    dense[places] = values
    return dense


_CONSTEXPR: dict[str, tuple[Callable[..., Array], tuple[str, ...], tuple[str, ...], Callable[..., Shape | None]]] = {
    "constexpr_lut_to_dense": (_lut_to_dense, ("indices", "lut"), ("vector_axis",), _lut_shape),
    "constexpr_blockwise_shift_scale": (_blockwise_shift_scale, ("data", "scale"), ("offset",), _blockwise_shape),
    "constexpr_sparse_to_dense": (_sparse_to_dense, ("nonzero_data", "mask"), (), _sparse_shape),
}
CONSTEXPR_OPS = frozenset(_CONSTEXPR)

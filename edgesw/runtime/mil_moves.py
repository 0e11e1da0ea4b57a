"""The MIL ops that only move values: slices, reshapes, gathers. Semantics: coremltools' op reference, iOS 18.

Their results need no rounding, as every value was in an input; results may share memory with inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgesw.errors import PackageError, UnsupportedError


def ints(value: Tensor) -> list[int]:
    """The elements of a 1-D integer parameter."""
    return [int(v) for v in value.reshape(-1).tolist()]


def listed(values: Tensor | list[Tensor]) -> list[Tensor]:
    """A tuple parameter; in a file a tuple of one looks like its only element."""
    return values if isinstance(values, list) else [values]


def identity(x: Tensor) -> Tensor:
    return x


def reshape(x: Tensor, shape: Tensor) -> Tensor:
    """0 keeps the dimension of `x` counted from the right (iOS 17 and later), 1 beyond its rank; -1 is inferred."""
    sizes = ints(shape)
    for back in range(1, len(sizes) + 1):
        if sizes[-back] == 0:
            sizes[-back] = x.shape[-back] if back <= x.ndim else 1
    return x.reshape(sizes)


def expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    places = ints(axes)
    for axis in sorted(a % (x.ndim + len(places)) for a in places):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Keeps axes that are not of length one, as PyTorch does."""
    return x.squeeze() if axes is None else x.squeeze(tuple(ints(axes)))


def transpose(x: Tensor, perm: Tensor) -> Tensor:
    return x.permute(ints(perm))


def concat(values: Tensor | list[Tensor], axis: Tensor, interleave: Tensor | None = None) -> Tensor:
    parts = [v.reshape(1) if v.ndim == 0 else v for v in listed(values)]
    place = int(axis)
    if interleave is not None and bool(interleave):
        return torch.stack(parts, place % parts[0].ndim + 1).flatten(place % parts[0].ndim, place % parts[0].ndim + 1)
    return torch.cat(parts, place)


def stack(values: Tensor | list[Tensor], axis: Tensor) -> Tensor:
    return torch.stack(listed(values), int(axis))


def split(
    x: Tensor, axis: Tensor, num_splits: Tensor | None = None, split_sizes: Tensor | None = None
) -> tuple[Tensor, ...]:
    place = int(axis)
    if split_sizes is not None:
        return torch.split(x, ints(split_sizes), place)
    if num_splits is None:
        raise UnsupportedError("split without num_splits and split_sizes is not supported.")
    if x.shape[place] % int(num_splits):
        raise PackageError(f"split: {x.shape[place]} does not divide into {int(num_splits)} equal parts.")
    return torch.split(x, x.shape[place] // int(num_splits), place)


def tile(x: Tensor, reps: Tensor) -> Tensor:
    return x.repeat(ints(reps))


def fill(shape: Tensor, value: Tensor | None = None) -> Tensor:
    return torch.full(ints(shape), 0.0) if value is None else value.expand(ints(shape))


def within(op: str, indices: Tensor, size: int) -> Tensor:
    """The indices (n,), int64. PackageError for one outside an axis of this size."""
    flat = indices.reshape(-1).long()
    if flat.numel() and (int(flat.min()) < 0 or int(flat.max()) >= size):
        bad = int(flat.min()) if int(flat.min()) < 0 else int(flat.max())
        raise PackageError(f"{op}: index {bad} is outside an axis of {size}.")
    return flat


def gather(
    x: Tensor, indices: Tensor, axis: Tensor | None = None, batch_dims: Tensor | None = None,
    validate_indices: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Slices of `x` along `axis`; the shape of `indices` replaces the axis.

    An index outside the axis, since iOS 17 also a negative one, is undefined behaviour on a device: an error here.
    """
    if batch_dims is not None and int(batch_dims) != 0:
        raise UnsupportedError(f"gather with batch_dims={int(batch_dims)} is not supported.")
    place = (0 if axis is None else int(axis)) % x.ndim
    flat = within("gather", indices, x.shape[place])
    return x.index_select(place, flat).reshape(*x.shape[:place], *indices.shape, *x.shape[place + 1 :])


def gather_along_axis(
    x: Tensor, indices: Tensor, axis: Tensor | None = None, validate_indices: Tensor | None = None
) -> Tensor:
    return x.take_along_dim(indices.long(), 0 if axis is None else int(axis))


def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond, a, b)


def _window(
    x: Tensor, begin: Tensor, end: Tensor, stride: Tensor | None, begin_mask: Tensor | None, end_mask: Tensor | None,
    squeeze_mask: Tensor | None,
) -> tuple[Tensor, list[int], list[int]]:  # fmt: skip
    """The slice of `x` as a view, then the axes to flip (torch slices forwards only) and those to squeeze."""
    rank = x.ndim
    starts, stops = ints(begin), ints(end)
    steps = [1] * rank if stride is None else ints(stride)
    no_start, no_stop, one = (
        [False] * rank if m is None else m.reshape(-1).tolist() for m in (begin_mask, end_mask, squeeze_mask)
    )
    if not len(starts) == len(stops) == len(steps) == rank:
        raise PackageError(f"slice: begin, end and stride need one entry for each of {rank} axes.")
    index, flips = [], []
    for axis, length in enumerate(x.shape):
        if one[axis]:
            start = 0 if no_start[axis] else starts[axis]
            if not -length <= start < length:
                raise PackageError(f"slice: index {start} is outside axis {axis} of length {length}.")
            index.append(slice(start % length, start % length + 1))
            continue
        wanted = slice(None if no_start[axis] else starts[axis], None if no_stop[axis] else stops[axis], steps[axis])
        places = range(*wanted.indices(length))
        if steps[axis] < 0 and places:
            flips.append(axis)
            places = places[::-1]
        index.append(slice(places[0], places[-1] + 1, places.step) if places else slice(0, 0))
    return x[tuple(index)], flips, [axis for axis in range(rank) if one[axis]]


def slice_by_index(
    x: Tensor, begin: Tensor, end: Tensor, stride: Tensor | None = None, begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None, squeeze_mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """numpy's basic slicing; a masked begin or end counts as absent, a squeezed axis is indexed at `begin`."""
    window, flips, squeezes = _window(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    if flips:
        window = window.flip(flips)
    return window.squeeze(tuple(squeezes)) if squeezes else window


def slice_update_in_place(
    x: Tensor, update: Tensor, begin: Tensor, end: Tensor, stride: Tensor | None = None,
    begin_mask: Tensor | None = None, end_mask: Tensor | None = None, squeeze_mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Writes `update` into the slice of `x` itself; only for an `x` that is not read afterwards."""
    window, flips, squeezes = _window(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    shape = tuple(n for axis, n in enumerate(window.shape) if axis not in squeezes)
    if shape != tuple(update.shape):
        raise PackageError(f"slice_update: the slice has shape {shape}, the update {tuple(update.shape)}.")
    update = update.reshape(window.shape)
    window.copy_(update.flip(flips) if flips else update)
    return x


def slice_update(
    x: Tensor, update: Tensor, begin: Tensor, end: Tensor, stride: Tensor | None = None,
    begin_mask: Tensor | None = None, end_mask: Tensor | None = None, squeeze_mask: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """A copy of `x` with the slice replaced by `update`, which must have the slice's shape."""
    return slice_update_in_place(
        x.clone(memory_format=torch.contiguous_format), update, begin, end, stride, begin_mask, end_mask, squeeze_mask
    )


def slice_by_size(x: Tensor, begin: Tensor, size: Tensor) -> Tensor:
    starts, sizes = ints(begin), ints(size)
    if any(s + n > length for s, n, length in zip(starts, sizes, x.shape, strict=True)):
        raise PackageError(f"slice_by_size: begin {starts} and size {sizes} leave a tensor of shape {tuple(x.shape)}.")
    return x[tuple(slice(s, None if n == -1 else s + n) for s, n in zip(starts, sizes, strict=True))]


def shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


def range_1d(start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    """start, start + step, ... below `end`; computed by counting, so that float steps do not accumulate."""
    first, last, by = start.reshape(()), end.reshape(()), step.reshape(())
    count = max(0, math.ceil((last.item() - first.item()) / by.item()))
    return first + by * torch.arange(count, dtype=first.dtype)


MOVES: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        identity, reshape, expand_dims, squeeze, transpose, concat, stack, split, tile, fill, gather, gather_along_axis,
        select, slice_by_index, slice_update, slice_by_size, shape,
    )
}  # fmt: skip

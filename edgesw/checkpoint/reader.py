"""TensorReader: reads tensors from checkpoint files as float32, whole or by rows.

Data is read, not memory-mapped: if another program cuts a mapped file short, the next access kills the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import ClassVar

import numpy as np

from edgesw.errors import CheckpointError, UnsupportedError

AGAIN = "The file is truncated or damaged: download it again"
AT_ONCE = 1 << 16
"""Values read at a time: dequantizing so few stays in the processor's cache, and takes a fifth of the time."""

Rows = slice | np.ndarray
"""Rows of a tensor (its first axis): a slice, or an array of row numbers in any order."""


@dataclass(frozen=True)
class StoredTensor:
    """Where and how a file stores a tensor."""

    path: Path
    offset: int
    """Bytes from the start of the file."""
    dtype: np.dtype
    shape: tuple[int, ...]
    stored_shape: tuple[int, ...]
    """In elements of `dtype`; its last axis differs from `shape` where values are packed into blocks of bytes."""
    type_name: str
    """The file's name for the type, for messages."""
    decode: Callable[[np.ndarray], np.ndarray] | None
    """Converts rows as stored, (rows, ...), to float32; None for a type that cannot be read."""


class TensorReader:
    """The tensors of one or more files, under the names they have there. Nothing is read before it is asked for."""

    unreadable: ClassVar[str]
    """What to say, and what to do, about a type that cannot be read."""

    def __init__(self, tensors: Mapping[str, StoredTensor]) -> None:
        self._tensors = tensors

    def names(self) -> frozenset[str]:
        """The names of all tensors."""
        return frozenset(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a whole tensor. UnsupportedError for values of a type that cannot be read."""
        return self._readable(name)[0].shape

    def type_name(self, name: str) -> str:
        """The file's name for the type of a tensor's values: BF16, Q4_K."""
        return self._tensors[name].type_name

    def read(self, name: str, rows: Rows | None = None) -> np.ndarray:
        """The tensor as float32, or only these rows of it: the others are neither read nor converted.

        Raises CheckpointError for a file that cannot be read, UnsupportedError as `shape`.
        """
        tensor, decode = self._readable(name)
        vector = len(tensor.shape) < 2  # read whole, as a single row
        if not vector and isinstance(rows, np.ndarray) and len(rows) == tensor.stored_shape[0]:
            return self.read(name)[rows]  # in another order: many times as fast as row after row
        shape, stored = ((1, *(each or (1,))) if vector else each for each in (tensor.shape, tensor.stored_shape))
        try:
            values = _read_rows(tensor, stored, decode, shape[1:], None if vector else rows)
        except (OSError, EOFError) as error:
            raise CheckpointError(f"{tensor.path}: cannot read tensor '{name}': {error}. {AGAIN}.") from error
        if not vector:
            return values
        whole = values.reshape(tensor.shape)
        return whole if rows is None else whole[rows]

    def _readable(self, name: str) -> tuple[StoredTensor, Callable[[np.ndarray], np.ndarray]]:
        tensor = self._tensors[name]
        if tensor.decode is None:
            raise UnsupportedError(f"{tensor.path}: tensor '{name}' is stored as {tensor.type_name}{self.unreadable}")
        return tensor, tensor.decode


def _read_rows(
    tensor: StoredTensor,
    stored: tuple[int, ...],
    decode: Callable[[np.ndarray], np.ndarray],
    columns: tuple[int, ...],
    rows: Rows | None,
) -> np.ndarray:
    """Rows of a tensor whose data has the shape `stored`: float32 (rows, *columns).

    Raises OSError for a file that cannot be read, EOFError for one that ends too early.
    """
    runs, each, done = _runs(rows, stored[0]), prod(stored[1:]), 0
    values = np.empty((sum(last - first for first, last in runs), *columns), np.float32)
    if not each:  # an empty tensor, however many rows it claims
        return values
    step = max(1, AT_ONCE // each)
    with tensor.path.open("rb", buffering=0) as file:
        for first, last in runs:
            for start in range(first, last, step):
                count = min(step, last - start)
                file.seek(tensor.offset + start * each * tensor.dtype.itemsize)
                part = np.fromfile(file, tensor.dtype, count * each)
                if len(part) < count * each:
                    raise EOFError("the file ends before its last value")
                values[done : done + count] = decode(part.reshape(count, *stored[1:]))
                done += count
    return values


def _runs(rows: Rows | None, length: int) -> list[tuple[int, int]]:
    """Runs of adjacent rows, each as its first row and the row after its last."""
    if rows is None:
        return [(0, length)]
    if isinstance(rows, slice):
        start, stop, step = rows.indices(length)
        if step == 1:
            return [(start, max(start, stop))]
        rows = np.arange(start, stop, step)
    numbers = np.arange(length)[rows]  # raises IndexError for a row out of range
    cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(numbers, cuts) if len(run)]


def all_finite(values: np.ndarray) -> bool:
    """Whether there is neither NaN nor infinity among float32 values. Their sum decides, in one pass without a copy;
    each value is looked at only where the sum is not finite, which finite values may add up to as well."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())

"""Rows of a tensor, read from a file piece by piece.

Not mapped: a file that is cut short while it is mapped ends the process at the next look, without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np

from edgesw.checkpoint.reader import Rows

# Values read at a time: dequantising takes several times their memory.
AT_ONCE = 1 << 20


def count_rows(rows: Rows | None, length: int) -> int:
    """How many rows of a tensor with `length` of them are asked for."""
    return sum(stop - start for start, stop in _runs(rows, length))


def read_rows(
    path: Path, offset: int, dtype: np.dtype, shape: tuple[int, ...], rows: Rows | None
) -> Iterator[tuple[slice, np.ndarray]]:
    """(their places among the rows asked for, rows) of the tensor of this type and shape that begins at byte `offset`.

    Raises OSError where the file cannot be read, EOFError where it ends too early.
    """
    each, place = prod(shape[1:]), 0
    if not each:  # nothing, however many rows of it
        return
    step = max(1, AT_ONCE // each)
    with path.open("rb", buffering=0) as file:
        for first, last in _runs(rows, shape[0]):
            for start in range(first, last, step):
                count = min(step, last - start)
                file.seek(offset + start * each * dtype.itemsize)
                values = np.fromfile(file, dtype, count * each)
                if len(values) < count * each:
                    raise EOFError("the file ends before its last value")
                yield slice(place, place + count), values.reshape(count, *shape[1:])
                place += count


def _runs(rows: Rows | None, length: int) -> list[tuple[int, int]]:
    """First row and the one after the last, of rows that lie together."""
    if rows is None:
        return [(0, length)]
    if isinstance(rows, slice):
        start, stop, step = rows.indices(length)
        if step == 1:
            return [(start, max(start, stop))]
        rows = np.arange(start, stop, step)
    numbers = np.arange(length)[rows]  # also says where a number is out of range
    cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
    return [(int(run[0]), int(run[-1]) + 1) for run in np.split(numbers, cuts) if len(run)]

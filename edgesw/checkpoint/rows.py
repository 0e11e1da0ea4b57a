"""Rows of a tensor, read from a file piece by piece.

Not mapped: a file that is cut short while it is mapped ends the process at the next look, without a word.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

from edgesw.checkpoint.reader import Rows

# Values read at a time: dequantising takes several times their memory.
AT_ONCE = 1 << 20


def read_rows(
    path: Path,
    offset: int,
    dtype: np.dtype,
    stored: tuple[int, ...],
    rows: Rows | None,
    columns: tuple[int, ...],
    convert: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Rows of the tensor of this type and shape, `stored`, that begins at byte `offset`: float32 (rows, *columns).
    `convert` makes them of rows as they are stored, some at a time.

    Raises OSError where the file cannot be read, EOFError where it ends too early.
    """
    runs, each, place = _runs(rows, stored[0]), prod(stored[1:]), 0
    values = np.empty((sum(last - first for first, last in runs), *columns), np.float32)
    if not each:  # nothing, however many rows of it
        return values
    step = max(1, AT_ONCE // each)
    with path.open("rb", buffering=0) as file:
        for first, last in runs:
            for start in range(first, last, step):
                count = min(step, last - start)
                file.seek(offset + start * each * dtype.itemsize)
                part = np.fromfile(file, dtype, count * each)
                if len(part) < count * each:
                    raise EOFError("the file ends before its last value")
                values[place : place + count] = convert(part.reshape(count, *stored[1:]))
                place += count
    return values


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

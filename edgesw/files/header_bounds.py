"""Bounds on what a reader computes from a header of any origin, before it computes it."""

from __future__ import annotations

from collections.abc import Iterable

MOST_AXES = 32
"""Of a tensor; models have at most six."""
MOST_ELEMENTS = 2**62
"""Of a tensor. Products of more numbers, or of larger ones, take time without end."""


def bounded_shape(lengths: Iterable[int], name: str) -> tuple[tuple[int, ...], int]:
    """A shape and the number of its elements. ValueError for one that no tensor has."""
    shape: list[int] = []
    count, most = 1, 0
    for length in lengths:
        shape.append(int(length))
        most = max(most, shape[-1])
        if len(shape) > MOST_AXES:
            raise ValueError(f"'{name}' has more than {MOST_AXES} axes")
        if shape[-1] < 0:
            raise ValueError(f"'{name}' has a negative length")
        count *= shape[-1]
        if max(count, most) > MOST_ELEMENTS:
            raise ValueError(f"'{name}' has more elements than any file")
    return tuple(shape), count

"""The shapes that an input or output of a Core ML model may have, as its description lists them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgesw.errors import PackageError
from edgesw.files.header_bounds import MOST_AXES

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ArrayShapes:
    """The shapes of one array: any within `ranges`, one of `choices`, or `default` where both are empty."""

    default: Shape
    ranges: tuple[tuple[int, int | None], ...] = ()
    """Smallest and largest length of each axis; None: no largest."""
    choices: tuple[Shape, ...] = ()


def array_shapes(array: Any) -> ArrayShapes:
    """The shapes in an ArrayFeatureType (proto)."""
    if max((len(array.shape), len(array.shapeRange.sizeRanges))) > MOST_AXES:
        raise PackageError(f"the Core ML model is damaged: an input has more than {MOST_AXES} axes.")
    default, flexibility = _ints(array.shape), array.WhichOneof("ShapeFlexibility")
    if flexibility == "shapeRange":
        sizes = array.shapeRange.sizeRanges
        ranges = ((int(each.lowerBound), int(each.upperBound) if each.upperBound >= 0 else None) for each in sizes)
        return ArrayShapes(default, ranges=tuple(ranges))
    if flexibility == "enumeratedShapes":
        return ArrayShapes(default, choices=tuple(_ints(each.shape) for each in array.enumeratedShapes.shapes))
    return ArrayShapes(default)


def _ints(lengths: Any) -> Shape:
    return tuple(int(length) for length in lengths)

"""Schemes in words, as a `Scheme` of `edgesw.compress.scheme` writes them, from what headers show."""

from __future__ import annotations

from collections.abc import Sequence


def block_words(numbers: str, shape: Sequence[int], scales: Sequence[int], zero_points: bool) -> str:
    """Block integers. `numbers` is such as "4 bits", `scales` the number of scales along each axis of `shape`."""
    return f"block {numbers}, {_cut(shape, scales, 'blocks')}" + (", zero points" if zero_points else "")


def blocks_of(numbers: str, size: int, columns: int, zero_points: bool) -> str:
    """As `block_words`, for blocks of `size` columns, the last of which may be short."""
    cut = "whole rows" if size >= columns else f"blocks of {size}"
    return f"block {numbers}, {cut}" + (", zero points" if zero_points else "")


def palette_words(code_bits: int, shape: Sequence[int], palettes: Sequence[int], vector: int) -> str:
    """Palettes. `palettes` is their number along each axis of `shape`, `vector` the number of values in an entry."""
    width = f"palette {code_bits / vector:g} bits" + (f", vectors of {vector}" if vector > 1 else "")
    if all(count == 1 for count in palettes):
        return f"{width}, per tensor"
    ((axis, count), *more) = [(axis, count) for axis, count in enumerate(palettes) if count > 1]
    if not more and axis < 2:
        return f"{width}, groups of {shape[axis] // count} {('rows', 'columns')[axis]}"
    return f"{width}, {_cut(shape, palettes, 'groups')}"


def _cut(shape: Sequence[int], counts: Sequence[int], what: str) -> str:
    sizes = [length // max(1, count) for length, count in zip(shape, counts, strict=True)]
    if all(count == 1 for count in counts):
        return "per tensor"
    if sizes[0] == 1 and all(count == 1 for count in counts[1:]):
        return "whole rows"
    if len(shape) > 1 and sizes[1] == 1 and all(count == 1 for count in (counts[0], *counts[2:])):
        return "whole columns"
    if len(shape) > 1 and sizes[0] == 1 and all(count == 1 for count in counts[2:]):
        return f"{what} of {sizes[1]}"
    return f"{what} of {' x '.join(map(str, sizes))}"

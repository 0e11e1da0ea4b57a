"""One round of error compensation of palettes: entries by least squares, then codes by coordinate descent."""

from __future__ import annotations

import numpy as np

from edgesw.compress.float16 import to_float16
from edgesw.compress.output_error import PASSES, ROWS, OutputError, solved
from edgesw.compress.palette import decode_palettes
from edgesw.compress.threads import threaded


def refine_palettes(
    error: OutputError, codes: np.ndarray, palettes: np.ndarray, group: int
) -> tuple[np.ndarray, np.ndarray]:
    """Codes, uint8 (rows, columns), and ascending palettes, float16 (groups, entries), with a smaller error.

    `codes` of places that are exact stay. `group` are the rows that share a palette, 0 for all.
    """
    from edgesw.compress.descent import descend_palette  # takes long to load

    rows = len(codes)
    group = group or rows
    fit = _entries(error, codes, palettes[..., None], group)[:, 0]
    order = np.argsort(fit, axis=1, kind="stable")  # nearly always the present order
    palettes = to_float16(np.take_along_axis(fit, order, 1))
    codes = np.argsort(order, axis=1).astype(np.uint8)[(np.arange(rows) // group)[:, None], codes]
    gradients = error.gradients(decode_palettes(codes, palettes, group))

    def descend(first: int) -> None:
        own = slice(first, first + each)
        palette = palettes[first // group].astype(np.float32)
        descend_palette(gradients[own], error.hessian, error.exact[own], palette, codes[own], PASSES)

    each = group if group < rows else ROWS
    threaded(descend, range(0, rows, each))
    return codes, palettes


def refine_vectors(
    error: OutputError, codes: np.ndarray, palettes: np.ndarray, group: int
) -> tuple[np.ndarray, np.ndarray]:
    """As `refine_palettes`, for codes (rows / vector, columns) and palettes (groups, entries, vector), whose entries
    have no order."""
    from edgesw.compress.descent import descend_vectors  # takes long to load

    rows, vector = len(error.products), palettes.shape[2]
    group = group or rows
    fit = to_float16(_entries(error, codes, palettes, group))
    codes, palettes = codes.copy(), fit.transpose(0, 2, 1)
    gradients = error.gradients(decode_palettes(codes, palettes, group))

    def descend(first: int) -> None:
        own = slice(first, min(first + each, (first // group + 1) * group))
        own_codes = codes[own.start // vector : own.stop // vector]
        palette = fit[first // group].astype(np.float32)
        descend_vectors(gradients[own], error.hessian, error.exact[own], palette, own_codes, PASSES)

    each = min(group, ROWS)
    threaded(descend, [first for start in range(0, rows, group) for first in range(start, start + group, each)])
    return codes, palettes


def _entries(error: OutputError, codes: np.ndarray, palettes: np.ndarray, group: int) -> np.ndarray:
    """The best palettes for these codes, float64 (groups, vector, entries); `palettes` are (groups, entries, vector).
    The rows of a vector do not depend on each other, so each has a system of its own."""
    from edgesw.compress.descent import palette_system  # takes long to load

    rows = len(error.products)
    groups, entries, vector = palettes.shape

    def fitted(place: tuple[int, int]) -> np.ndarray:
        index, k = place
        last = min((index + 1) * group, rows)
        parts = [slice(first, min(first + ROWS, last)) for first in range(index * group, last, ROWS)]
        systems = [
            palette_system(
                np.ascontiguousarray(error.products[p][k::vector]),
                error.hessian,
                np.ascontiguousarray(error.exact[p][k::vector]),
                codes[p.start // vector : p.stop // vector],
                entries,
            )
            for p in parts
        ]
        return solved(sum(a for a, _ in systems), sum(b for _, b in systems), palettes[index, :, k].astype(np.float64))

    places = [(index, k) for index in range(groups) for k in range(vector)]
    return np.array(threaded(fitted, places)).reshape(groups, vector, entries)

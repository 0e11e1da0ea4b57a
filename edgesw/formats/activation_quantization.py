"""Activations in 8 bits: which ranges the inputs of the layers' matrices are rounded within."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

RANGES = ("per-token", "per-tensor", "static")
"""What shares a range: each token's input; all that a call gives; every input there will be, as calibration saw it."""


@dataclass(frozen=True)
class ActivationQuantization:
    """How inputs are rounded to 8 bits. The columns that are held out of a matrix are no part of it: their inputs stay
    in float, and the product that is rounded gets zeros in their place (arXiv 2411.07191, section 5.1, keeps a super
    activation as a scalar aside in the same way, and puts it back before the product)."""

    ranges: str
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Of static ranges: least and largest value by matrix name, zero within."""

    def largest(self, name: str) -> float:
        """Of a static range, for formats whose integers are symmetric about zero."""
        return max(-self.bounds[name][0], self.bounds[name][1])


def static_bounds(
    extremes: Mapping[str, np.ndarray], held_out: Mapping[str, Collection[int]]
) -> dict[str, tuple[float, float]]:
    """The range of each matrix's input without the columns held out, from each column's least and largest value,
    float32 (2, columns) by name. An input that is always zero gets a range that is not."""
    bounds = {}
    for name, each in extremes.items():
        low, high = np.delete(each, list(held_out.get(name, ())), axis=1)
        least, most = min(low.min(initial=0), 0), max(high.max(initial=0), 0)
        bounds[name] = (float(least), float(most)) if most > least else (0.0, 1.0)
    return bounds

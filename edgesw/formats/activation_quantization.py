"""8-bit activations: the ranges within which the inputs of the layers' matrices are quantized."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

PER_TOKEN, PER_TENSOR, STATIC = "per-token", "per-tensor", "static"
RANGES = (PER_TOKEN, PER_TENSOR, STATIC)
"""What shares a range: the input of each token; the input of a call; all inputs, within what calibration measured."""
SHARED_RANGES = (PER_TENSOR, STATIC)
"""Those in which the inputs of several tokens share a range."""


@dataclass(frozen=True)
class ActivationQuantization:
    """How inputs are quantized to 8 bits.

    The columns that are held out of a matrix take no part: their inputs stay in float, and the quantized product gets
    zeros in their place (arXiv 2411.07191, section 5.1, keeps a super activation aside as a scalar in the same way, and
    puts it back before the product).
    """

    ranges: str
    """One of RANGES."""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The static ranges: smallest and largest value by matrix name, zero within."""

    def largest(self, name: str) -> float:
        """The bound of a matrix's static range, for formats whose integers are symmetric about zero."""
        return max(-self.bounds[name][0], self.bounds[name][1])


def static_bounds(
    extremes: Mapping[str, np.ndarray], held_out: Mapping[str, Collection[int]]
) -> dict[str, tuple[float, float]]:
    """The range of each matrix's input without its held-out columns, from the smallest and largest value of each
    column, float32 (2, columns) by name. The range of an input that is always zero is not empty either."""
    bounds = {}
    for name, each in extremes.items():
        low, high = np.delete(each, list(held_out.get(name, ())), axis=1)
        smallest, largest = min(low.min(initial=0), 0), max(high.max(initial=0), 0)
        bounds[name] = (float(smallest), float(largest)) if largest > smallest else (0.0, 1.0)
    return bounds

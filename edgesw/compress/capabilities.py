"""Capabilities: what a target's format can carry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from edgesw.errors import UsageError

SMALLEST_BLOCK = 16


@dataclass(frozen=True)
class Capabilities:
    """The code widths that a target's format has for each scheme, and how its groups must divide a matrix."""

    widths: dict[str, tuple[int, ...]]
    """Scheme kind -> code widths, ascending; the first kind that has a width is preferred."""
    whole_groups: bool
    """True: a group must divide its axis. False: blocks are powers of two from 16, and the last is padded."""
    head_multiple: int = 1
    """The runtime's attention takes heads of a multiple of this many channels."""
    whole_rows: bool = False
    """Blocks of the layers' matrices must be whole rows."""
    end: str = "block"
    """Scheme kind of embedding and head."""

    def group(self, wanted: int, axis: int, unit: int = 1) -> int:
        """The group size nearest to `wanted` that divides `axis` in multiples of `unit`, or `wanted` where the format
        pads. UsageError for a size that such a format lacks."""
        if self.whole_groups:
            return unit * nearest_divisor(axis // unit, wanted / unit)
        if wanted < SMALLEST_BLOCK or wanted & (wanted - 1):
            raise UsageError(f"--group-size {wanted}: this target takes powers of two from {SMALLEST_BLOCK}.")
        return wanted


@cache
def nearest_divisor(axis: int, group: float) -> int:
    """The divisor of `axis` nearest to `group` by ratio, the smaller of two as near."""
    small = [n for n in range(1, math.isqrt(axis) + 1) if axis % n == 0]
    divisors = sorted({*small, *(axis // n for n in small)})
    return min(divisors, key=lambda n: max(n / group, group / n))

"""Interleaved timing: whatever else the machine does affects all that are timed. Imports nothing large."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from benchmarks.lib.printing import say

Timed = Callable[[], tuple[float, float]]
"""Reads a prompt and writes tokens after it: tokens per second of both."""
Speeds = dict[str, tuple[list[float], list[float]]]
"""By title: tokens per second in each round, of reading and of writing."""


def interleave(runners: Mapping[str, Timed], rounds: int) -> Speeds:
    """Times each in turn, in every round. The first round warms up and does not count."""
    speeds: Speeds = {title: ([], []) for title in runners}
    for at in range(rounds + 1):
        say(f"timing, round {at} of {rounds}")
        for title, run in runners.items():
            prefill, decode = run()
            if at:
                speeds[title][0].append(prefill)
                speeds[title][1].append(decode)
    return speeds


def ratio(rates: Sequence[float], base: Sequence[float]) -> float:
    """The median over rounds of a rate relative to another in the same round."""
    return statistics.median(own / other for own, other in zip(rates, base, strict=True))

"""The plot of a comparison: size and divergence of packages, each point with a label that overlaps no other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgesw.system.local_settings import drawing
from edgesw.system.sizes import format_size

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST = 1e-6  # nats: where a divergence of zero is drawn on the logarithmic axis
LONGEST = 60  # characters of a label
FONT, LINE = 10, 0.2  # points; inches from one label to the next
_POINT, _LEADER = "#30638e", "#8d99ae"


@dataclass(frozen=True)
class Point:
    """One model of a package."""

    title: str
    size: int
    """Bytes."""
    divergence: float
    """KL divergence from the float model, nats."""


def tradeoff_plot(points: Sequence[Point]) -> Figure:
    """Size on the x axis, divergence on the y axis. The labels are in a column on the right, in the order of their
    points, and lines lead to them: so they cannot overlap, however near to each other the points are."""
    sizes = [point.size for point in points]
    top = 2 * max([LEAST, *(point.divergence for point in points if math.isfinite(point.divergence))])
    values = [max(point.divergence, LEAST) if math.isfinite(point.divergence) else top for point in points]
    titles = [_label(point) for point in points]
    tall = max(4.0, 1.6 + LINE * len(points))
    with drawing():
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, NullFormatter

        figure = Figure(figsize=(3.6 + 0.085 * max(map(len, titles)), tall), layout="constrained")
        axes = figure.subplots()
        axes.plot(sizes, values, "o", color=_POINT, markersize=7)
        axes.set(xlabel="size", ylabel="KL divergence from the float model, nats", yscale="log")
        axes.set(xlim=(0.95 * min(sizes), 1.05 * max(sizes)), ylim=(min(values) / 2, 2 * max(values)))
        axes.set_title("smaller and lower is better")
        axes.locator_params(axis="x", nbins=3)
        axes.xaxis.set_major_formatter(lambda size, _: format_size(size))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.spines[["top", "right"]].set_visible(False)
        places = axes.transData - axes.transAxes
        heights = [float(places.transform(point)[1]) for point in zip(sizes, values, strict=True)]
        order = sorted(range(len(points)), key=lambda at: (heights[at], sizes[at], at))
        leader = {"arrowstyle": "-", "color": _LEADER, "linewidth": 0.7, "relpos": (0, 0.5)}
        for at, height in zip(order, spread([heights[at] for at in order], LINE / (tall - 1.4)), strict=True):
            axes.annotate(
                titles[at], (sizes[at], values[at]), (1.03, height), textcoords="axes fraction", fontsize=FONT,
                va="center", arrowprops=leader,
            )  # fmt: skip
    return figure


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights from 0 to 1, moved as little as a pass up and a pass down need so that neighbours are at least
    `gap` apart. There is room for all of them: `gap` times their number is at most 1."""
    moved = list(heights)
    for at in range(1, len(moved)):
        moved[at] = max(moved[at], moved[at - 1] + gap)
    limit = 1.0
    for at in reversed(range(len(moved))):
        moved[at] = limit = min(moved[at], limit)
        limit -= gap
    return moved


def _label(point: Point) -> str:
    """The title, or the end of a long one, which tells packages in one folder apart."""
    title = point.title if len(point.title) <= LONGEST else f"…{point.title[1 - LONGEST :]}"
    return title if math.isfinite(point.divergence) else f"{title} (divergence not finite)"

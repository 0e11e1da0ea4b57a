"""The plot of each experiment, drawn with matplotlib's objects: without a display or state shared with the caller."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgesw.study.result import Row, StudyResult
from edgesw.system.local_settings import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Colours that stay apart for colour-blind readers (Okabe and Ito).
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"


def plot(result: StudyResult, file: Path) -> None:
    """Draws the result into a PNG file. Equal results give equal bytes."""
    rows = result.findings.rows
    tall = 1.4 + 0.32 * len(rows) if result.experiment in ("prune", "stopwords", "activations") else 4.2
    with drawing():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, max(3.0, tall)), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(f"{result.model}: {result.title}", fontsize=12)
        DRAWN[result.experiment](figure.subplots(), rows)
        figure.supxlabel(result.measured_on, fontsize=8, color=GREY)
        # Without the name and version of the library, so that the file does not change with it.
        figure.savefig(file, format="png", metadata={"Software": None})


def perplexity_bars(axes: Axes, rows: Sequence[Row]) -> None:
    """Draws a bar for each condition, on a logarithmic axis if the perplexities differ widely."""
    names, values = [row["condition"] for row in rows], [row["perplexity"] for row in rows]
    # A model that overflowed has no bar, as perplexity begins at 1; its label has the value.
    drawn = [value if math.isfinite(value) else 1.0 for value in values]
    bars = axes.barh(names, drawn, color=[GREY, *[BLUE] * (len(rows) - 1)], height=0.7)
    axes.bar_label(bars, [f"{value:,.1f}" for value in values], padding=4, fontsize=9)
    if max(drawn) > 20 * min(drawn):
        _logarithmic(axes, axes.xaxis, _whole)
    axes.margins(x=0.25)
    axes.invert_yaxis()
    axes.set_xlabel("perplexity")
    _plain(axes)


def scale_lines(axes: Axes, rows: Sequence[Row]) -> None:
    """Draws perplexity over the factor on a logarithmic axis, with an inset of the lowest part on a linear one."""
    factors, values = [row["factor"] for row in rows], [row["perplexity"] for row in rows]
    axes.plot(factors, values, "o-", color=BLUE)
    _logarithmic(axes, axes.yaxis, _whole)
    axes.set_xlabel("super weights times")
    axes.set_ylabel("perplexity")
    near = [index for index, value in enumerate(values) if value < 1.25 * min(values)]
    floor = axes.inset_axes((0.42, 0.36, 0.55, 0.58))
    floor.plot([factors[index] for index in near], [values[index] for index in near], "o-", color=BLUE, markersize=4)
    floor.set_title("within 25% of the lowest, linear", fontsize=9, color=GREY)
    floor.tick_params(labelsize=8)
    for each in (axes, floor):
        each.axvline(1, color=ORANGE, linewidth=1, linestyle=":")
        _plain(each)


def probability_bars(axes: Axes, rows: Sequence[Row]) -> None:
    """Draws two bars for each token: its mean probability with and without the super weights."""
    at = range(len(rows))
    for shift, key, colour, label in ((-0.2, "float", GREY, "float"), (0.2, "removed", ORANGE, "super weights zeroed")):
        axes.barh([y + shift for y in at], [row[key] for row in rows], 0.4, color=colour, label=label)
    axes.set_yticks(list(at), [row["condition"] for row in rows])
    _logarithmic(axes, axes.xaxis, lambda value, _: f"{value:g}")
    axes.invert_yaxis()
    axes.set_xlabel("mean probability")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
    _plain(axes)


def block_lines(axes: Axes, rows: Sequence[Row]) -> None:
    """Draws perplexity over the block size, a line for each way, with an inset of the lowest part on a linear axis."""
    ways = (
        ("plain", GREY, "o-", "plain"),
        ("clipped", ORANGE, "s--", "clipped"),
        ("held_out", BLUE, "D:", "clipped, super weights held out"),
    )
    lowest = min(row["plain"] for row in rows)
    near = [row for row in rows if all(row[key] < 5 * lowest for key, *_ in ways)]
    floor = axes.inset_axes((0.12, 0.3, 0.6, 0.4))
    for key, colour, style, label in ways:
        for each, shown in ((axes, rows), (floor, near)):
            names = [row["condition"] for row in shown]
            each.plot(names, [row[key] for row in shown], style, color=colour, label=label, markersize=5)
    _logarithmic(axes, axes.yaxis, _whole)
    axes.set_xlabel("block: values that share a range")
    axes.set_ylabel("perplexity")
    axes.legend(loc="upper left", frameon=False)
    floor.set_title("the same, linear", fontsize=9, color=GREY)
    floor.tick_params(labelsize=8)
    _plain(axes)
    _plain(floor)


DRAWN = {
    "prune": perplexity_bars,
    "scale": scale_lines,
    "stopwords": probability_bars,
    "blocks": block_lines,
    "activations": perplexity_bars,
}


def _logarithmic(axes: Axes, axis: Axis, write: Callable[[float, float], str]) -> None:
    """Makes an axis logarithmic. `write` labels its ticks: matplotlib's own labels are formulas, which are off."""
    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
    axis.set_major_formatter(write)
    axis.set_minor_formatter("")


def _whole(value: float, _: float) -> str:
    return f"{value:,.0f}"


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)

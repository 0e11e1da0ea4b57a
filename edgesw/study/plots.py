"""One picture an experiment, drawn with matplotlib's objects: no display and no state shared with the caller."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgesw.study.result import Row, StudyResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours that stay apart for colour-blind readers (Okabe and Ito).
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"


def plot(result: StudyResult, file: Path) -> None:
    """Draw the result into a PNG file; equal results give equal bytes."""
    # It takes most of a second to import.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = result.findings.rows
    tall = 1.4 + 0.32 * len(rows) if result.experiment in ("prune", "stopwords", "activations") else 4.2
    figure = Figure(figsize=(8, max(3.0, tall)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{result.model}: {result.title}", fontsize=12)
    DRAWN[result.experiment](figure.subplots(), rows)
    figure.supxlabel(f"{result.text}, {result.windows} windows of {result.tokens} tokens", fontsize=8, color=GREY)
    # Without a version in it, so that the file does not change with the library's.
    figure.savefig(file, format="png", metadata={"Software": None})


def perplexity_bars(axes: Axes, rows: Sequence[Row]) -> None:
    """A bar for each condition, perplexity on a logarithmic axis."""
    names, values = [row["condition"] for row in rows], [row["perplexity"] for row in rows]
    bars = axes.barh(names, values, color=[GREY, *[BLUE] * (len(rows) - 1)], height=0.7)
    axes.bar_label(bars, [f"{value:,.1f}" for value in values], padding=4, fontsize=9)
    axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.invert_yaxis()
    axes.set_xlabel("perplexity")
    _plain(axes)


def scale_lines(axes: Axes, rows: Sequence[Row]) -> None:
    """Perplexity (logarithmic) and accuracy over the factor."""
    factors = [row["factor"] for row in rows]
    (line,) = axes.plot(factors, [row["perplexity"] for row in rows], "o-", color=BLUE, label="perplexity (left)")
    axes.set_yscale("log")
    axes.set_xlabel("super weights times")
    axes.set_ylabel("perplexity")
    axes.axvline(1, color=GREY, linewidth=0.8, linestyle=":")
    right = axes.twinx()
    shares = [100 * row["accuracy"] for row in rows]
    (dashed,) = right.plot(factors, shares, "s--", color=ORANGE, label="next token right (right)", markersize=4)
    right.set_ylabel("next token right, %")
    right.set_ylim(bottom=0)
    axes.legend(handles=[line, dashed], loc="center right", frameon=False)
    _plain(axes)


def probability_bars(axes: Axes, rows: Sequence[Row]) -> None:
    """Two bars for each token: its mean probability with and without the super weights."""
    at = range(len(rows))
    for shift, key, colour, label in ((-0.2, "float", GREY, "float"), (0.2, "removed", ORANGE, "super weights zeroed")):
        axes.barh([y + shift for y in at], [row[key] for row in rows], 0.4, color=colour, label=label)
    axes.set_yticks(list(at), [row["condition"] for row in rows])
    axes.set_xscale("log")
    axes.invert_yaxis()
    axes.set_xlabel("mean probability")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    _plain(axes)


def block_lines(axes: Axes, rows: Sequence[Row]) -> None:
    """Perplexity (logarithmic) over the block size, a line for each way."""
    names = [row["condition"] for row in rows]
    for key, colour, style, label in (
        ("plain", GREY, "o-", "plain"),
        ("clipped", ORANGE, "s--", "clipped"),
        ("held_out", BLUE, "D-", "clipped, super weights held out"),
    ):
        axes.plot(names, [row[key] for row in rows], style, color=colour, label=label, markersize=5)
    axes.set_yscale("log")
    axes.set_xlabel("block: values that share a range")
    axes.set_ylabel("perplexity")
    axes.legend(frameon=False)
    _plain(axes)


DRAWN = {
    "prune": perplexity_bars,
    "scale": scale_lines,
    "stopwords": probability_bars,
    "blocks": block_lines,
    "activations": perplexity_bars,
}


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="both", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)

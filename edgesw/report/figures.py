"""The plots of a report: largest activations by layer, perplexity by window.

Each is drawn so narrow that a phone shows it at nearly its own size, and its text with it; wide screens show two side
by side.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np

from edgesw.outliers.results import SuperOutliers
from edgesw.report.plots import draw_peaks, peak_series
from edgesw.system.local_settings import drawing
from edgesw.validation.validation_report import ValidationReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOAT, TARGETS = "#8d99ae", ("#d1495b", "#30638e", "#66a182", "#edae49")
WIDTH, HEIGHT = 4.4, 3.2  # inches
MOST_TICKS = 12


def peak_plots(found: SuperOutliers) -> list[Figure]:
    """The largest input and the largest output of each layer's `down_proj`, with the super weights marked."""
    figures = []
    with drawing():
        for label, values in peak_series(found).items():
            figure, axes = _figure()
            draw_peaks(axes, label, values, found)
            figures.append(figure)
    return figures


def window_plots(report: ValidationReport) -> list[Figure]:
    """The perplexity of each window, of the float model and each target, and how far each target is above float."""
    exact = np.array(next(iter(report.targets.values())).float_window_perplexities)
    measured = {name: np.array(result.window_perplexities) for name, result in report.targets.items()}
    colors = {name: TARGETS[at % len(TARGETS)] for at, name in enumerate(measured)}
    with drawing():
        absolute, axes = _figure()
        _bars(axes, "perplexity", {"float": exact, **measured}, {"float": FLOAT, **colors})
        relative, axes = _figure()
        _bars(axes, "above float, %", {name: 100 * (each / exact - 1) for name, each in measured.items()}, colors)
    return [absolute, relative]


def _figure() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    return figure, figure.subplots()


def _bars(axes: Axes, label: str, series: dict[str, np.ndarray], colors: dict[str, str]) -> None:
    """A group of bars for each window. A value that is infinite or NaN has none."""
    width = 0.8 / len(series)
    for at, (name, values) in enumerate(series.items()):
        numbers = np.arange(1, len(values) + 1)
        drawn = np.where(np.isfinite(values), values, np.nan)
        axes.bar(numbers + (at - (len(series) - 1) / 2) * width, drawn, width, color=colors[name], label=name)
    if len(numbers) <= MOST_TICKS:
        axes.set_xticks(numbers)
    axes.set(xlabel="window", ylabel=label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), columnspacing=1)


def data_uri(figure: Figure) -> str:
    """The figure as an SVG in a URI, so that the page needs no other file. Equal figures give equal bytes."""
    drawn = io.BytesIO()
    with drawing(**{"svg.hashsalt": "edgesw"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.getvalue()).decode()

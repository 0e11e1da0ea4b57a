"""The figure of detection: the largest activations around each `down_proj`, the super weights marked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgesw.errors import UsageError
from edgesw.files.atomic_write import staged
from edgesw.files.writable import check_writable_file
from edgesw.outliers.results import SuperOutliers
from edgesw.recipes.coordinates import Coordinates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg")
_LINE, _MARK, _OTHER = "#30638e", "#d1495b", "#8d99ae"


def check_plot(path: Path) -> None:
    """UsageError where no plot can be written to `path`: to be called before any work."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"--plot '{path}': give a file that ends in {' or '.join(FORMATS)}.")
    check_writable_file(path, "choose another --plot")


def save_plot(figure: Figure, path: Path) -> None:
    """Write the figure to `path`, over what is there, in the format that its suffix names: equal figures, equal bytes.

    It appears there only when complete. OSError when the file cannot be written.
    """
    from matplotlib import rc_context

    kind = path.suffix.lower().removeprefix(".")
    # An SVG otherwise holds the time, and names that differ from run to run.
    with staged(path) as (partial,), rc_context({"svg.hashsalt": "edgesw"}):
        figure.savefig(partial, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)


def detection_plot(found: SuperOutliers, model: str) -> Figure:
    """Max |down_proj input| and |output| by layer on the prompt, as in figure 3 of arXiv 2411.07191."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    figure.suptitle(f"{model}: largest activations around down_proj")
    left, right = figure.subplots(1, 2)
    _panel(left, "max |input|", [peak.input for peak in found.peaks], found)
    _panel(right, "max |output|", [peak.output for peak in found.peaks], found)
    return figure


def _panel(axes: Axes, title: str, values: list[float], found: SuperOutliers) -> None:
    axes.plot(range(len(values)), values, color=_LINE, linewidth=1.2, marker=".", markersize=4)
    axes.set(title=title, xlabel="layer", xlim=(-0.5, max(len(values) - 0.5, 0.5)), ylim=(0, 1.25 * max(values)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.locator_params(axis="x", integer=True)
    named = "super weight" if found.confirmed else "super weight, not confirmed"
    _mark(axes, values, [weight.coordinates for weight in found.super_weights], _MARK, named)
    _mark(axes, values, list(found.cancels_at), _OTHER, "takes the super activation out")
    if found.super_weights or found.cancelling:
        axes.legend(frameon=False, fontsize=8, loc="upper center", ncols=2)


def _mark(axes: Axes, values: list[float], places: list[Coordinates], color: str, label: str) -> None:
    """A marker on each layer that has some, and their rows and columns beside it."""
    layers = sorted({layer for layer, _, _ in places})
    if not layers:
        return
    axes.plot(layers, [values[layer] for layer in layers], "o", color=color, markersize=6, label=label)
    for layer in layers:
        text = "\n".join(f"[{row}, {column}]" for at, row, column in places if at == layer)
        early = layer < len(values) * 0.6  # beside the marker, towards where there is room
        axes.annotate(
            text, (layer, values[layer]), (7 if early else -7, 0), textcoords="offset points", color=color,
            fontsize=8, ha="left" if early else "right", va="center",
        )  # fmt: skip


def tradeoff_plot(points: list[tuple[str, int, float]]) -> Figure:
    """Size across and divergence up of models: (title, bytes, nats)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for title, size, divergence in points:
        axes.plot(size / 1e6, max(divergence, 1e-6), "o", color=_LINE, markersize=7)
        axes.annotate(title, (size / 1e6, max(divergence, 1e-6)), (6, 4), textcoords="offset points", fontsize=8)
    axes.set(
        xlabel="size, MB", ylabel="KL divergence from float, nats", yscale="log", title="smaller and lower is better"
    )
    axes.margins(0.2)
    axes.spines[["top", "right"]].set_visible(False)
    return figure
